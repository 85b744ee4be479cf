"""The preprocessing of a model is timm's own transform, to the bit."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from timm.models import get_pretrained_cfg, list_models
from torchvision.transforms import functional as tv

from timm_pushpull import InputError
from timm_pushpull.data import ResizeCenterCrop, model_geometry
from timm_pushpull.models.weights import save_model

SIZES = [(50, 60), (61, 47), (32, 32), (64, 64), (40, 200), (300, 41), (33, 32), (333, 251)]


def noise(size: tuple[int, int]) -> Image.Image:
    return Image.fromarray(np.random.default_rng(size[0]).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))


def configurations() -> dict[str, dict]:
    """One pretrained configuration of timm for each way of preprocessing, small ones of 32 px."""
    found = {}
    for name in list_models(pretrained=True):
        config = get_pretrained_cfg(name)
        if config.input_size[1] == config.input_size[2]:
            found[f"{config.crop_mode}-{config.crop_pct}-{config.interpolation}"] = config.to_dict()
    return found


CONFIGURATIONS = configurations()


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_pixels_are_those_of_timm(name):
    config = {**CONFIGURATIONS[name], "input_size": (3, 48, 48)}
    ours = model_geometry(SimpleNamespace(pretrained_cfg=config))
    data = timm.data.resolve_data_config(pretrained_cfg=config)
    theirs = timm.data.create_transform(**data, normalize=False)
    assert ours.size == 48
    for size in SIZES:
        image = noise(size)
        expected = theirs(image).permute(1, 2, 0).numpy()
        np.testing.assert_array_equal(ours(image), expected)


def test_there_are_configurations_of_every_crop_mode():
    assert {config["crop_mode"] for config in CONFIGURATIONS.values()} == {"center", "squash", "border"}


def test_another_size_keeps_the_crop():
    config = {"input_size": (3, 224, 224), "crop_pct": 0.9, "interpolation": "bicubic", "mean": (0.5,) * 3}
    geometry = model_geometry(SimpleNamespace(pretrained_cfg=config), 48)
    theirs = timm.data.create_transform(48, crop_pct=0.9, interpolation="bicubic", normalize=False)
    image = noise((100, 70))
    np.testing.assert_array_equal(geometry(image), theirs(image).permute(1, 2, 0).numpy())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"input_size": (3, 64, 48)}, "64 x 48 px; give one --image-size"),
        ({"crop_mode": "centre"}, "crop_mode is 'centre'"),
        ({"interpolation": "cubic"}, "no such preprocessing"),
    ],
)
def test_what_timm_does_not_know_is_named(change, message):
    config = {"input_size": (3, 48, 48), "crop_pct": 0.9, "interpolation": "bicubic", **change}
    with pytest.raises(InputError, match=message):
        model_geometry(SimpleNamespace(pretrained_cfg=config))


def test_the_resized_side_is_that_of_torchvision():
    """Also where the quotient of the sides, multiplied by the resized side, would round to one px less."""
    odd = [
        (size, resize, side)
        for resize in (36, 72, 93, 99, 256)
        for size in range(30, 90)
        for side in range(size, 3 * size, 7)
        if int(side * (resize / size)) != int(resize * side / size)
    ]
    assert len(odd) > 3
    for shorter, resize, longer in odd:
        image = Image.new("RGB", (longer, shorter))
        expected = tv.resize(image, resize)
        assert ResizeCenterCrop(30, resize).resized(image).shape[:2] == (expected.height, expected.width)


@pytest.mark.parametrize(("size", "resize"), [(32, 36), (32, 32), (8, 93), (8, 99), (30, 241), (224, 256)])
def test_a_saved_model_has_the_resized_side_that_it_was_given(tmp_path, size, resize):
    model = timm.create_model("resnet18_cifar", num_classes=2)
    geometry = ResizeCenterCrop(size, resize)
    save_model(model, tmp_path, classes=["a", "b"], geometry=geometry, mean=(0.5,) * 3, std=(0.5,) * 3, tag="x")
    loaded = timm.create_model(f"local-dir:{tmp_path}", pretrained=True)
    assert math.floor(size / loaded.pretrained_cfg["crop_pct"]) == resize
    image = noise((97, 65))
    np.testing.assert_array_equal(model_geometry(loaded)(image), geometry(image))


def test_a_transform_can_be_sent_to_another_process():
    import pickle

    config = {"input_size": (3, 48, 48), "crop_pct": 0.9, "interpolation": "bicubic", "crop_mode": "border"}
    geometry = model_geometry(SimpleNamespace(pretrained_cfg=config))
    image = noise((50, 60))
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(geometry))(image), geometry(image))
    assert torch.from_numpy(geometry(image).copy()).shape == (48, 48, 3)


@pytest.mark.parametrize("mode", ["center", "squash", "border"])
@pytest.mark.parametrize("size", [(20000, 1), (1, 20000), (3000, 2)])
def test_a_very_long_image_is_not_made_gigantic(monkeypatch, mode, size):
    made, resize = [], Image.Image.resize

    def recorded(image, size, *arguments, **options):
        made.append(size[0] * size[1])
        return resize(image, size, *arguments, **options)

    monkeypatch.setattr(Image.Image, "resize", recorded)
    config = {"input_size": (3, 48, 48), "crop_pct": 0.9, "interpolation": "bilinear", "crop_mode": mode}
    geometry = model_geometry(SimpleNamespace(pretrained_cfg=config))
    assert geometry(Image.new("RGB", size, "white")).shape == (48, 48, 3)
    assert max(made) <= 16 * 53 * 53
