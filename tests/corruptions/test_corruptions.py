"""The corruptions equal the published code, and depend on their arguments alone."""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from PIL import Image

from support.paths import GOLDEN_FOLDER, shared_path
from support.processes import run_command
from timm_pushpull import InputError
from timm_pushpull.corruptions import (
    CORRUPTIONS,
    EXTRA_CORRUPTIONS,
    PRESETS,
    corrupt,
    corrupt_batch,
    digital,
    frost_source,
    spatter,
    textures,
)

GOLDEN = np.load(GOLDEN_FOLDER / "corruptions.npz")
NAMES = CORRUPTIONS + EXTRA_CORRUPTIONS
EXCERPTS = {"imagenet-c": slice(5, None, 32), "cifar10-c": slice(None), "tiny-imagenet-c": slice(3, None, 8)}
# Single values whose sums are rounded in another order than in SciPy and OpenCV; all others are equal.
ROUNDED = ("defocus_blur", "zoom_blur", "elastic_transform", "spatter")


@pytest.fixture(scope="module")
def frost_dir() -> Path:
    """The folder of the original frost textures, if this machine has them."""
    package = importlib.util.find_spec("imagecorruptions")
    if package and (Path(package.origin).parent / "frost").is_dir():
        return Path(package.origin).parent / "frost"
    return shared_path("data/frost")


def replayed(name: str, severity: int, preset: str, **options) -> np.ndarray:
    image = GOLDEN[f"input_{PRESETS[preset].image_size}"]
    return corrupt(image, name, severity, preset, legacy_rng=np.random.RandomState(11), **options)


def assert_faithful(name: str, output: np.ndarray, expected: np.ndarray) -> None:
    difference = np.abs(output.astype(int) - expected)
    if name in ROUNDED:
        assert difference.max() <= 1
        assert (difference > 0).mean() <= 0.0005
    else:
        assert difference.max() == 0


def skip_other_jpeg_library(name: str) -> None:
    expected = GOLDEN["cifar10-c"][NAMES.index("jpeg_compression"), 0]
    if name == "jpeg_compression" and (replayed(name, 1, "cifar10-c") != expected).any():
        pytest.skip("another JPEG library")


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("name", NAMES)
def test_equals_the_original(name, preset, request):
    skip_other_jpeg_library(name)
    options = {"frost_dir": request.getfixturevalue("frost_dir")} if name == "frost" else {}
    for severity in range(1, 6):
        output = replayed(name, severity, preset, **options)[EXCERPTS[preset]]
        assert_faithful(name, output, GOLDEN[preset][NAMES.index(name), severity - 1])


def test_snow_on_a_grey_image_equals_the_original():
    """Sums are integers more often on grey images, so the rounding of the grey level decides the result."""
    for severity, expected in enumerate(GOLDEN["grey_snow"], start=1):
        output = corrupt(GOLDEN["grey_32"], "snow", severity, "cifar10-c", legacy_rng=np.random.RandomState(11))
        np.testing.assert_array_equal(output, expected)


@pytest.mark.parametrize("name", NAMES)
def test_equals_all_golden_pixels(name):
    skip_other_jpeg_library(name)
    golden = np.load(shared_path("golden/corruptions.npz"))
    frost = shared_path("data/frost")
    for preset in ("imagenet-c", "cifar10-c"):
        for severity in range(1, 6):
            output = replayed(name, severity, preset, frost_dir=frost)
            assert_faithful(name, output, golden[f"{preset}/{name}/{severity}"])


@pytest.mark.parametrize("name", ["motion_blur", "zoom_blur", "pixelate"])
def test_flat_images_lose_a_grey_level_only_where_the_original_does(name):
    """Floating-point weights sum to almost 1, and results are truncated."""
    for level in range(256):
        flat = np.full((9, 12, 3), level, np.uint8)
        value = np.float32(level) / np.float32(255)
        for severity in (1, 3, 5):
            output = corrupt(flat, name, severity, "cifar10-c")
            expected = level
            if name == "zoom_blur":
                stop, step = PRESETS["cifar10-c"].constants[name][severity - 1]
                total = np.float32(0)
                for _ in np.arange(1, stop, step):
                    total += value
                mean = (value + total) / np.float32(len(np.arange(1, stop, step)) + 1)
                expected = int(min(mean, np.float32(1)) * np.float32(255))
            assert (output == expected).all()


@pytest.mark.parametrize("factor", [0.25, 0.65, 0.95, 1.0])
@given(height=st.integers(8, 70), more=st.integers(0, 40), seed=st.integers(0, 9))
@settings(max_examples=15, deadline=None)
def test_pixelate_is_pillows_box_filter(factor, height, more, seed):
    """For landscape and square images. For portrait ones Pillow 13 starts with the columns, unlike Pillow 5."""
    width = height + more
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    small = (max(int(width * factor), 1), max(int(height * factor), 1))
    box = Image.Resampling.BOX
    expected = np.asarray(Image.fromarray(image).resize(small, box).resize((width, height), box))
    np.testing.assert_array_equal(digital.pixelate(image[None], factor, None)[0], expected)


