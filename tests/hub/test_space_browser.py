"""The page of the Space in hub/space, in a real browser."""

from __future__ import annotations

import io
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from PIL import Image

from support.browser import Browser, Page, chromium, complaints, expect
from support.example_space import CIFAR, IMAGENETTE, PLAIN_CIFAR, app, example_image, networks
from support.paths import needs_releases
from support.processes import Command, free_port
from timm_pushpull.benchmark.results import Results
from timm_pushpull.corruptions import corrupt
from timm_pushpull.models import RELEASES

pytestmark = needs_releases


@pytest.fixture(scope="module")
def url(tmp_path_factory) -> Iterator[str]:
    """The Space as its command starts it."""
    port = free_port()
    place = {"GRADIO_SERVER_NAME": "127.0.0.1", "GRADIO_SERVER_PORT": port, "GRADIO_ANALYTICS_ENABLED": "False"}
    uploads = str(tmp_path_factory.mktemp("uploads"))
    with Command("hub/space/app.py", **place, GRADIO_TEMP_DIR=uploads) as command:
        address = f"http://127.0.0.1:{port}/"
        for _ in range(600):
            assert command.is_running(), command.wait().stderr
            try:
                urllib.request.urlopen(address).close()
                break
            except urllib.error.URLError:
                time.sleep(0.1)
        yield address
        command.kill()
        assert "Traceback" not in (end := command.wait()).stderr + end.stdout, end.stderr


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture
def visit(browser, url) -> Iterator[Callable[..., Page]]:
    """A function that opens the page; in the end it has asked nobody else for anything and complained of nothing."""
    contexts, found, strangers = [], [], []

    def stop(route) -> None:
        strangers.append(route.request.url)
        route.abort()

    def opened(path: str = "", **settings) -> Page:
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **settings})
        contexts.append(context)
        context.route(lambda asked: not asked.startswith(url), stop)
        page = context.new_page()
        found.append(complaints(page))
        page.goto(url + path)
        expect(page.get_by_text("One image proves little.")).to_be_visible(timeout=60_000)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert found == [[]] * len(contexts)
    assert strangers == []


def show(page: Page, image: Image.Image) -> None:
    content = io.BytesIO()
    image.save(content, format="PNG")
    upload(page, content.getvalue())


def upload(page: Page, content: bytes) -> None:
    file = {"name": "image.png", "mimeType": "image/png", "buffer": content}
    page.locator("input[type=file]").first.set_input_files(file)


def choose(page: Page, control: str, option: str) -> None:
    page.get_by_role("combobox", name=control).click()
    page.get_by_role("option", name=option, exact=True).click()


def expect_answers(page: Page, probabilities: tuple[np.ndarray, np.ndarray], classes: tuple[str, ...]) -> None:
    """Both networks' five likeliest classes, with their probabilities in percent."""
    for place, values in enumerate(probabilities):
        best = sorted(range(len(classes)), key=lambda index: -values[index])[:5]
        shown = page.locator(".answer").nth(place)
        expect(shown.locator("dt")).to_have_text([classes[index] for index in best], timeout=20_000)
        expect(shown.locator("dd")).to_have_text([f"{int(100 * values[index] + 0.5)}%" for index in best])


def pixels(page: Page, place: int) -> np.ndarray:
    """An image as the page got it: the clean (0) or the corrupted one (1)."""
    content = page.request.get(page.locator(".seen img").nth(place).get_attribute("src")).body()
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


def test_the_page_shows_what_python_computes(visit):
    page, plain, network = visit(), networks.load(PLAIN_CIFAR), networks.load(CIFAR)
    clean = network.geometry(example_image(1)).copy()

    def expect_all(corruption: str, severity: int) -> None:
        seen = corrupt(clean, corruption, severity, "cifar10-c")
        said = [one.probabilities(seen[None])[0] for one in (plain, network)]
        expect_answers(page, said, network.classes)
        assert np.array_equal(pixels(page, 0), clean.repeat(8, 0).repeat(8, 1))
        assert np.array_equal(pixels(page, 1), seen.repeat(8, 0).repeat(8, 1))
        measured = Results.load(RELEASES / CIFAR).errors[corruption][severity - 1]
        expect(page.get_by_role("row", name="push-pull")).to_contain_text(f"{measured:.1%}")

    show(page, example_image(1))
    expect_all("gaussian_noise", 3)
    choose(page, "Corruption", "contrast")
    expect_all("contrast", 3)
    page.get_by_role("slider", name="Severity").focus()
    page.keyboard.press("ArrowRight")
    expect_all("contrast", 4)

    found = networks.classify(example_image(1), CIFAR, "contrast")
    page.get_by_role("button", name="More").click()
    choose(page, "Class of the curve", "truck")
    said = [", ".join(f"{value:.0%}" for value in row[:, 9]) for row in (found.plain, found.push_pull)]
    line = f"Probability of “truck”, from severity 0 on. plain: {said[0]}; push-pull: {said[1]}"
    expect(page.locator(".curve svg")).to_have_attribute("aria-label", line)


