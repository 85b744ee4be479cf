"""The Space in hub/space: what it computes, and its way to the Hub."""

from __future__ import annotations

import asyncio
import io
import re
import shlex
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import timm
import yaml
from huggingface_hub import snapshot_download
from huggingface_hub.cli.hf import app as hf
from packaging.requirements import Requirement
from packaging.version import Version
from PIL import Image

from support.example_space import (
    CARD,
    CIFAR,
    IMAGENETTE,
    PLAIN_CIFAR,
    PLAIN_IMAGENETTE,
    SPACE,
    answers,
    app,
    curve,
    example_image,
    gradio,
    networks,
)
from support.paths import ROOT, needs_releases
from timm_pushpull.benchmark.results import Results
from timm_pushpull.corruptions import CORRUPTIONS, corrupt
from timm_pushpull.data.preprocessing import model_geometry
from timm_pushpull.models import NAMESPACE, RELEASES
from timm_pushpull.utils.errors import InputError
from train.release import load_planned

pytestmark = needs_releases

PAGE = ROOT / "hub" / "organization"  # the organisation's page on the Hub


@pytest.mark.parametrize(
    ("name", "plain", "preset", "quality"),
    [
        (CIFAR, PLAIN_CIFAR, "cifar10-c", None),
        (IMAGENETTE, f"local-dir:{RELEASES / PLAIN_IMAGENETTE}", "imagenet-c", 85),
    ],
    ids=["cifar10", "imagenette"],
)
def test_both_networks_see_the_corrupted_image_as_the_benchmark_makes_it(name, plain, preset, quality):
    found = networks.classify(example_image(), name, "fog", seed=7)
    clean = model_geometry(timm.create_model(f"local-dir:{RELEASES / name}"))(example_image())
    assert np.array_equal(found.images[0], clean)
    for severity in (1, 5):
        seen = corrupt(clean.copy(), "fog", severity, preset, seed=7, jpeg_quality=quality)
        assert np.array_equal(found.images[severity], seen)
        np.testing.assert_allclose(found.push_pull[severity], answers(seen, name), atol=1e-5)
        np.testing.assert_allclose(found.plain[severity], answers(seen, plain), atol=1e-5)
    assert not np.array_equal(found.images, networks.classify(example_image(), name, "fog", seed=8).images)


def test_no_corruption_leaves_every_severity_clean():
    found = networks.classify(example_image(), CIFAR, networks.NONE)
    assert (found.images == found.images[0]).all()
    assert found.likeliest == found.classes[int((found.plain[3] + found.push_pull[3]).argmax())]


def test_every_push_pull_release_with_a_released_baseline_is_offered():
    plans = [plan for name, plan in load_planned().items() if "_pushpull" in name and (RELEASES / name).exists()]
    offered = [plan for plan in plans if (RELEASES / plan.baseline).exists()]
    assert list(networks.pairs()) == [plan.name for plan in sorted(offered, key=lambda plan: (plan.tag, plan.model))]
    assert {plan.name for plan in plans if plan not in offered} == networks.UNPAIRED
    for name, plain in networks.pairs().items():
        assert networks.measured(name).baseline.weights_sha256 == networks.measured(plain).weights_sha256


def test_wordnet_ids_are_shown_in_words():
    assert networks.load(CIFAR).classes[:2] == ("airplane", "automobile")
    assert networks.load(IMAGENETTE).classes[:2] == ("tench", "English springer")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("resnet18_cifar_pushpul.cifar10", "fog", 0), "did you mean 'resnet18_cifar_pushpull.cifar10'"),
        ((CIFAR, "smog", 0), "unknown corruption 'smog'; did you mean 'fog'"),
        ((CIFAR, "fog", None), "seed is None; use an integer"),
    ],
)
def test_a_wrong_choice_is_one_clear_line(arguments, words):
    with pytest.raises(InputError, match=re.escape(words)):
        networks.classify(example_image(), *arguments)
    with pytest.raises(gradio.Error, match=re.escape(words)):
        app.classify(example_image(), *arguments[:2], 3, arguments[2])


def test_images_are_read_upright_and_on_white(tmp_path):
    turned = Image.new("RGB", (40, 20), "red")
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    turned.save(tmp_path / "turned.jpg", exif=exif)
    assert networks.read_image(tmp_path / "turned.jpg").size == (20, 40)
    Image.new("RGBA", (9, 9), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    assert networks.read_image(tmp_path / "clear.png").getpixel((4, 4)) == (255, 255, 255)
    Image.new("I;16", (9, 9), 40000).save(tmp_path / "deep.png")
    assert networks.read_image(tmp_path / "deep.png").mode == "RGB"


def _png(side: int) -> bytes:
    content = io.BytesIO()
    Image.new("1", (side, side)).save(content, "PNG")
    return content.getvalue()


HUGE = _png(7000)  # within an icon file that says 32 x 32


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\x89PNG\r\n\x1a\nand then nothing", "damaged or not an image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EOF\n", "damaged or not an image"),
        (b"\0\0\1\0\1\0 \0\0\0\1\0 \0" + struct.pack("<II", len(HUGE), 22) + HUGE, "damaged or not an image"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "damaged or not an image"),
        (Image.new("1", (4001, 4000)), "4001 x 4000 px; use one with up to 16,000,000"),
        (Image.new("1", (20000, 20000)), "damaged or not an image|20000 x 20000"),  # Pillow's own limit
        (Image.new("RGB", (900, 7)), "900 x 7 px; crop it"),
    ],
)
def test_files_that_cannot_be_shown_are_refused_in_one_line(tmp_path, content, words):
    path = tmp_path / "image.png"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        content.save(path)
    with pytest.raises(InputError, match=words) as refused:
        networks.read_image(path)
    assert "\n" not in str(refused.value)
    assert str(tmp_path) not in str(refused.value)