def test_edges_of_drops_begin_above_cannys_high_threshold():
    """The Sobel gradient of a step is four times its height: 4 * 37 < 150 < 4 * 38."""
    for height, found in ((37, False), (38, True)):
        step = np.zeros((12, 12), np.uint8)
        step[:, 6:] = height
        assert spatter._edges(step).any() == found


def test_names_and_tables():
    assert len(CORRUPTIONS) == 15
    assert EXTRA_CORRUPTIONS == ("speckle_noise", "gaussian_blur", "spatter", "saturate")
    for preset in PRESETS:
        assert PRESETS[preset].name == preset
        assert set(PRESETS[preset].constants) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_depends_on_seed_name_severity_and_index_alone(name):
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (70, 32, 32, 3), dtype=np.uint8)
    expected = corrupt_batch(images, name, 3, "cifar10-c", seed=5)
    for size in (1, 7, 64):
        parts = [range(start, min(start + size, 70)) for start in range(0, 70, size)]
        batches = [corrupt_batch(images[p], name, 3, "cifar10-c", seed=5, indices=p) for p in parts]
        np.testing.assert_array_equal(np.concatenate(batches), expected)
    order = rng.permutation(70)
    shuffled = corrupt_batch(images[order], name, 3, "cifar10-c", seed=5, indices=order)
    np.testing.assert_array_equal(shuffled, expected[order])
    np.testing.assert_array_equal(corrupt(images[9], name, 3, "cifar10-c", seed=5, index=9), expected[9])


DIGESTS = """
import hashlib, sys
import numpy as np
from timm_pushpull.corruptions import CORRUPTIONS, EXTRA_CORRUPTIONS, corrupt_batch
rank, size = map(int, sys.argv[1:])
images = np.random.default_rng(1).integers(0, 256, (20, 32, 32, 3), dtype=np.uint8)
for name in CORRUPTIONS + EXTRA_CORRUPTIONS:
    for start in range(rank * 10, rank * 10 + 10, size):
        indices = range(start, min(start + size, rank * 10 + 10))
        for image in corrupt_batch(images[indices.start:indices.stop], name, 4, "cifar10-c", indices=indices):
            print(name, hashlib.sha256(image).hexdigest())
"""


def test_two_processes_make_the_same_pixels(tmp_path):
    script = tmp_path / "digests.py"
    script.write_text(DIGESTS)
    lines = []
    for rank, size in ((0, 3), (1, 10)):
        process = run_command(script, str(rank), str(size))
        assert process.returncode == 0, process.stderr
        lines += process.stdout.splitlines()
    images = np.random.default_rng(1).integers(0, 256, (20, 32, 32, 3), dtype=np.uint8)
    expected = [
        f"{name} {hashlib.sha256(image).hexdigest()}"
        for name in NAMES
        for image in corrupt_batch(images, name, 4, "cifar10-c")
    ]
    assert sorted(lines) == sorted(expected)


def test_seeds_keep_their_meaning():
    """Published results name a seed. Changing these pixels would make them irreproducible."""
    output = corrupt_batch(GOLDEN["input_32"][None], "gaussian_noise", 3, "cifar10-c", seed=1, indices=[2**40 + 3])
    assert hashlib.sha256(output).hexdigest() == "23b82f12b1b8373a84ad6b30eced3a31971f57e358c0b13b91d58d0d39492256"


@pytest.mark.parametrize(
    "name", ["gaussian_noise", "glass_blur", "motion_blur", "snow", "frost", "fog", "elastic_transform", "spatter"]
)
def test_random_corruptions_change_with_seed_index_and_severity(name):
    images = np.repeat(GOLDEN["input_32"][None], 5, axis=0)
    outputs = [
        corrupt_batch(images, name, severity, "cifar10-c", seed=seed, indices=range(first, first + 5))
        for severity, seed, first in ((3, 0, 0), (3, 1, 0), (3, 0, 5), (5, 0, 0))
    ]
    for i, output in enumerate(outputs):
        for other in outputs[:i]:
            assert (output != other).mean() > 0.01


@pytest.mark.parametrize("name", NAMES)
@given(
    image=npst.arrays(np.uint8, st.tuples(st.integers(32, 70), st.integers(32, 70), st.sampled_from([1, 3]))),
    severity=st.integers(1, 5),
    preset=st.sampled_from(list(PRESETS)),
    seed=st.integers(0, 2**64 - 1),
    index=st.integers(0, 2**64 - 1),
)
@settings(max_examples=12, deadline=None)
def test_any_image_keeps_its_size(name, image, severity, preset, seed, index):
    before = image.copy()
    output = corrupt(image, name, severity, preset, seed=seed, index=index)
    assert output.shape == (*image.shape[:2], 3)
    assert output.dtype == np.uint8
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize("shape", [(32, 400), (400, 32), (8, 9), (301, 299), (600, 1000)])
@pytest.mark.parametrize("name", NAMES)
def test_any_aspect_from_the_shortest_side_up(name, shape):
    preset = "imagenet-c" if min(shape) >= 32 else "cifar10-c"
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    for severity in (1, 5):
        output = corrupt(image, name, severity, preset)
        assert output.shape == image.shape
        assert np.unique(output).size > 1


