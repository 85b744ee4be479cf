"""The corruptions against the original generator, and their promises to callers."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from PIL import Image

from conftest import DATA
from timm_pushpull import InputError
from timm_pushpull.corruptions import AVAILABLE, CORRUPTIONS, EXTRA_CORRUPTIONS, PRESETS, corrupt, corrupt_batch
from timm_pushpull.corruptions.severities import SEVERITIES

GOLDEN = np.load(DATA / "corruptions.npz")
HASHES = json.loads((DATA / "corruptions_224_sha256.json").read_text())
INPUTS = {"imagenet-c": GOLDEN["input_224"], "cifar10-c": GOLDEN["input_32"]}
CELLS = [(name, severity) for name in AVAILABLE for severity in (1, 2, 3, 4, 5)]


def replayed(name: str, severity: int, preset: str) -> np.ndarray:
    return corrupt(INPUTS[preset], name, severity, preset, legacy_rng=np.random.RandomState(11))


@pytest.mark.parametrize(("name", "severity"), CELLS)
def test_equals_the_original_at_32_px(name, severity):
    expected = GOLDEN[f"cifar10-c/{name}/{severity}"]
    if name == "jpeg_compression" and not jpeg_library_is_the_originals():
        pytest.skip("another JPEG library")
    np.testing.assert_array_equal(replayed(name, severity, "cifar10-c"), expected)


@pytest.mark.parametrize(("name", "severity"), CELLS)
def test_equals_the_original_at_224_px(name, severity):
    if name == "jpeg_compression" and not jpeg_library_is_the_originals():
        pytest.skip("another JPEG library")
    output = replayed(name, severity, "imagenet-c")
    assert output.shape == (224, 224, 3)
    assert hashlib.sha256(output.tobytes()).hexdigest() == HASHES[f"imagenet-c/{name}/{severity}"]


def jpeg_library_is_the_originals() -> bool:
    """Whether PIL's JPEG round trip gives the golden file's grey levels; libraries differ by a level here and there."""
    expected = GOLDEN["cifar10-c/jpeg_compression/1"].astype(int)
    return abs(replayed("jpeg_compression", 1, "cifar10-c") - expected).max() == 0


def test_names():
    assert len(CORRUPTIONS) == 15
    assert EXTRA_CORRUPTIONS == ("speckle_noise", "gaussian_blur", "spatter", "saturate")
    assert set(AVAILABLE) <= set(CORRUPTIONS)
    for preset in PRESETS:
        assert set(SEVERITIES[preset]) == set(AVAILABLE)


@pytest.mark.parametrize("name", AVAILABLE)
def test_depends_on_seed_name_severity_and_index_alone(name):
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (9, 32, 32, 3), dtype=np.uint8)
    one_by_one = np.stack([corrupt(image, name, 3, seed=5, index=i) for i, image in enumerate(images)])
    np.testing.assert_array_equal(corrupt_batch(images, name, 3, seed=5), one_by_one)
    order = rng.permutation(9)
    shuffled = np.concatenate(
        [corrupt_batch(images[part], name, 3, seed=5, indices=part) for part in np.array_split(order, 4)]
    )
    np.testing.assert_array_equal(shuffled[np.argsort(order)], one_by_one)


@pytest.mark.parametrize("name", ["gaussian_noise", "shot_noise", "impulse_noise"])
def test_noise_changes_with_seed_index_and_severity(name):
    image = np.full((32, 32, 3), 128, np.uint8)
    outputs = [
        corrupt(image, name, severity, seed=seed, index=index)
        for severity, seed, index in ((3, 0, 0), (3, 1, 0), (3, 0, 1), (4, 0, 0))
    ]
    for i, output in enumerate(outputs):
        for other in outputs[:i]:
            assert (output != other).mean() > 0.1


@pytest.mark.parametrize(
    ("name", "deviation"), [("gaussian_noise", 0.08 * 255), ("shot_noise", (0.5 / 60) ** 0.5 * 255)]
)
def test_noise_has_the_published_strength(name, deviation):
    image = np.full((128, 128, 3), 128, np.uint8)
    noise = corrupt(image, name, 1).astype(float) - 128
    assert abs(noise.mean() + 0.5) < 0.5  # half a level is lost by truncation
    assert noise.std() == pytest.approx(deviation, rel=0.02)


@pytest.mark.parametrize("name", AVAILABLE)
@given(
    image=npst.arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40), st.sampled_from([1, 3]))),
    severity=st.integers(1, 5),
    preset=st.sampled_from(PRESETS),
    seed=st.integers(0, 2**64 - 1),
    index=st.integers(0, 2**63),
)
def test_any_image_keeps_its_size(name, image, severity, preset, seed, index):
    before = image.copy()
    output = corrupt(image, name, severity, preset, seed=seed, index=index)
    assert output.shape == (*image.shape[:2], 3)
    assert output.dtype == np.uint8
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize("severity", [1, 5])
def test_brightness_keeps_hue_and_saturation_of_every_colour(severity):
    colours = np.random.default_rng(0).integers(0, 256, (100, 100, 3), dtype=np.uint8)
    colours[:10] = colours[:10, :, :1]  # greys, black among them
    colours[0, 0] = 0
    value = colours.max(axis=-1, keepdims=True) / 255
    brighter = np.minimum(value + SEVERITIES["imagenet-c"]["brightness"][severity - 1], 1)
    ratio = np.divide(colours, 255 * value, where=value > 0, out=np.ones(colours.shape))  # black becomes grey
    output = corrupt(colours, "brightness", severity)
    assert np.abs(output - 255 * ratio * brighter).max() < 1 + 1e-9


def test_pil_in_pil_out_and_grey_becomes_rgb():
    grey = np.arange(1024, dtype=np.uint16).reshape(32, 32).astype(np.uint8)
    rgb = np.repeat(grey[..., None], 3, axis=2)
    expected = corrupt(rgb, "contrast", 2)
    for image in (Image.fromarray(rgb), Image.fromarray(grey)):
        output = corrupt(image, "contrast", 2)
        assert isinstance(output, Image.Image)
        np.testing.assert_array_equal(np.asarray(output), expected)
    np.testing.assert_array_equal(corrupt(grey, "contrast", 2), expected)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "gausian_noise"}, "did you mean 'gaussian_noise'"),
        ({"name": "fog"}, "'fog' is not available in this version"),
        ({"severity": 0}, "severity is 0"),
        ({"severity": 6}, "severity is 6"),
        ({"severity": 2.5}, "severity is 2.5"),
        ({"preset": "imagenet"}, "did you mean 'imagenet-c'"),
        ({"image": np.zeros((8, 8, 3))}, "the image is float64"),
        ({"image": np.zeros((8, 8, 4), np.uint8)}, "shape"),
        ({"image": np.zeros((0, 8, 3), np.uint8)}, "shape"),
        ({"image": [[1]]}, "the image is list"),
        ({"image": Image.new("RGBA", (8, 8))}, "RGBA"),
        ({"seed": -1}, "seed is -1"),
        ({"index": -1}, "index is -1"),
        ({"seed": 2**64}, "seed is 18446744073709551616"),
    ],
)
def test_bad_input_is_named(arguments, message):
    arguments = {"image": np.zeros((8, 8, 3), np.uint8), "name": "gaussian_noise", "severity": 1, **arguments}
    with pytest.raises(InputError, match=message):
        corrupt(**arguments)


@pytest.mark.parametrize(
    ("images", "indices", "message"),
    [
        (np.zeros((8, 8, 3), np.uint8), None, "images have shape"),
        (np.zeros((2, 8, 8, 3), np.uint8), [1], "1 indices for 2 images"),
    ],
)
def test_bad_batches_are_named(images, indices, message):
    with pytest.raises(InputError, match=message):
        corrupt_batch(images, "contrast", 1, indices=indices)
