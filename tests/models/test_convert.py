"""`convert_stem` on every family of timm, and plain weights in push-pull networks."""

from __future__ import annotations

import copy

import pytest
import timm
import torch
from timm.layers import Conv2dSame, ScaledStdConv2d, ScaledStdConv2dSame, StdConv2d, StdConv2dSame
from timm.models import FeatureGraphNet
from torch import nn

from timm_pushpull import InputError, PushPullConv2d, convert_stem, set_inhibition

REFUSED = {"csatv2", "gemma4_vit", "naflexvit"}


def own(name: str) -> bool:
    return timm.model_entrypoint(name).__module__.startswith("timm_pushpull.")


def units_of(model: nn.Module) -> dict[str, PushPullConv2d]:
    return {name: module for name, module in model.named_modules() if isinstance(module, PushPullConv2d)}


#: Needs numbers, and as many sequential steps as an image has rows and columns.
SLOW = {"sequencer"}
FAMILIES = [
    pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name
    for name in timm.list_modules()
    if any(not own(model) for model in timm.list_models(module=name))
]


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family(family):
    name = next(name for name in timm.list_models(module=family) if not own(name))
    try:
        with torch.device("meta"):  # shapes alone: some are large
            check_conversion(name, refused=family in REFUSED)
    except (NotImplementedError, RuntimeError):  # some networks of older versions need numbers
        check_conversion(name, refused=family in REFUSED)


def check_conversion(name: str, refused: bool) -> None:
    model = timm.create_model(name).eval()
    before = {key: tensor.shape for key, tensor in model.state_dict().items()}
    if refused:
        with pytest.raises(InputError, match=f"{name} does not begin with a convolution"):
            convert_stem(model)
        return
    assert convert_stem(model, avg_size=5) is model
    units = units_of(model)
    after = {key: tensor.shape for key, tensor in model.state_dict().items()}
    assert after == before | {f"{unit}.alpha": (units[unit].out_channels,) for unit in units}
    called = []
    for unit in units.values():
        unit.register_forward_hook(lambda module, inputs, output: called.append(module))
    y = model(torch.empty(1, *model.pretrained_cfg["input_size"]))
    assert set(called) == set(units.values()) != set()
    assert all(unit.avg_size == 5 for unit in called)
    assert y.shape[0] == 1


def test_the_documented_refusals_are_the_ones_that_refuse():
    assert all(family in convert_stem.__doc__ for family in REFUSED)


@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv2d(3, 8, 5, 2, 1, bias=True),
        nn.Conv2d(4, 8, 3, padding="same", groups=2),
        Conv2dSame(3, 8, 3, 2),
        Conv2dSame(3, 8, 4, 2, bias=False),
        StdConv2d(3, 8, 7, 2),
        StdConv2dSame(3, 8, 7, 2, bias=True),
        ScaledStdConv2d(3, 8, 3, 2, gamma=1.7),
        ScaledStdConv2dSame(3, 8, 3, 2),
    ],
    ids=lambda conv: type(conv).__name__,
)
def test_every_kind_of_convolution_keeps_its_response(conv):
    conv, x = conv.double(), torch.randn(2, conv.in_channels, 21, 18, dtype=torch.float64)
    with torch.no_grad():
        for parameter in conv.parameters():
            parameter.normal_()
    network = nn.Sequential(copy.deepcopy(conv))
    unit = convert_stem(network, avg_size=0, alpha=0.0)[0]
    plain = conv(x) - (0 if conv.bias is None else conv.bias.view(-1, 1, 1))
    rest = 0 if conv.bias is None else conv.bias.view(-1, 1, 1)
    torch.testing.assert_close(network(x), plain.relu() + rest)
    # The pull response, isolated: with alpha 1, relu(push) - output. Its kernel mirrors the one that is convolved with.
    set_inhibition(network, 1.0)
    pull = plain.relu() + rest - network(x)
    kernel = unit.push_weight()
    extremes = kernel.amax((1, 2, 3)) + kernel.amin((1, 2, 3))
    ones = copy.deepcopy(unit)
    with torch.no_grad():
        ones.weight.fill_(1.0)
    ones.standardized = False
    box = ones._conv_forward(ones.pad_input(x), ones.weight, None)
    torch.testing.assert_close(pull, (extremes.view(-1, 1, 1) * box - plain).relu())
    torch.testing.assert_close(unit.plain_forward(x), network(x))
    assert set(unit.state_dict()) == set(conv.state_dict()) | {"alpha"}
    network(x).sum().backward()
    assert unit.weight.grad.abs().sum() > 0


def test_what_cannot_be_converted_is_named():
    class Scaled(nn.Conv2d):
        def forward(self, input):
            return 2 * super().forward(input)

    with pytest.raises(InputError, match="0 is a Scaled; only plain and timm's own"):
        convert_stem(nn.Sequential(Scaled(3, 4, 3)))
    with pytest.raises(InputError, match="0 cannot be converted: the convolution has hooks"):
        convert_stem(nn.Sequential(nn.utils.spectral_norm(nn.Conv2d(3, 4, 3))))
    with pytest.raises(InputError, match="0 cannot be converted: padding_mode is 'reflect'"):
        convert_stem(nn.Sequential(nn.Conv2d(3, 4, 3, padding_mode="reflect")))


def test_a_bare_convolution_is_named():
    with pytest.raises(InputError, match=r"PushPullConv2d\.from_conv makes a unit of it"):
        convert_stem(nn.Conv2d(3, 4, 3))