@pytest.mark.parametrize("name", NAMES)
def test_a_transposed_image_has_the_same_statistics(name):
    """Only the direction of motion blur and snow depends on the orientation."""
    image = np.asarray(Image.fromarray(GOLDEN["input_224"]).resize((160, 96)))
    means = []
    for oriented in (image, image.transpose(1, 0, 2)):
        batch = np.repeat(oriented[None], 12, axis=0)
        means.append(corrupt_batch(batch, name, 3).mean())
    assert means[0] == pytest.approx(means[1], rel=0.08)


@pytest.mark.parametrize("severity", [1, 5])
def test_brightness_keeps_hue_and_saturation_of_every_colour(severity):
    colours = np.random.default_rng(0).integers(0, 256, (100, 100, 3), dtype=np.uint8)
    colours[:10] = colours[:10, :, :1]  # greys, black among them
    colours[0, 0] = 0
    value = colours.max(axis=-1, keepdims=True) / 255
    brighter = np.minimum(value + PRESETS["imagenet-c"].constants["brightness"][severity - 1], 1)
    ratio = np.divide(colours, 255 * value, where=value > 0, out=np.ones(colours.shape))  # black becomes grey
    output = corrupt(colours, "brightness", severity)
    assert np.abs(output - 255 * ratio * brighter).max() < 1 + 1e-9


def test_jpeg_round_trip_follows_the_corruption():
    image = GOLDEN["input_224"]
    plain = corrupt(image, "gaussian_noise", 3)
    after = corrupt(image, "gaussian_noise", 3, jpeg_quality=85)
    np.testing.assert_array_equal(after, digital.jpeg_round_trip(plain[None], 85)[0])
    assert 15 < np.abs(after.astype(int) - plain).mean() < 40  # chroma noise does not survive 4:2:0
    batch = corrupt_batch(np.stack([image, image]), "gaussian_noise", 3, indices=[0, 1], jpeg_quality=85)
    np.testing.assert_array_equal(batch[0], after)


def test_pil_in_pil_out_and_grey_becomes_rgb():
    grey = np.arange(1024, dtype=np.uint16).reshape(32, 32).astype(np.uint8)
    rgb = np.repeat(grey[..., None], 3, axis=2)
    expected = corrupt(rgb, "contrast", 2)
    for image in (Image.fromarray(rgb), Image.fromarray(grey)):
        output = corrupt(image, "contrast", 2)
        assert isinstance(output, Image.Image)
        np.testing.assert_array_equal(np.asarray(output), expected)
    np.testing.assert_array_equal(corrupt(grey, "contrast", 2), expected)
    np.testing.assert_array_equal(corrupt_batch(grey[None, ..., None], "contrast", 2), expected[None])
    assert corrupt_batch(np.zeros((0, 32, 32, 3), np.uint8), "fog", 1).shape == (0, 32, 32, 3)


# --- Frost textures ---


def test_frost_textures_are_looked_for_in_order(frost_dir, tmp_path, monkeypatch):
    monkeypatch.delenv(textures.ENVIRONMENT, raising=False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    image = GOLDEN["input_32"]
    procedural = corrupt(image, "frost", 3, "cifar10-c")
    assert frost_source() == textures.PROCEDURAL
    assert "not comparable" in frost_source()
    original = corrupt(image, "frost", 3, "cifar10-c", frost_dir=frost_dir)
    assert frost_source(frost_dir) == "original"
    assert (original != procedural).mean() > 0.5
    monkeypatch.setenv(textures.ENVIRONMENT, str(frost_dir))
    assert frost_source() == "original"
    np.testing.assert_array_equal(corrupt(image, "frost", 3, "cifar10-c"), original)
    with pytest.raises(InputError, match=r"frost1.png is missing"):
        corrupt(image, "frost", 3, "cifar10-c", frost_dir=tmp_path)
    for number, suffix in enumerate(("png", "png", "png", "jpg", "jpg"), 1):
        Image.new("RGB", (9, 9)).save(tmp_path / f"frost{number}.{suffix}")
    with pytest.raises(InputError, match=r"frost1.png is a different file"):
        corrupt(image, "frost", 3, "cifar10-c", frost_dir=tmp_path)


def test_frost_comes_with_an_installed_imagecorruptions(frost_dir, tmp_path, monkeypatch):
    monkeypatch.delenv(textures.ENVIRONMENT, raising=False)
    (tmp_path / "imagecorruptions").mkdir()
    (tmp_path / "imagecorruptions" / "__init__.py").touch()
    (tmp_path / "imagecorruptions" / "frost").symlink_to(frost_dir)
    monkeypatch.syspath_prepend(tmp_path)
    assert frost_source() == "original"
