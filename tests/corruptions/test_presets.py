"""A new preset is one `Preset`: corruptions, the benchmark and `generate` then take it by its name."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from timm_pushpull import InputError
from timm_pushpull.benchmark import evaluate
from timm_pushpull.corruptions import PRESETS, Corruption, Preset, corrupt, get_preset, register_preset
from timm_pushpull.data import generate, load_images, open_corrupted
from timm_pushpull.data.preprocessing import ResizeCenterCrop, preset_geometry

CONSTANTS = {"contrast": (0.9, 0.8, 0.7, 0.6, 0.5), "fog": ((0.1, 3.0),) * 5}


@pytest.fixture
def mini() -> Iterator[Preset]:
    preset = register_preset(
        Preset("mini-c", CONSTANTS, image_size=24, crop_pct=0.75, min_size=20, jpeg_quality=90, augmentation="cifar")
    )
    yield preset
    del PRESETS["mini-c"]


class Darkest(torch.nn.Module):
    """Class 1 for images with a black pixel, which contrast removes; class 0 for others."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        darkest = images.amin(dim=(1, 2, 3))
        return torch.stack([darkest, 1e-3 - darkest, *[torch.full_like(darkest, -9)] * 8], dim=1)


def test_a_new_preset_corrupts(mini):
    image = np.arange(24 * 24 * 3, dtype=np.uint32).astype(np.uint8).reshape(24, 24, 3)
    output = corrupt(image, "contrast", 2, "mini-c")
    mean = image.mean(axis=(0, 1))
    assert np.abs(output - (0.8 * (image - mean) + mean)).max() < 1
    np.testing.assert_array_equal(Corruption("contrast", 2, "mini-c")(image), output)
    assert corrupt(image, "fog", 1, "mini-c").shape == image.shape
    with pytest.raises(InputError, match=r"needs at least 20 px per side"):
        corrupt(image[:19], "contrast", 2, "mini-c")
    with pytest.raises(InputError, match=r"preset 'mini-c' has no constants for snow; use contrast, fog"):
        corrupt(image, "snow", 2, "mini-c")


def test_a_new_preset_is_measured(mini):
    images = load_images("digits").subset(40)
    options = {"mean": (0, 0, 0), "std": (1, 1, 1), "corruptions": ("contrast",), "progress": False}
    evaluation = evaluate(Darkest(), images, ResizeCenterCrop(32, 32), preset="mini-c", **options)
    labels = images.labels[images.indices]
    assert evaluation.clean_error == np.mean(labels != 1)
    assert set(evaluation.errors["contrast"]) == {np.mean(labels != 0)}


def test_a_new_preset_is_generated(mini, tmp_path):
    images = load_images("digits").subset(10)
    generate(images, tmp_path, format="imagefolder", preset="mini-c", corruptions=("contrast",), progress=False)
    corrupted = open_corrupted(tmp_path)
    for pixels, _, _ in corrupted.batches("contrast", severity=5, batch_size=10):
        assert {np.shape(image) for image in pixels} == {(24, 24, 3)}


def test_a_preset_decides_how_images_are_resized(mini):
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 60, 3), dtype=np.uint8))
    expected = ResizeCenterCrop(24, 32)(image)
    np.testing.assert_array_equal(preset_geometry("mini-c")(image), expected)
    assert preset_geometry("imagenet-c") == ResizeCenterCrop(224, 256)
    assert preset_geometry("tiny-imagenet-c")(image).shape == (64, 64, 3)
    assert preset_geometry("cifar10-c")(image).shape == (50, 60, 3)
    assert preset_geometry("cifar10-c", 32)(image).shape == (32, 32, 3)
    assert preset_geometry("mini-c", "keep")(image).shape == (50, 60, 3)


def test_errors_name_the_preset(mini):
    with pytest.raises(InputError, match=r"unknown preset 'mini'; did you mean 'mini-c'\?"):
        get_preset("mini")
    with pytest.raises(InputError, match=r"preset 'mini-c' exists already"):
        register_preset(mini)
    with pytest.raises(InputError, match=r"crop_mode is 'border'; use center or squash"):
        replace(mini, crop_mode="border")
    with pytest.raises(InputError, match=r"preset 'mini-c' has 2 rows of constants for contrast; give 5"):
        replace(mini, constants={"contrast": (0.9, 0.8)})
