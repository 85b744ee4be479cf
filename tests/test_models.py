"""Contracts of every registered name."""

from __future__ import annotations

import pytest
import timm
import torch

import timm_pushpull
from timm_pushpull import PushPullConv2d

PLAIN = ("resnet18_cifar", "resnet50_cifar")
PUSH_PULL = {
    "resnet18_pushpull": 3,
    "resnet18_pushpull5": 5,
    "resnet50_pushpull": 3,
    "resnet50_pushpull5": 5,
    "resnet18_cifar_pushpull": 3,
    "resnet18_cifar_pushpull5": 5,
    "resnet50_cifar_pushpull": 3,
    "resnet50_cifar_pushpull5": 5,
    "efficientnet_b0_pushpull": 3,
}
NAMES = (*PLAIN, *PUSH_PULL)


def stem(model) -> PushPullConv2d:
    return model.get_submodule(model.pretrained_cfg["first_conv"])


def plain_name(name: str) -> str:
    return name.removesuffix("5").removesuffix("_pushpull")


def test_these_are_all_names():
    registered = {
        name for name in timm.list_models() if timm.model_entrypoint(name).__module__.startswith("timm_pushpull")
    }
    assert registered == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_default_cfg_describes_the_model(name):
    model = timm.create_model(name)
    cfg = model.pretrained_cfg
    weights = model.state_dict()
    assert weights[f"{cfg['classifier']}.weight"].shape[0] == cfg["num_classes"] == model.num_classes
    assert weights[f"{cfg['first_conv']}.weight"].shape[1] == cfg["input_size"][0]
    model.eval().reset_classifier(0, "")
    assert model(torch.randn(1, *cfg["input_size"])).shape[-2:] == cfg["pool_size"]


@pytest.mark.parametrize("name", PUSH_PULL)
def test_stem_is_a_push_pull_unit_of_the_plain_networks_shape(name):
    model, plain = timm.create_model(name), timm.create_model(plain_name(name))
    assert stem(model).avg_size == PUSH_PULL[name]
    assert set(model.state_dict()) == set(plain.state_dict()) | {f"{model.pretrained_cfg['first_conv']}.alpha"}
    for key, tensor in plain.state_dict().items():
        assert model.state_dict()[key].shape == tensor.shape


@pytest.mark.parametrize("name", NAMES)
def test_create_model_options(name):
    size = 32 if "cifar" in name else 64
    model = timm.create_model(name, num_classes=7, in_chans=1, drop_rate=0.5, global_pool="max").eval()
    assert model(torch.randn(2, 1, size, size)).shape == (2, 7)
    assert model.drop_rate == 0.5
    assert model.global_pool.pool_type == "max"

    features = timm.create_model(name, features_only=True)
    maps = features(torch.randn(2, 3, size, size))
    assert [m.shape[1] for m in maps] == features.feature_info.channels()
    assert [size // m.shape[-1] for m in maps] == features.feature_info.reduction()
    assert any(isinstance(module, PushPullConv2d) for module in features.modules()) is (name in PUSH_PULL)


@pytest.mark.parametrize("name", PUSH_PULL)
def test_unit_options_reach_the_unit(name):
    unit = stem(timm.create_model(name, avg_size=7, alpha=0.25, trainable_alpha=False))
    assert unit.avg_size == 7
    assert (unit.alpha == 0.25).all()
    assert not isinstance(unit.alpha, torch.nn.Parameter)


@pytest.mark.parametrize("name", PLAIN)
def test_cifar_stem(name):
    model = timm.create_model(name)
    assert (model.conv1.kernel_size, model.conv1.stride, model.conv1.padding) == ((3, 3), (1, 1), (1, 1))
    assert isinstance(model.maxpool, torch.nn.Identity)
    # The paper keeps the last batch norm of a block at one.
    assert all((block.bn2.weight == 1).all() for block in model.layer1)


def test_unknown_options_are_refused():
    with pytest.raises(TypeError):
        timm.create_model("resnet18_pushpull", average=3)


def test_plain_weights_load_and_alpha_keeps_its_init():
    plain = timm.create_model("resnet18", num_classes=5)
    overlay = {"state_dict": plain.state_dict(), "num_classes": 5}
    model = timm.create_model(
        "resnet18_pushpull", pretrained=True, pretrained_cfg_overlay=overlay, num_classes=5, alpha=0.5
    )
    torch.testing.assert_close(model.conv1.weight, plain.conv1.weight)
    assert (model.conv1.alpha == 0.5).all()


def test_adapting_the_input_channels_is_refused_because_it_would_be_wrong():
    weights = timm.create_model("resnet18_pushpull", num_classes=5).state_dict()
    with pytest.raises(timm_pushpull.InputError, match="in_chans is 1 but the weights have 3"):
        timm.create_model(
            "resnet18_pushpull",
            pretrained=True,
            in_chans=1,
            num_classes=5,
            pretrained_cfg_overlay={"state_dict": weights, "num_classes": 5},
        )


def test_a_name_without_weights_says_so():
    with pytest.raises(RuntimeError, match="No pretrained weights exist for resnet50_pushpull"):
        timm.create_model("resnet50_pushpull", pretrained=True)
