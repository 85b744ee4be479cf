"""The unit equals the published one and behaves like an nn.Conv2d."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from timm.layers import Conv2dSame, StdConv2d
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.utils import prune

from support.paths import GOLDEN_FOLDER
from timm_pushpull import InputError, PushPull2020Conv2d, PushPullConv2d, set_fused, set_inhibition
from timm_pushpull.layers.blur_pool import BlurredPushPullConv2d

GOLDEN = np.load(GOLDEN_FOLDER / "pushpull_unit.npz")


@pytest.fixture(params=["fused", "plain"])
def path(request) -> Iterator[str]:
    """The fused and the plain implementation."""
    set_fused(request.param == "fused")
    yield request.param
    set_fused(True)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("case", range(9))
def test_output_and_gradients_equal_the_published_unit(case, layout, dtype, tolerance, path):
    golden = {key.split("/")[1]: torch.from_numpy(np.asarray(GOLDEN[key])) for key in GOLDEN if f"case{case}/" in key}
    weight, fixed = golden["weight"], golden["alpha"].ndim == 0
    unit = PushPullConv2d(
        weight.shape[1],
        weight.shape[0],
        int(golden["k"]),
        int(golden["s"]),
        int(golden["p"]),
        bias="bias" in golden,
        avg_size=int(golden["avg"]),
        alpha=golden["alpha"],
        trainable_alpha=not fixed,
        dtype=dtype,
    )
    parameters = {"weight": weight, **({"bias": golden["bias"]} if "bias" in golden else {})}
    unit.load_state_dict({**unit.state_dict(), **parameters})
    x = golden["x"].to(dtype).contiguous(memory_format=layout).requires_grad_()
    y = unit(x)
    assert ("FusedPushPull" in type(y.grad_fn).__name__) is (path == "fused")
    y.backward(golden["grad_y"].to(dtype))
    gradients = {"x": x.grad, **{name: parameter.grad for name, parameter in unit.named_parameters()}}
    assert set(gradients) == {"x", "weight"} | ({"bias"} & set(golden)) | (set() if fixed else {"alpha"})
    for name, value in {"y": y, **{f"grad_{name}": gradient for name, gradient in gradients.items()}}.items():
        expected = golden[name]
        # 1e-5 of float32 is relative to the largest value: gradients are sums of hundreds of terms.
        scale = 1 if dtype == torch.float64 else max(1, expected.abs().max().item())
        torch.testing.assert_close(value.to(torch.float64), expected, rtol=0, atol=tolerance * scale)


def test_pull_kernel_mirrors_each_filter_between_its_extremes():
    unit = PushPullConv2d(3, 8, 5)
    pull = unit.pull_weight()
    for push_filter, pull_filter in zip(unit.weight, pull, strict=True):
        torch.testing.assert_close(pull_filter.max(), push_filter.max())
        torch.testing.assert_close(pull_filter.min(), push_filter.min())
        assert pull_filter.argmax() == push_filter.argmin()


@pytest.mark.parametrize(
    "geometry",
    [
        {"stride": 1, "avg_size": 3},
        {"stride": 2, "avg_size": 5},
        {"stride": 2, "avg_size": 0},
        {"stride": (1, 2), "avg_size": 3, "dilation": 2},
        {"stride": 1, "avg_size": 3, "groups": 2},
    ],
)
def test_effective_weight_is_the_linear_response(geometry):
    unit = PushPullConv2d(4, 6, (3, 5), dtype=torch.float64, **geometry)
    x = torch.randn(2, 4, 41, 37, dtype=torch.float64)
    push = unit._conv_forward(x, unit.weight, None)
    pull = unit._conv_forward(x, unit.pull_weight(), None)
    inner = unit.avg_size // 2
    if unit.avg_size:
        pull = F.avg_pool2d(pull, unit.avg_size, 1)
        push = push[..., inner:-inner, inner:-inner]
    expected = push - unit.alpha.view(-1, 1, 1) * pull
    actual = F.conv2d(x, unit.effective_weight(), stride=unit.stride, groups=unit.groups)
    torch.testing.assert_close(actual, expected)


@pytest.mark.parametrize(
    ("alpha", "trainable"), [(None, True), (None, False), (0.5, True), (0.5, False), ([1, 2], False)]
)
def test_alpha_is_in_the_state_dict_and_is_a_parameter_if_trainable(alpha, trainable):
    unit = PushPullConv2d(1, 2, 3, alpha=alpha, trainable_alpha=trainable)
    assert list(unit.state_dict()) in (["weight", "alpha"],)
    assert unit.alpha.shape == (2,)
    assert ("alpha" in dict(unit.named_parameters())) is trainable
    if alpha is None:
        assert ((unit.alpha >= 0) & (unit.alpha < 1)).all()
        assert unit.alpha[0] != unit.alpha[1]
    else:
        torch.testing.assert_close(unit.alpha.detach(), torch.as_tensor(alpha, dtype=torch.float32).expand(2))


def test_a_checkpoint_carries_its_inhibition():
    source = PushPullConv2d(3, 4, 3, alpha=0.7, trainable_alpha=False)
    target = PushPullConv2d(3, 4, 3)
    target.load_state_dict(source.state_dict())
    x = torch.randn(1, 3, 8, 8)
    torch.testing.assert_close(target(x), source(x), rtol=0, atol=0)


def test_alpha_zero_is_a_rectified_convolution():
    conv = nn.Conv2d(3, 4, 3, stride=2, padding=1, bias=False)
    unit = PushPullConv2d.from_conv(conv, alpha=0.0)
    x = torch.randn(2, 3, 9, 9)
    torch.testing.assert_close(unit(x), conv(x).relu(), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"avg_size": 2}, "avg_size is 2"),
        ({"avg_size": -1}, "avg_size is -1"),
        ({"alpha": [1.0, 2.0, 3.0]}, "alpha has shape"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        PushPullConv2d(3, 4, 3, **arguments)


def test_from_conv_refuses_other_padding():
    with pytest.raises(ValueError, match="reflect"):
        PushPullConv2d.from_conv(nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect"))


def _with_own_forward(conv: nn.Conv2d) -> nn.Conv2d:
    """As accelerate's hooks do it."""
    conv.forward = torch.relu
    return conv


