"""The Space in hub/space: what it computes, its page in a real browser, and its way to the Hub."""

from __future__ import annotations

import io
import re
import shlex
import socket
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import timm
import torch
import yaml
from huggingface_hub import snapshot_download
from huggingface_hub.cli.hf import app as hf
from packaging.requirements import Requirement
from packaging.version import Version
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from browser import chromium, complaints
from conftest import ROOT
from processes import Command
from timm_pushpull.corruptions import CORRUPTIONS, corrupt
from timm_pushpull.errors import InputError
from timm_pushpull.models import NAMESPACE, RELEASES
from timm_pushpull.preprocess import model_geometry, normalise
from timm_pushpull.results import Results

gradio = pytest.importorskip("gradio")
SPACE = ROOT / "hub" / "space"
sys.path.insert(0, str(SPACE))  # where python looks when it runs app.py
app, curve, networks = map(import_module, ("app", "curve", "networks"))

CIFAR, TINY = "resnet18_cifar_pushpull.cifar10", "resnet18_pushpull.tiny_imagenet"
PLAIN_CIFAR, PLAIN_TINY = "resnet18_cifar.cifar10", "resnet18.tiny_imagenet"
CARD = (SPACE / "README.md").read_text(encoding="utf-8")


def picture(seed: int = 0) -> Image.Image:
    """Coloured patches, 60 x 48 px."""
    patches = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(patches).resize((60, 48), Image.Resampling.BICUBIC)


def answers(image: np.ndarray, name: str) -> np.ndarray:
    """What a timm model says about an image of its size."""
    model = timm.create_model(name, pretrained=True).eval()
    cfg = model.pretrained_cfg
    with torch.inference_mode():
        return model(normalise(image[None].copy(), cfg["mean"], cfg["std"])).softmax(1)[0].numpy()


# What it computes


@pytest.mark.parametrize(
    ("name", "plain", "preset", "quality"),
    [(CIFAR, PLAIN_CIFAR, "cifar10-c", None), (TINY, f"local-dir:{RELEASES / PLAIN_TINY}", "tiny-imagenet-c", 85)],
    ids=["cifar10", "tiny-imagenet"],
)
def test_both_networks_see_the_corrupted_picture_as_the_benchmark_makes_it(name, plain, preset, quality):
    found = networks.compare(picture(), name, "fog", seed=7)
    clean = model_geometry(timm.create_model(f"local-dir:{RELEASES / name}"))(picture())
    assert np.array_equal(found.images[0], clean)
    for severity in (1, 5):
        seen = corrupt(clean.copy(), "fog", severity, preset, seed=7, jpeg_quality=quality)
        assert np.array_equal(found.images[severity], seen)
        np.testing.assert_allclose(found.push_pull[severity], answers(seen, name), atol=1e-5)
        np.testing.assert_allclose(found.plain[severity], answers(seen, plain), atol=1e-5)
    assert not np.array_equal(found.images, networks.compare(picture(), name, "fog", seed=8).images)


def test_no_corruption_leaves_every_severity_clean():
    found = networks.compare(picture(), CIFAR, networks.NONE)
    assert (found.images == found.images[0]).all()
    assert found.likeliest == found.classes[int((found.plain[3] + found.push_pull[3]).argmax())]


def test_every_push_pull_release_is_offered_with_its_baseline():
    assert list(networks.pairs()) == sorted(folder.name for folder in RELEASES.glob("*_pushpull*"))
    for name, plain in networks.pairs().items():
        assert networks.measured(name).baseline["weights_sha256"] == networks.measured(plain).weights_sha256


def test_wordnet_ids_are_shown_as_words():
    assert networks.load(CIFAR).classes[:2] == ("airplane", "automobile")
    assert networks.load(TINY).classes[:2] == ("goldfish", "European fire salamander")
    cranes = ["n02012849", "n03126707", "n01443537"]  # a bird and a machine
    assert networks.readable(cranes) == ("crane (n02012849)", "crane (n03126707)", "goldfish")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("resnet18_cifar_pushpul.cifar10", "fog", 0), "did you mean 'resnet18_cifar_pushpull.cifar10'"),
        ((CIFAR, "smog", 0), "unknown corruption 'smog'; did you mean 'fog'"),
        ((CIFAR, "fog", None), "seed is None; use a whole number"),
    ],
)
def test_a_wrong_choice_is_one_clear_line(arguments, words):
    with pytest.raises(InputError, match=re.escape(words)):
        networks.compare(picture(), *arguments)
    with pytest.raises(gradio.Error, match=re.escape(words)):
        app.classify(picture(), *arguments[:2], 3, arguments[2])