@pytest.mark.parametrize(
    ("place", "values"),
    [
        (0, ["x.png", 5, [1], {"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}]),
        (1, [5, [1], {"a": 1}]),
        (2, [5, {"a": 1}]),
        (3, ["x", None, [3], 9, -1, 1e300]),
        (4, ["x", [1], {"a": 1}, -5, "nan"]),
        (None, [None]),
    ],
)
def test_wrong_types_from_the_api_are_one_line_without_a_traceback(place, values, capfd):
    page = app.build()
    classify = next(fn for fn in page.fns.values() if fn.api_name == "classify")
    for value in values:
        inputs = [None, CIFAR, "fog", 3, 0, app.LIKELIEST]
        inputs = inputs[:2] if place is None else [*inputs[:place], value, *inputs[place + 1 :]]
        with pytest.raises(gradio.Error) as refused:
            asyncio.run(page.preprocess_data(classify, inputs, None))
        assert refused.value.print_exception is False
        assert re.fullmatch("[^<\n]+", refused.value.message)
    assert "Traceback" not in "".join(capfd.readouterr())


def test_the_queue_is_bounded():
    assert app.build()._queue.max_size == app.WAITING


def test_the_errors_are_those_of_results_json():
    plain, push_pull = (Results.load(RELEASES / name) for name in (PLAIN_CIFAR, CIFAR))
    shown = app.errors(CIFAR, "snow", 2)
    for results in (plain, push_pull):
        assert f"{results.clean_error:.1%} | {results.errors['snow'][1]:.1%} | {results.mce:.1%}" in shown
    assert "10,000 images of cifar10" in shown
    assert "mCE is 0.8 points higher, in one training run of each" in shown
    assert "epochs is 5, not 30" in shown
    assert "3,925 images of imagenette" in app.errors(IMAGENETTE, "snow", 2)
    for nothing in (app.errors(CIFAR, networks.NONE, 3), app.errors(CIFAR, "snow", 0)):
        assert f"| {plain.clean_error:.1%} | {plain.mce:.1%} |" in nothing


def test_another_frost_than_the_benchmark_s_is_said(monkeypatch):
    monkeypatch.setattr(app, "frost_source", lambda: "procedural")
    assert "Frost on this page is procedural; the errors were measured with original" in app.errors(CIFAR, "frost", 2)
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
    here = networks.classify(example_image(), CIFAR, "fog")
    for function in (networks._load, networks.measured, networks.release):
        function.cache_clear()
    monkeypatch.setattr(networks, "RELEASES", tmp_path)
    with pytest.raises(InputError, match=f"cannot load .* of {NAMESPACE}/{CIFAR}"):
        networks.classify(example_image(), CIFAR, "fog")
    networks.warm_up()  # nobody to tell it to
    for name in (CIFAR, PLAIN_CIFAR):
        hub.add(f"{NAMESPACE}/{name}", {path.name: path.read_bytes() for path in (RELEASES / name).iterdir()})
    there = networks.classify(example_image(), CIFAR, "fog")
    assert np.array_equal(here.push_pull, there.push_pull)
    assert np.array_equal(here.plain, there.plain)
    assert networks.release(CIFAR).parts[-3:-1] == (f"models--{NAMESPACE}--{CIFAR}", "snapshots")


def test_warming_up_runs_every_corruption(monkeypatch):
    run = []
    monkeypatch.setattr(networks, "classify", lambda image, name, corruption: run.append(corruption))
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
    assert header["models"] == [f"{NAMESPACE}/{name}" for name in networks.releases()]
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


def test_the_page_of_the_organisation_runs_and_names_what_is_there():
    text = (PAGE / "README.md").read_text(encoding="utf-8")
    header = yaml.safe_load(text.split("---\n")[1])
    assert (header["title"], header["sdk"]) == ("README", "static")
    assert len(header["short_description"]) <= 60
    (code,) = re.findall(r"```python\n(.*?)```", text, re.S)
    scope: dict[str, object] = {}
    exec(code, scope)
    assert scope["model"].pretrained_cfg["tag"] == "imagenette"
    assert f"hf upload {NAMESPACE}/corruptions " in CARD
    assert f"https://huggingface.co/spaces/{NAMESPACE}/corruptions" in text


@pytest.mark.parametrize(
    ("page", "folder", "repo"),
    [(SPACE / "README.md", SPACE, "corruptions"), (ROOT / "docs/publish.md", PAGE, "README")],
)
def test_the_documented_command_publishes_the_page(page, folder, repo, hub, monkeypatch, tmp_path):
    """The Space, and the page of the organisation, which is a Space too."""
    lines = page.read_text(encoding="utf-8").splitlines()
    command = next(line for line in lines if line.startswith("hf upload") and f"hub/{folder.name}" in line)
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
    pulled = Path(snapshot_download(f"me/{repo}", repo_type="space", cache_dir=tmp_path))
    there = {str(path.relative_to(pulled)): path.read_bytes() for path in pulled.rglob("*") if path.is_file()}
    here = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    here = {name: content for name, content in here.items() if "__pycache__" not in name}
    assert {name: content for name, content in there.items() if name != ".gitattributes"} == here
