"""The report in a real browser: it renders, sorts, shows images, follows the colour scheme and loads nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.browser import Browser, Page, chromium, complaints, until
from support.example_report import EVIL, write_results
from timm_pushpull.figures import report

pytest.importorskip("plotly")

DRAWN = "document.querySelectorAll('.chart .main-svg').length >= document.querySelectorAll('.chart').length"


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    results = write_results(folder)
    other = folder / "second.png"
    other.write_bytes((folder / "photo.png").read_bytes())
    (folder / "report.html").write_text(report.render(results, [folder / "photo.png", other], title=EVIL))
    return folder / "report.html"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


def visit(browser: Browser, path: Path, **settings) -> Page:
    """Open the report in a new page without network; `found` and `asked` collect complaints and requests."""
    page = browser.new_context(offline=True, **settings).new_page()
    page.found = complaints(page)
    page.asked = []
    page.on("request", lambda request: page.asked.append(request.url))
    page.goto(path.as_uri())
    until(page, DRAWN)
    return page


@pytest.fixture(scope="module")
def opened(browser, path) -> Page:
    """One page for all desktop tests, because loading it is slow."""
    return visit(browser, path, viewport={"width": 1200, "height": 900}, reduced_motion="reduce")


@pytest.fixture
def page(opened) -> Iterator[Page]:
    switch(opened, color_scheme="light")
    yield opened
    assert opened.found == []


@pytest.fixture(scope="module")
def content(path) -> dict:
    """The data of the viewer."""
    found = re.search('<script type="application/json" id="images">(.*?)</script>', path.read_text(), re.DOTALL)
    return json.loads(found[1])


def switch(page: Page, **media: str) -> None:
    """Change the media settings and wait until the charts are redrawn."""
    page.emulate_media(**{"media": "screen", **media})
    until(
        page,
        """() => {
        const text = getComputedStyle(document.documentElement).getPropertyValue("--text").trim();
        return [...document.querySelectorAll(".chart")].every((chart) => chart._fullLayout.font.color === text);
    }""",
    )


def style(page: Page, selector: str, name: str) -> str:
    return page.locator(selector).first.evaluate("(node, name) => getComputedStyle(node)[name]", name)


def test_it_renders_without_complaints_and_asks_for_nothing(page, path):
    assert page.title() == EVIL
    assert page.evaluate("typeof pwned") == "undefined"
    assert page.locator("img").count() == 2
    for chart in page.locator(".chart").all():
        assert chart.bounding_box()["height"] > 150
    assert page.locator("#results-1-severity .subplot .trace.scatter").count() == 16 * 4
    assert page.locator("#results-1-severity .annotation").all_text_contents()[:2] == ["mean of 15", "gaussian noise"]
    assert page.locator("#results-1-alpha-2 .bars .point path").count() == 30
    page.locator("#results-1-tradeoff").scroll_into_view_if_needed()
    point = page.locator("#results-1-tradeoff .scatterlayer .point").nth(1).bounding_box()
    page.mouse.move(point["x"], point["y"] - 20)
    page.mouse.move(point["x"] + point["width"] / 2, point["y"] + point["height"] / 2)
    page.wait_for_selector(".hovertext")
    assert page.locator(".hovertext").text_content().startswith(EVIL)
    assert [url for url in page.asked if not url.startswith("data:")] == [path.as_uri()]


def test_the_page_runs_no_script_but_its_own(page):
    page.evaluate("""() => {
        const script = document.createElement("script");
        script.textContent = "pwned = 1";
        document.body.append(script);
        document.body.insertAdjacentHTML("beforeend", "<img src=x onerror='pwned = 1'>");
    }""")
    page.wait_for_timeout(100)
    assert page.evaluate("typeof pwned") == "undefined"
    assert len(page.found) >= 2
    page.found.clear()
    page.evaluate("document.body.lastChild.remove()")


def test_headings_sort_by_value_from_the_keyboard(page):
    table = page.locator("table.leaderboard").first

    def column(number: int) -> list[str]:
        rows = table.locator("tbody tr")
        return [rows.nth(row).locator("th, td").nth(number).get_attribute("data-value") for row in range(rows.count())]

    assert table.locator("[aria-sort]").inner_text().startswith("mCE")
    for number, first in enumerate(("ascending", "ascending", "ascending", "ascending", "descending")):
        heading = table.locator("thead th").nth(number)
        heading.locator("button").focus()
        orders = [first, {"ascending": "descending", "descending": "ascending"}[first]]
        for key, order in zip(("Enter", "Space"), orders, strict=True):
            page.keyboard.press(key)
            found = column(number)
            value = str.lower if number == 0 else float
            assert found == sorted(found, key=value, reverse=order == "descending")
            assert table.locator("[aria-sort]").count() == 1
            assert heading.get_attribute("aria-sort") == order
        assert len(set(column(0))) == 4
    # What was not measured stays last, either way.
    table = page.locator("table.leaderboard").nth(1)
    for _ in range(2):
        table.locator("thead button").nth(1).click()
        assert column(0)[-1] == "unclean"
    relative = page.locator("table.relative").first
    relative.locator("thead button").nth(3).click()
    table = relative
    assert [float(value) for value in column(3)] == sorted(float(value) for value in column(3))


def test_the_viewer_follows_its_controls(page, content):
    first, second = content["images"]
    source = lambda: page.locator("#viewer-image").get_attribute("src")  # noqa: E731
    assert source() == first["corrupted"]["gaussian_noise"][2]
    page.locator("#viewer-severity").focus()
    page.keyboard.press("ArrowRight")
    assert source() == first["corrupted"]["gaussian_noise"][3]
    assert page.locator("#viewer-severity-shown").inner_text() == "4"
    assert page.locator("#viewer-severity").get_attribute("aria-valuetext") == "severity 4 of 5"
    page.select_option("#viewer-corruption", "fog")
    assert source() == first["corrupted"]["fog"][3]
    assert page.locator("#viewer-image").get_attribute("alt") == "photo.png, fog, severity 4"
    assert page.locator("#viewer-caption").inner_text() == "fog, severity 4"
    assert page.locator("#viewer-image").evaluate("image => image.decode().then(() => image.naturalWidth)") == 32
    models = [model for model in content["errors"]["cifar10-c"] if "fog" in model["errors"]]
    rows = page.locator("#viewer-errors tbody tr").all()
    assert [row.locator("th").inner_text() for row in rows] == [model["model"] for model in models]
    cells = [row.locator("td").all_text_contents()[:2] for row in rows]
    assert cells == [model["errors"]["fog"][3] for model in models]
    page.select_option("#viewer-source", "1")
    assert source() == second["corrupted"]["fog"][3] != first["corrupted"]["fog"][3]
    page.locator("#viewer-severity").focus()
    page.keyboard.press("Home")
    assert source() == second["clean"]
    assert page.locator("#viewer-caption").inner_text() == "clean"


def test_models_can_be_hidden_in_all_charts_of_their_section(page):
    traces = page.locator("#results-1-severity .scatterlayer .trace")
    points = page.locator("#results-1-tradeoff .scatterlayer .points path")
    before = traces.count(), points.count()
    page.locator("#results-1 .key input").nth(1).focus()
    page.keyboard.press("Space")
    assert (traces.count(), points.count()) == (before[0] - 16, before[1] - 1)
    assert [box.is_checked() for box in page.locator("#results-1 .key input").all()] == [True, False, True, True] * 2
    assert page.locator("#results-2 .key input:not(:checked)").count() == 0
    page.locator("#results-1 .key input").nth(5).check()
    assert (traces.count(), points.count()) == before


def test_charts_follow_the_colour_scheme_and_paper_is_light(page):
    looks = lambda: (  # noqa: E731
        style(page, "body", "backgroundColor"),
        style(page, "#results-1-severity .ytick text", "fill"),
        style(page, "#results-1-severity .scatterlayer .js-line", "stroke"),
        style(page, "#results-1 .key .marker", "fill"),
    )
    light = looks()
    assert light[0] == "rgb(255, 255, 255)"
    switch(page, color_scheme="dark")
    dark = looks()
    assert all(one != other for one, other in zip(light, dark, strict=True))
    assert dark[2] == dark[3]
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    switch(page, media="print", color_scheme="dark")
    assert looks() == light
    assert page.locator("details:not([open])").count() == 0
    assert {node.bounding_box()["width"] for node in page.locator(".chart .main-svg").all()} == {660}
    page.emulate_media(media="screen", color_scheme="dark")
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert looks() == dark
    assert page.locator("details[open]").count() == 0


def test_a_phone_shows_it_without_scrolling_sideways(browser, path):
    page = visit(browser, path, viewport={"width": 375, "height": 800}, is_mobile=True, has_touch=True)
    page.evaluate("document.querySelectorAll('details').forEach((node) => { node.open = true })")
    for width in (375, 320):
        page.set_viewport_size({"width": width, "height": 800})
        until(page, f"document.querySelector('.chart .main-svg').clientWidth < {width}")
        assert page.evaluate("document.documentElement.scrollWidth") == width
        wide = page.evaluate("""() => [...document.querySelectorAll("body *")].filter((node) =>
            node.getBoundingClientRect().right > innerWidth + 1 && !node.closest(".scroll, .chart, .unseen, .skip")
        ).map((node) => node.outerHTML.slice(0, 100))""")
        assert wide == []
        columns = page.locator("#results-1-severity").evaluate("node => node._fullLayout.xaxis2.domain")
        assert columns[1] == 1  # two panels beside each other
    assert page.found == []


def test_the_keyboard_reaches_every_control_and_shows_where_it_is(page):
    wanted = page.locator("a, button, input, select, summary, .scroll").evaluate_all(
        "nodes => nodes.filter((node) => node.checkVisibility()).length"
    )
    reached, unmarked = set(), []
    body = page.evaluate("[...document.querySelectorAll('*')].indexOf(document.body)")
    page.evaluate("document.activeElement.blur()")
    for _ in range(wanted + 2):
        page.keyboard.press("Tab")
        place, mark = page.evaluate("""() => {
            const node = document.activeElement;
            return [[...document.querySelectorAll("*")].indexOf(node), getComputedStyle(node).outlineStyle];
        }""")
        if place == body:  # between the last and the first
            continue
        reached.add(place)
        if mark == "none":
            unmarked.append(place)
    assert len(reached) == wanted
    assert unmarked == []
    assert style(page, "html", "scrollBehavior") == "auto"


AUDIT = """() => {
    const faults = [];
    const fault = (node, what) => faults.push(`${what}: ${node.outerHTML.slice(0, 90)}`);
    const all = (selector) => [...document.querySelectorAll(selector)];
    if (document.documentElement.lang !== "en") faults.push("no language");
    if (all("h1").length !== 1) faults.push("not one h1");
    const levels = all("h1, h2, h3, h4").map((node) => Number(node.tagName[1]));
    if (levels.some((level, place) => place && level > levels[place - 1] + 1)) faults.push("a level is skipped");
    const ids = all("[id]").filter((node) => !node.closest(".chart")).map((node) => node.id);
    if (new Set(ids).size !== ids.length) faults.push("ids are not unique");
    for (const node of all("[aria-labelledby], [aria-describedby]"))
        for (const id of [node.getAttribute("aria-labelledby"), node.getAttribute("aria-describedby")].filter(Boolean))
            if (!document.getElementById(id)?.textContent.trim()) fault(node, `nothing is called ${id}`);
    for (const node of all("input, select")) if (!node.labels?.length) fault(node, "no label");
    for (const node of all("img")) if (!node.alt) fault(node, "no alt");
    for (const node of all(".chart, [role=region]"))
        if (!node.ariaLabel && !node.getAttribute("aria-labelledby")) fault(node, "no name");
    for (const node of all("a[href^='#']"))
        if (!document.getElementById(node.hash.slice(1))) fault(node, "leads nowhere");
    for (const node of all("table")) if (!node.caption || !node.tHead) fault(node, "no caption or head");
    // Contrast of every text with what lies below it, painted to take care of transparency and colour spaces.
    const paint = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
    const luminance = () => {
        const [r, g, b] = [...paint.getImageData(0, 0, 1, 1).data].slice(0, 3)
            .map((value) => value / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const fill = (colour) => { paint.fillStyle = colour; paint.fillRect(0, 0, 1, 1); };
    const closed = all("details:not([open])");
    for (const details of closed) details.open = true;
    let texts = 0;
    for (const node of all("body *")) {
        const own = [...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim());
        if (!own || !node.checkVisibility() || node.closest(".unseen, .skip, script, .arrow")) continue;
        const css = getComputedStyle(node);
        const above = [];
        for (let part = node; part; part = part.parentElement) above.unshift(getComputedStyle(part).backgroundColor);
        above.forEach(fill);
        const ground = luminance();
        fill(node.closest("svg") ? css.fill : css.color);
        const text = luminance();
        const contrast = (Math.max(ground, text) + 0.05) / (Math.min(ground, text) + 0.05);
        texts += 1;
        if (contrast < 4.5) fault(node, `contrast ${contrast.toFixed(2)}`);
    }
    for (const details of closed) details.open = false;
    return [texts, faults];
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_accessible(page, scheme):
    switch(page, color_scheme=scheme)
    texts, faults = page.evaluate(AUDIT)
    assert texts > 500
    assert faults == []