def test_pictures_are_read_upright_and_on_white(tmp_path):
    turned = Image.new("RGB", (40, 20), "red")
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    turned.save(tmp_path / "turned.jpg", exif=exif)
    assert networks.read_picture(tmp_path / "turned.jpg").size == (20, 40)
    Image.new("RGBA", (9, 9), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    assert networks.read_picture(tmp_path / "clear.png").getpixel((4, 4)) == (255, 255, 255)
    Image.new("I;16", (9, 9), 40000).save(tmp_path / "deep.png")
    assert networks.read_picture(tmp_path / "deep.png").mode == "RGB"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\x89PNG\r\n\x1a\nand then nothing", "damaged or no picture"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "damaged or no picture"),
        (Image.new("1", (8000, 7000)), "8000 x 7000 px; use one with up to 50,000,000"),
        (Image.new("1", (20000, 20000)), "damaged or no picture|20000 x 20000"),  # Pillow's own limit
        (Image.new("RGB", (900, 7)), "900 x 7 px; crop it"),
    ],
)
def test_files_that_cannot_be_shown_are_refused_in_one_line(tmp_path, content, words):
    path = tmp_path / "picture.png"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        content.save(path)
    with pytest.raises(InputError, match=words) as refused:
        networks.read_picture(path)
    assert "\n" not in str(refused.value)
    assert str(tmp_path) not in str(refused.value)


def test_the_errors_are_those_of_results_json():
    plain, push_pull = (Results.load(RELEASES / name) for name in (PLAIN_CIFAR, CIFAR))
    shown = app.errors(CIFAR, "snow", 2)
    for results in (plain, push_pull):
        assert f"{results.clean_error:.1%} | {results.errors['snow'][1]:.1%} | {results.mce:.1%}" in shown
    assert "10,000 pictures of cifar10" in shown
    assert "Push-pull raises the mean corruption error by 0.8 points" in shown
    assert "epochs is 5, not 30" in shown
    assert "half of Tiny ImageNet" in app.errors(TINY, "snow", 2)
    for nothing in (app.errors(CIFAR, networks.NONE, 3), app.errors(CIFAR, "snow", 0)):
        assert f"| {plain.clean_error:.1%} | {plain.mce:.1%} |" in nothing


def test_another_frost_than_the_benchmark_s_is_said(monkeypatch):
    monkeypatch.setattr(app, "frost_source", lambda: "procedural")
    assert "Frost on this page is procedural; the errors are with original" in app.errors(CIFAR, "frost", 2)
    assert "Frost" not in app.errors(CIFAR, "snow", 2)
    monkeypatch.setattr(app, "frost_source", lambda: "original")
    assert "Frost" not in app.errors(CIFAR, "frost", 2)


def test_enlarged_pixels_are_squares_of_the_same_colour():
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    large = np.asarray(app.enlarged(image))
    assert large.shape == (256, 256, 3)
    assert np.array_equal(large, np.asarray(Image.fromarray(image).resize((256, 256), Image.Resampling.NEAREST)))


def test_the_curve_is_xml_that_says_its_numbers():
    drawn = curve.curve("Probability of “<a & b>”", {"plain": [1, 0.5, 0.25], "push-pull": [1, 0.75, 0.5]})
    svg = ElementTree.fromstring(drawn)
    assert svg.get("aria-label").startswith("Probability of “<a & b>”")
    assert svg.get("aria-label").endswith("plain: 100%, 50%, 25%; push-pull: 100%, 75%, 50%")
    paths = [path.get("d") for path in svg.iter("path")]
    heights = [[float(point.split()[1]) for point in path[1:].split("L")] for path in paths]
    top, bottom = curve.TOP, curve.HEIGHT - curve.BOTTOM
    assert heights == [
        [bottom - value * (bottom - top) for value in values] for values in ([1, 0.5, 0.25], [1, 0.75, 0.5])
    ]


