"""Networks that `convert_stem` has made, saved and loaded by timm, transformers and this package."""

from __future__ import annotations

import json

import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.models import save_for_hf

from timm_pushpull import InputError, convert_stem
from timm_pushpull.data.preprocessing import ResizeCenterCrop
from timm_pushpull.layers.push_pull_base import push_pull_layers
from timm_pushpull.models.weights import load_model, save_model

BASES = ["resnet18", "resnet18_cifar", "convnext_atto", "tf_efficientnet_b0", "vit_tiny_r_s16_p8_224"]


def image(model: torch.nn.Module) -> torch.Tensor:
    cfg = model.pretrained_cfg
    size = cfg["input_size"] if cfg.get("fixed_input_size") else (3, 64, 64)
    return torch.randn(1, *size, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("base", BASES)
def test_a_folder_of_timm_comes_back_converted(base, tmp_path):
    """With the same classes, with others, without a head and as feature maps."""
    model = convert_stem(timm.create_model(base, num_classes=7), avg_size=5).eval()
    save_for_hf(model, tmp_path / "run", safe_serialization=True)
    name, x = f"local-dir:{tmp_path / 'run'}", image(model)
    assert torch.equal(timm.create_model(name, pretrained=True).eval()(x), model(x))
    assert torch.equal(load_model(name)[0](x), model(x))
    alpha = push_pull_layers(model)[0].alpha
    for options in ({"num_classes": 3}, {"num_classes": 0}, {"features_only": True}):
        other = timm.create_model(name, pretrained=True, **options).eval()
        (unit,) = push_pull_layers(other)
        assert unit.avg_size == 5
        assert torch.equal(unit.alpha, alpha)
        if options == {"num_classes": 0}:
            assert torch.equal(other.forward_features(x), model.forward_features(x))
        elif options == {"num_classes": 3}:
            assert other(x).shape == (1, 3)
    plain = timm.create_model(base, features_only=True)
    assert [maps.shape for maps in other(x)] == [maps.shape for maps in plain.eval()(x)]
    with pytest.raises(InputError, match="avg_size is 3 but these weights were trained with 5"):
        timm.create_model(name, pretrained=True, avg_size=3)


@pytest.mark.parametrize("base", ["resnet18", "fastvit_t8"])  # one first convolution, and two beside each other
def test_feature_maps_have_the_weights_of_the_folder(tmp_path, base):
    model = convert_stem(timm.create_model(base, num_classes=7), alpha=0.3).eval()
    save_for_hf(model, tmp_path / "run", safe_serialization=True)
    features = timm.create_model(f"local-dir:{tmp_path / 'run'}", pretrained=True, features_only=True).eval()
    x = image(model)
    torch.testing.assert_close(features(x)[-1], model.forward_intermediates(x, intermediates_only=True)[-1])
    assert len(push_pull_layers(features)) == len(push_pull_layers(model))


def test_another_image_size_than_that_of_the_weights(tmp_path):
    model = convert_stem(timm.create_model("vit_tiny_patch16_224", num_classes=3)).eval()
    save_for_hf(model, tmp_path / "run", safe_serialization=True)
    with pytest.raises(InputError, match=r"do not fit vit_tiny_patch16_224 .*call model.set_input_size"):
        timm.create_model(f"local-dir:{tmp_path / 'run'}", pretrained=True, img_size=96)
    again = timm.create_model(f"local-dir:{tmp_path / 'run'}", pretrained=True)
    again.set_input_size(img_size=96)
    assert again(torch.zeros(1, 3, 96, 96)).shape == (1, 3)
    assert push_pull_layers(again)


def test_our_own_folder_comes_back_converted(tmp_path):
    model = convert_stem(timm.create_model("convnext_atto", num_classes=2), avg_size=5).eval()
    about = {"mean": (0.5,) * 3, "std": (0.5,) * 3, "tag": "cats"}
    save_model(model, tmp_path, classes=("a", "b"), geometry=ResizeCenterCrop(64, 64), **about)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["architecture"] == "pushpull_stem"
    assert config["model_args"] == {"avg_size": 5, "base": "convnext_atto"}
    loaded, x = load_model(f"local-dir:{tmp_path}")[0], image(model)
    assert torch.equal(loaded(x), model(x))
    assert tuple(loaded.pretrained_cfg["input_size"]) == (3, 64, 64)
    assert loaded.pretrained_cfg["first_conv"] == "stem.0"


def test_by_name():
    model = timm.create_model("pushpull_stem", base="convnext_atto", in_chans=1, num_classes=2, avg_size=5, alpha=0.5)
    (unit,) = push_pull_layers(model)
    assert (unit.avg_size, unit.in_channels, set(unit.alpha.tolist())) == (5, 1, {0.5})
    assert model(torch.zeros(1, 1, 64, 64)).shape == (1, 2)
    assert model.pretrained_cfg["architecture"] == "pushpull_stem"
    assert type(timm.create_model("pushpull_stem")).__name__ == "ResNet"


def test_an_overlay_is_that_of_the_plain_network(tmp_path):
    """It was that of a ResNet of ImageNet: other preprocessing, and another name of the classifier."""
    base = {"base": "vit_tiny_patch16_224", "img_size": 32, "depth": 1}
    plain = timm.create_model("vit_tiny_patch16_224", img_size=32, depth=1)
    save_file(plain.state_dict(), tmp_path / "vit.safetensors")
    for overlay, pretrained in (({"license": "mit"}, False), ({"file": str(tmp_path / "vit.safetensors")}, True)):
        model = timm.create_model("pushpull_stem", pretrained, num_classes=7, pretrained_cfg_overlay=overlay, **base)
        cfg = model.pretrained_cfg
        assert {**cfg, **overlay} == cfg
        for name in ("mean", "std", "crop_pct", "interpolation", "first_conv", "classifier"):
            assert cfg[name] == plain.pretrained_cfg[name]
        assert torch.equal(model.patch_embed.proj.weight, plain.patch_embed.proj.weight) == pretrained
        assert model.head.out_features == 7


def test_networks_from_elsewhere_are_left_as_they_are():
    model = convert_stem(torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3)))
    assert not hasattr(model, "pretrained_cfg")


def test_transformers_gets_it_converted(tmp_path):
    from transformers import AutoModelForImageClassification

    model = convert_stem(timm.create_model("resnet18_cifar", num_classes=2), avg_size=5).eval()
    about = {"mean": (0.5,) * 3, "std": (0.5,) * 3, "tag": "cats"}
    save_model(model, tmp_path, classes=("a", "b"), geometry=ResizeCenterCrop(32, 32), **about)
    other = AutoModelForImageClassification.from_pretrained(tmp_path).eval()
    (unit,) = push_pull_layers(other)
    assert unit.avg_size == 5
    x = image(model)
    torch.testing.assert_close(other(x).logits, model(x))