def test_another_pair_an_example_and_a_wrong_file(visit):
    page = visit()
    icons = page.locator(".examples img").evaluate_all("icons => icons.map(icon => icon.src)")
    # Not copies: those are deleted in time.
    assert all(icon.endswith(path) for icon, (path, _) in zip(icons, app.EXAMPLES, strict=True)), icons
    choose(page, "Push-pull network", IMAGENETTE)
    page.get_by_role("button", name="lion").click()
    found = networks.classify(networks.read_image(app.EXAMPLES[-1][0]), IMAGENETTE, "gaussian_noise")
    expect_answers(page, (found.plain[3], found.push_pull[3]), found.classes)
    assert np.array_equal(pixels(page, 1), found.images[3].repeat(2, 0).repeat(2, 1))  # 160 px enlarged to 256 or more

    messages = page.get_by_test_id("toast-text")
    upload(page, b"\x89PNG\r\n\x1a\nand then nothing")
    expect(messages).to_have_text(["the file is damaged or not an image; use a PNG, JPEG or WebP file"])
    for stale in (".seen img", ".answer dt", ".curve svg", ".errors td"):  # about another image
        expect(page.locator(stale)).to_have_count(0)
    page.get_by_test_id("toast-close").click()
    page.get_by_role("button", name="ship").click()
    expect(page.locator(".answer dt")).to_have_count(10)
    page.get_by_role("button", name="Remove Image").click()
    expect(messages).to_have_text(["there is no image; upload one or choose an example"])


def test_in_the_dark_on_a_phone_nothing_is_cut_off(visit):
    page = visit("?__theme=dark", viewport={"width": 375, "height": 812}, has_touch=True, is_mobile=True)
    outside = "found => found.filter(e => e.getBoundingClientRect().right > innerWidth).map(e => e.outerHTML)"
    assert page.locator("h1, p, dd, td, svg text, button, input").evaluate_all(outside) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= 375
    assert lightness(page) < 50
    page.get_by_role("tab", name="Results").tap()
    expect_report(page)
    assert lightness(page) < 50
    frame = page.locator("iframe:visible")
    width = page.frame_locator("iframe:visible").locator("html").evaluate("html => html.scrollWidth")
    assert width <= frame.bounding_box()["width"] <= 375


def test_everything_is_in_reach_of_the_keyboard(visit):
    page = visit("?__theme=light", color_scheme="dark")  # the visitor's choice counts, not the system's
    page.get_by_role("tab", name="Try it").focus()
    reached = []
    for _ in range(16):
        reached.append(page.evaluate("(e => e.ariaLabel || e.innerText)(document.activeElement)"))
        page.keyboard.press("Tab")
    wanted = ["Try it", "Results", "Upload file", *(name for _, name in app.EXAMPLES), "Push-pull network", "More"]
    wanted += ["Corruption", "range slider for Severity"]
    assert [name for name in wanted if not any(one.startswith(name) for one in reached)] == []
    page.get_by_role("tab", name="Results").focus()
    page.keyboard.press("Enter")
    expect_report(page)
    assert lightness(page) > 200


def expect_report(page: Page) -> None:
    report = page.frame_locator("iframe:visible")
    expect(report.get_by_role("heading", level=1)).to_be_visible(timeout=60_000)
    expect(report.get_by_text("resnet18_cifar_pushpull").first).to_be_visible()
    expect(report.get_by_text("resnet18_pushpull").first).to_be_attached()


def lightness(page: Page) -> float:
    """Median grey level of what is seen."""
    return float(np.median(np.asarray(Image.open(io.BytesIO(page.screenshot())).convert("L"))))