# Where weights come from


@pytest.fixture
def unloaded() -> Iterator[None]:
    """Nothing loaded before, and nothing of the test's afterwards."""
    caches = (networks._load, networks.measured, networks.release)
    for function in caches:
        function.cache_clear()
    yield
    for function in caches:
        function.cache_clear()


def test_visitors_at_once_load_a_network_once(unloaded, monkeypatch):
    loaded, load_model = [], networks.load_model

    def slow(name):
        loaded.append(name)
        time.sleep(0.1)
        return load_model(name)

    monkeypatch.setattr(networks, "load_model", slow)
    visitors = [threading.Thread(target=networks.load, args=(CIFAR,)) for _ in range(8)]
    for visitor in visitors:
        visitor.start()
    for visitor in visitors:
        visitor.join()
    assert loaded == [f"local-dir:{RELEASES / CIFAR}"]


def test_without_a_source_checkout_the_hub_s_weights_say_the_same(unloaded, hub, monkeypatch, tmp_path):
    here = networks.compare(picture(), CIFAR, "fog")
    for function in (networks._load, networks.measured, networks.release):
        function.cache_clear()
    monkeypatch.setattr(networks, "RELEASES", tmp_path)
    with pytest.raises(InputError, match=f"cannot load .* of {NAMESPACE}/{CIFAR}"):
        networks.compare(picture(), CIFAR, "fog")
    networks.warm_up()  # nobody to tell it to
    for name in (CIFAR, PLAIN_CIFAR):
        hub.add(f"{NAMESPACE}/{name}", {path.name: path.read_bytes() for path in (RELEASES / name).iterdir()})
    there = networks.compare(picture(), CIFAR, "fog")
    assert np.array_equal(here.push_pull, there.push_pull)
    assert np.array_equal(here.plain, there.plain)
    assert networks.release(CIFAR).parts[-3:-1] == (f"models--{NAMESPACE}--{CIFAR}", "snapshots")


def test_warming_up_runs_every_corruption(monkeypatch):
    run = []
    monkeypatch.setattr(networks, "compare", lambda image, name, corruption: run.append(corruption))
    networks.warm_up()
    assert tuple(run) == CORRUPTIONS


# What the Hub holds


def test_the_header_is_what_the_hub_asks_of_a_space():
    header = yaml.safe_load(CARD.split("---\n")[1])
    assert header["sdk"] == "gradio"
    assert Version(header["sdk_version"]).major == Version(gradio.__version__).major
    assert (SPACE / header["app_file"]).is_file()
    assert header["title"] == app.TITLE
    assert header["license"] == "apache-2.0"
    assert len(header["short_description"]) <= 60
    assert {header["colorFrom"], header["colorTo"]} <= {
        *("red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray")
    }
    assert len(header["emoji"].encode("utf-16-le")) // 2 <= 3
    releases = [name for pair in networks.pairs().items() for name in pair]
    assert sorted(header["models"]) == sorted(f"{NAMESPACE}/{name}" for name in releases)
    project = pytest.importorskip("tomllib").loads((ROOT / "pyproject.toml").read_text())["project"]
    assert Version(header["python_version"]) in Requirement(f"x{project['requires-python']}").specifier


def test_the_requirements_are_this_package_and_this_gradio():
    project = pytest.importorskip("tomllib").loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = (SPACE / "requirements.txt").read_text().splitlines()
    wanted = {found.name: found for found in (Requirement(line) for line in lines if not line.startswith("#"))}
    assert project["version"] in wanted["timm-pushpull"].specifier
    assert wanted["timm-pushpull"].extras <= set(project["optional-dependencies"])
    header = yaml.safe_load(CARD.split("---\n")[1])
    assert header["sdk_version"] in wanted["gradio"].specifier
    wheel = next(Requirement(line) for line in CARD.splitlines() if line.startswith("timm-pushpull[report] @"))
    assert set(re.findall(r"timm_pushpull-(.+?)-py3-none-any\.whl", CARD)) == {project["version"]}
    assert wheel.extras == wanted["timm-pushpull"].extras


