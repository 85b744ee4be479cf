{
  // Charts in the colours of the colour scheme and as wide as their container, redrawn when either changes.
  const charts = JSON.parse(document.getElementById("charts").textContent);
  const hidden = new Set(); // "section/series" of hidden models
  const printed = 660; // px, the width of charts on paper of A4 or letter size

  const style = () => {
    const computed = getComputedStyle(document.documentElement);
    return (name) => computed.getPropertyValue(name).trim();
  };

  const template = (css) => {
    const axis = {
      gridcolor: css("--rule"), linecolor: css("--faint"), zerolinecolor: css("--faint"), zeroline: false,
      tickfont: { size: 12, color: css("--muted") }, title: { font: { size: 13, color: css("--muted") }, standoff: 10 },
      showline: true, fixedrange: true, ticks: "",
    };
    return {
      layout: {
        paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", showlegend: false, dragmode: false,
        hovermode: "closest", hoverlabel: { bgcolor: css("--ground"), bordercolor: css("--faint"), font: { color: css("--text") } },
        font: { family: css("--sans"), size: 13, color: css("--text") }, xaxis: axis, yaxis: axis,
      },
    };
  };

  const coloured = (trace, section, css) => {
    const colour = trace.meta.guide ? css("--muted") : css(`--series-${trace.meta.series % css("--series-count")}`);
    const result = { ...trace, visible: !hidden.has(`${section}/${trace.meta.series}`) };
    for (const part of ["marker", "line", "error_x", "error_y"]) {
      if (part in trace || part === "marker") result[part] = { ...trace[part], color: colour };
    }
    if (trace.type === "bar") result.marker.line = { color: css("--ground"), width: 1 };
    return result;
  };

  const onPaper = () => "print" in document.documentElement.dataset;

  const draw = (node) => {
    const width = onPaper() ? printed : node.clientWidth;
    const { data, layouts } = charts[node.id];
    const css = style();
    const layout = layouts.findLast((candidate) => candidate.from <= width).layout;
    const section = node.dataset.section;
    return Plotly.react(
      node, data.map((trace) => coloured(trace, section, css)),
      { ...structuredClone(layout), template: template(css), width },
      { displayModeBar: false, responsive: false },
    );
  };

  const nodes = [...document.querySelectorAll(".chart")];
  const drawAll = () => nodes.forEach(draw);

  const widths = new WeakMap();
  const observer = new ResizeObserver((entries) => {
    for (const { target } of entries) {
      if (!onPaper() && target.clientWidth && widths.get(target) !== target.clientWidth) {
        widths.set(target, target.clientWidth);
        draw(target);
      }
    }
  });
  nodes.forEach((node) => observer.observe(node));

  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
  let opened = []; // for printing, everything is opened
  addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll("details:not([open])")];
    for (const details of opened) details.open = true;
    document.documentElement.dataset.print = "";
    drawAll();
  });
  addEventListener("afterprint", () => {
    for (const details of opened) details.open = false;
    delete document.documentElement.dataset.print;
    drawAll();
  });

  const boxes = [...document.querySelectorAll(".key input")];
  for (const box of boxes) {
    box.addEventListener("change", () => {
      const { section, series } = box.dataset;
      hidden[box.checked ? "delete" : "add"](`${section}/${series}`);
      boxes.filter((other) => other.dataset.section === section && other.dataset.series === series)
        .forEach((other) => { other.checked = box.checked; });
      nodes.filter((node) => node.dataset.section === section).forEach(draw);
    });
  }
}