@pytest.mark.parametrize(
    ("conv", "message"),
    [
        (Conv2dSame(3, 4, 3, 2), "not Conv2dSame, which may do more"),
        (StdConv2d(3, 4, 3), "not StdConv2d, which may do more"),
        (PushPullConv2d(3, 4, 3), "not PushPullConv2d, which may do more"),
        (nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 3)), "not ParametrizedConv2d, which may do more"),
        (prune.l1_unstructured(nn.Conv2d(3, 4, 3), "weight", 0.5), "has hooks"),
        (nn.utils.spectral_norm(nn.Conv2d(3, 4, 3)), "has hooks"),
        (_with_own_forward(nn.Conv2d(3, 4, 3)), "has hooks"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_from_conv_refuses_what_is_more_than_a_convolution(conv, message):
    for layer in (PushPullConv2d, PushPull2020Conv2d):
        with pytest.raises(ValueError, match=message):
            layer.from_conv(conv)


@pytest.mark.parametrize("layer", [PushPullConv2d, PushPull2020Conv2d])
@pytest.mark.parametrize(("training", "dtype"), [(False, torch.float64), (True, torch.bfloat16)])
def test_from_conv_keeps_training_mode_and_dtype(layer, training, dtype):
    unit = layer.from_conv(nn.Conv2d(3, 4, 3).to(dtype).train(training))
    assert unit.training == training
    assert {parameter.dtype for parameter in unit.parameters()} == {dtype}


def test_alpha_is_initialised_over_its_whole_range():
    """Uniform in [0, 1), as in the published code; of the layer of 2020 within 1 / sqrt(in * out) of 0.5."""
    alpha = PushPullConv2d(1, 4096, 1).alpha.detach()
    for level in (0.1, 0.5, 0.9):
        assert alpha.quantile(level).item() == pytest.approx(level, abs=0.05)
    older = PushPull2020Conv2d(4, 256, 3, trainable_alpha=True).alpha.detach()
    assert 0.9 / 32 < (older - 0.5).abs().max() <= 1 / 32


def test_from_conv_keeps_what_is_frozen():
    conv = nn.Conv2d(3, 4, 3).requires_grad_(False)
    unit = PushPullConv2d.from_conv(conv)
    assert {name for name, tensor in unit.named_parameters() if tensor.requires_grad} == {"alpha"}


@pytest.mark.parametrize(
    ("layer", "arguments", "expected"),
    [
        (PushPullConv2d, {"alpha": 0.7}, 0.7),
        (PushPullConv2d, {"alpha": [0.1, 0.2, 0.3, -0.4], "trainable_alpha": False}, [0.1, 0.2, 0.3, -0.4]),
        (PushPullConv2d, {"alpha": torch.tensor([0.5])}, 0.5),
        (PushPullConv2d, {}, (0, 1)),
        (PushPull2020Conv2d, {}, 1.0),
        (PushPull2020Conv2d, {"trainable_alpha": True}, (0.5 - 12**-0.5, 0.5 + 12**-0.5)),
        (PushPull2020Conv2d, {"alpha": 2.0}, 2.0),
        (BlurredPushPullConv2d, {"alpha": 0.7, "filt_size": 4}, 0.7),
    ],
)
def test_reset_parameters_initialises_the_whole_layer(layer, arguments, expected):
    """After `to_empty`, as FSDP2 and torchtitan do it."""
    with torch.device("meta"):
        unit = layer(3, 4, 3, bias=True, **arguments)
    unit.to_empty(device="cpu")
    with torch.no_grad():
        for tensor in (*unit.parameters(), *unit.buffers()):
            tensor.fill_(torch.nan)
    torch.manual_seed(5)
    unit.reset_parameters()
    torch.manual_seed(5)
    fresh = layer(3, 4, 3, bias=True, **arguments)
    for name, tensor in fresh.state_dict().items():
        torch.testing.assert_close(unit.state_dict()[name], tensor, rtol=0, atol=0)
    if isinstance(expected, tuple):
        assert expected[0] <= unit.alpha.min() < unit.alpha.max() <= expected[1]
    else:
        torch.testing.assert_close(unit.alpha.detach(), torch.as_tensor(expected).expand(4))
    x = torch.randn(1, 3, 8, 8)
    torch.testing.assert_close(unit(x), fresh(x), rtol=0, atol=0)


@pytest.mark.parametrize("alpha", [float("nan"), [0.0, float("inf"), 0.0, 0.0], torch.tensor(float("nan"))])
def test_alpha_is_finite(alpha):
    with pytest.raises(InputError, match="use finite numbers"):
        PushPullConv2d(3, 4, 3, alpha=alpha)


def test_alpha_has_the_precision_of_the_layer():
    assert PushPullConv2d(3, 4, 3, alpha=0.1, dtype=torch.float64).alpha[0].item() == 0.1


def test_alpha_is_set_where_fsdp2_has_sharded_it():
    """Its parameters are DTensors, which take no plain tensors of several values."""
    alpha = [0.1, 0.2, 0.3, -0.4]
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        with torch.device("meta"):
            unit = PushPullConv2d(3, 4, 3, alpha=alpha)
        fully_shard(unit, mesh=init_device_mesh("cpu", (1,)))
        unit.to_empty(device="cpu")
        unit.reset_parameters()
        torch.testing.assert_close(unit.alpha.full_tensor().detach(), torch.tensor(alpha))
        set_inhibition(unit, [0.5, 0.25, 2.0, 1.0])
        assert unit.alpha.full_tensor().tolist() == [0.5, 0.25, 2.0, 1.0]
    finally:
        dist.destroy_process_group()


def test_autocast_gives_maps_in_its_own_type():
    unit = PushPullConv2d(3, 4, 3, bias=True)
    with torch.autocast("cpu", torch.bfloat16):
        assert unit(torch.randn(1, 3, 8, 8)).dtype == torch.bfloat16


def test_device_and_dtype_reach_every_tensor():
    unit = PushPullConv2d(3, 4, 3, bias=True, device="meta", dtype=torch.bfloat16)
    assert {(t.device.type, t.dtype) for t in unit.state_dict().values()} == {("meta", torch.bfloat16)}


def test_another_pooling_size_is_noticed_when_weights_are_loaded(tmp_path):
    source, same, other = (nn.Sequential(PushPullConv2d(3, 4, 3, avg_size=size)) for size in (5, 5, 3))
    same.load_state_dict(source.state_dict())
    torch.save(source.state_dict(), tmp_path / "weights.pt")
    for state in (source.state_dict(), torch.load(tmp_path / "weights.pt", weights_only=True)):
        with pytest.raises(RuntimeError, match="0 has avg_size 3 but these weights were saved with 5"):
            other.load_state_dict(state)
    other.load_state_dict(dict(source.state_dict()))  # the tensors alone do not show the pooling