def test_the_command_of_the_readme_publishes_the_space(hub, monkeypatch, tmp_path):
    command = next(line for line in CARD.splitlines() if line.startswith("hf upload") and "hub/space" in line)
    monkeypatch.chdir(ROOT)
    stale = SPACE / "__pycache__" / "app.cpython-0.pyc"
    stale.parent.mkdir(exist_ok=True)
    stale.write_bytes(b"not to go")
    try:
        with pytest.raises(SystemExit) as end:
            hf(shlex.split(command.replace(f"{NAMESPACE}/", "me/"))[1:])
    finally:
        stale.unlink()
    assert not end.value.code
    pulled = Path(snapshot_download("me/corruptions", repo_type="space", cache_dir=tmp_path))
    there = {str(path.relative_to(pulled)): path.read_bytes() for path in pulled.rglob("*") if path.is_file()}
    here = {str(path.relative_to(SPACE)): path.read_bytes() for path in SPACE.rglob("*") if path.is_file()}
    here = {name: content for name, content in here.items() if "__pycache__" not in name}
    assert {name: content for name, content in there.items() if name != ".gitattributes"} == here


# The page


@pytest.fixture(scope="module")
def url(tmp_path_factory) -> Iterator[str]:
    """The Space as its command starts it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    place = {"GRADIO_SERVER_NAME": "127.0.0.1", "GRADIO_SERVER_PORT": str(port), "GRADIO_ANALYTICS_ENABLED": "False"}
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
        expect(page.get_by_text("One picture proves little.")).to_be_visible(timeout=60_000)
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
    file = {"name": "picture.png", "mimeType": "image/png", "buffer": content}
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
    """A picture as the page got it: the clean (0) or the corrupted one (1)."""
    content = page.request.get(page.locator(".seen img").nth(place).get_attribute("src")).body()
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


def test_the_page_shows_what_python_computes(visit):
    page, plain, network = visit(), networks.load(PLAIN_CIFAR), networks.load(CIFAR)
    clean = network.geometry(picture(1)).copy()

    def expect_all(corruption: str, severity: int) -> None:
        seen = corrupt(clean, corruption, severity, "cifar10-c")
        said = [one.probabilities(seen[None])[0] for one in (plain, network)]
        expect_answers(page, said, network.classes)
        assert np.array_equal(pixels(page, 0), clean.repeat(8, 0).repeat(8, 1))
        assert np.array_equal(pixels(page, 1), seen.repeat(8, 0).repeat(8, 1))
        measured = Results.load(RELEASES / CIFAR).errors[corruption][severity - 1]
        expect(page.get_by_role("row", name="push-pull")).to_contain_text(f"{measured:.1%}")

    show(page, picture(1))
    expect_all("gaussian_noise", 3)
    choose(page, "Corruption", "contrast")
    expect_all("contrast", 3)
    page.get_by_role("slider", name="Severity").focus()
    page.keyboard.press("ArrowRight")
    expect_all("contrast", 4)

    found = networks.compare(picture(1), CIFAR, "contrast")
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
    choose(page, "Push-pull network", TINY)
    page.get_by_role("button", name="lion").click()
    found = networks.compare(networks.read_picture(app.EXAMPLES[-1][0]), TINY, "gaussian_noise")
    expect_answers(page, (found.plain[3], found.push_pull[3]), found.classes)
    assert np.array_equal(pixels(page, 1), found.images[3].repeat(4, 0).repeat(4, 1))

    messages = page.get_by_test_id("toast-text")
    upload(page, b"\x89PNG\r\n\x1a\nand then nothing")
    expect(messages).to_have_text(["the file is damaged or no picture; use a PNG, JPEG or WebP file"])
    for stale in (".seen img", ".answer dt", ".curve svg", ".errors td"):  # about another picture
        expect(page.locator(stale)).to_have_count(0)
    page.get_by_test_id("toast-close").click()
    page.get_by_role("button", name="ship").click()
    expect(page.locator(".answer dt")).to_have_count(10)
    page.get_by_role("button", name="Remove Image").click()
    expect(messages).to_have_text(["there is no picture; upload one or choose an example"])


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