def test_a_convolution_of_two_names_stays_one():
    network = nn.Sequential(nn.Conv2d(3, 3, 3))
    network.append(network[0])
    assert type(convert_stem(network)[0]) is PushPullConv2d
    assert network[0] is network[1]


def test_feature_maps_by_fx():
    """timm traces `Conv2dSame` as a leaf; so it has to trace what replaces it."""
    model = convert_stem(timm.create_model("tf_efficientnet_lite0")).eval()
    x = torch.randn(1, 3, 64, 64)
    first, second = FeatureGraphNet(model, out_indices=(1, 2))(x)
    assert torch.equal(first, model.forward_intermediates(x, indices=[1, 2], intermediates_only=True)[0])
    assert second.shape[-1] == 8


def test_a_converted_layer_can_be_initialised_anew():
    unit = convert_stem(nn.Sequential(ScaledStdConv2d(3, 4, 3)), alpha=0.5)[0].to_empty(device="cpu")
    unit.reset_parameters()
    assert (unit.alpha == 0.5).all()
    assert (unit.gain == 1).all()


@pytest.mark.parametrize("name", ["tf_efficientnet_b0", "nf_resnet50", "vit_tiny_r_s16_p8_224", "fastvit_t8"])
def test_converted_networks_run_train_and_survive_a_round_trip(name, tmp_path):
    model = convert_stem(timm.create_model(name, num_classes=3), alpha=0.5)
    size = model.pretrained_cfg["input_size"] if model.pretrained_cfg.get("fixed_input_size") else (3, 64, 64)
    x = torch.randn(2, *size)
    model(x).sum().backward()
    assert all(unit.alpha.grad.abs().sum() > 0 for unit in units_of(model).values())
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    other = convert_stem(timm.create_model(name, num_classes=3))
    other.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
    expected = model.eval()(x)
    torch.testing.assert_close(other.eval()(x), expected)
    torch.testing.assert_close(torch.jit.script(model)(x), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("stem", ["deep", "deep_tiered"])
def test_a_deep_stem_begins_with_the_first_of_its_convolutions(stem):
    model = convert_stem(timm.create_model("resnet18", stem_type=stem), alpha=0.0)
    assert isinstance(model.conv1[0], PushPullConv2d)
    assert not any(isinstance(layer, PushPullConv2d) for layer in model.conv1[1:])


def test_networks_outside_timm():
    network = nn.Sequential(nn.Identity(), nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU()), nn.Conv2d(4, 2, 3))
    convert_stem(network, avg_size=5, alpha=[0.1, 0.2, 0.3, 0.4], trainable_alpha=False)
    assert list(units_of(network)) == ["1.0"]
    assert "1.0.alpha" in dict(network.named_buffers())


def test_networks_within_a_wrapper():
    features = convert_stem(timm.create_model("resnet18", features_only=True))
    assert list(units_of(features)) == ["conv1"]
    getter = convert_stem(timm.create_model("efficientnet_b0", features_only=True, feature_cls="getter"))
    assert len(units_of(getter)) == 1
    for wrapped in (
        timm.create_model("fastvit_t8", features_only=True),
        torch.compile(timm.create_model("fastvit_t8")),
    ):
        assert len(units_of(convert_stem(wrapped))) == 2  # parallel convolutions, whose names the wrapper changes
    with pytest.raises(InputError, match="wrapped in DataParallel; convert it before"):
        convert_stem(nn.DataParallel(timm.create_model("resnet18")))


@pytest.mark.parametrize("name", ["resnet18", "repvgg_a0", "crossvit_9_240"])
def test_a_timm_network_within_a_module(name):
    """Of parallel first convolutions, the first one alone was converted, and timm saved the network as a plain one."""
    inner = timm.create_model(name)
    wrapped = convert_stem(nn.Sequential(nn.Identity(), inner))
    direct = convert_stem(timm.create_model(name))
    assert list(units_of(wrapped)) == [f"1.{entry}" for entry in units_of(direct)]
    assert inner.pretrained_cfg["architecture"] == "pushpull_stem"


def test_a_convolution_before_a_timm_network_is_the_first():
    network = nn.Sequential(nn.Conv2d(1, 3, 1), timm.create_model("resnet18"))
    assert list(units_of(convert_stem(network))) == ["0"]


class OtherConv(nn.Conv2d):
    pass


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (nn.Sequential(nn.Linear(3, 4)), "Sequential does not begin with a convolution"),
        (nn.Sequential(OtherConv(3, 4, 3)), "0 is a OtherConv; only plain and timm's own"),
        (nn.Sequential(PushPullConv2d(3, 4, 3)), "0 is a PushPullConv2d"),
        (nn.Sequential(nn.Identity(), timm.create_model("csatv2")), "csatv2 does not begin with a convolution"),
    ],
)
def test_what_cannot_be_converted_is_named_and_left_alone(network, message):
    before = str(network)
    with pytest.raises(InputError, match=message):
        convert_stem(network)
    assert str(network) == before


def test_inhibition_is_set_in_place():
    model = timm.create_model("resnet18_cifar_pushpull")
    unit = model.conv1
    alpha = unit.alpha
    set_inhibition(model, 2.0)
    assert unit.alpha is alpha
    assert (alpha == 2).all()
    set_inhibition(model, torch.arange(64))
    assert alpha.tolist() == list(range(64))
    with pytest.raises(InputError, match=r"alpha has shape \(3,\); give one number or 64"):
        set_inhibition(model, [1.0, 2.0, 3.0])
    with pytest.raises(InputError, match="ResNet has no push-pull unit"):
        set_inhibition(timm.create_model("resnet18"), 1.0)
    assert alpha.tolist() == list(range(64))
