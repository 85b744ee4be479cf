{
  // The corruption viewer: an image, a corruption, a severity, and the errors of the models.
  const { images, errors } = JSON.parse(document.getElementById("images").textContent);
  const at = (name) => document.getElementById(`viewer-${name}`);
  const [source, corruption, severity] = ["source", "corruption", "severity"].map(at);

  const cell = (text, kind = "td") => {
    const element = document.createElement(kind);
    element.textContent = text;
    return element;
  };

  const show = () => {
    const chosen = images[source.value];
    const level = Number(severity.value);
    const name = corruption.selectedOptions[0].text;
    const words = level ? `${name}, severity ${level}` : "clean";
    at("clean").src = chosen.clean;
    at("clean").alt = `${chosen.name}, clean`;
    at("image").src = level ? chosen.corrupted[corruption.value][level - 1] : chosen.clean;
    at("image").alt = `${chosen.name}, ${words}`;
    at("caption").textContent = words;
    at("severity-shown").textContent = level ? String(level) : "0 (clean)";
    severity.setAttribute("aria-valuetext", level ? `severity ${level} of 5` : "clean");
    at("note").textContent = chosen.note;
    at("credit").textContent = chosen.credit;
    at("image").closest(".images").classList.toggle("small", chosen.small);

    const rows = errors[chosen.preset].filter((model) => level === 0 || corruption.value in model.errors);
    at("errors").hidden = rows.length === 0;
    at("errors").tBodies[0].replaceChildren(...rows.map((model) => {
      const row = document.createElement("tr");
      const [error, interval] = level ? model.errors[corruption.value][level - 1] : model.errors.clean[0];
      const heading = cell(model.model, "th");
      heading.scope = "row";
      const benchmark = cell(model.heading);
      benchmark.className = "text";
      row.append(heading, cell(error), cell(interval), benchmark);
      return row;
    }));
  };

  for (const control of [source, corruption, severity]) control.addEventListener("input", show);
  show();
}
