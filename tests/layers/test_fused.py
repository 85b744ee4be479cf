"""The fused unit equals `plain_forward`, and is not used where it is not supported."""

from __future__ import annotations

import copy
import logging
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
import timm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

import timm_pushpull
from support.processes import run_command
from timm_pushpull import PushPullConv2d, set_fused
from timm_pushpull.layers import fused
from timm_pushpull.layers.backends import cpu
from timm_pushpull.utils.hardware import choose_precision

LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)
    set_fused(True)


def is_fused(y: torch.Tensor) -> bool:
    return "FusedPushPull" in type(y.grad_fn).__name__


def gradients(unit: PushPullConv2d, y: torch.Tensor, x: torch.Tensor, grad: torch.Tensor) -> dict[str, torch.Tensor]:
    inputs = {"x": x, **dict(unit.named_parameters())}
    return dict(zip(inputs, torch.autograd.grad(y, list(inputs.values()), grad), strict=True))


@st.composite
def units(draw) -> tuple[PushPullConv2d, torch.Tensor]:
    """A unit of random geometry and an input for it, float64."""
    taps = draw(st.tuples(st.integers(1, 5), st.integers(1, 5)))
    dilation = draw(st.tuples(st.integers(1, 2), st.integers(1, 2)))
    padding = draw(st.one_of(st.tuples(st.integers(0, 3), st.integers(0, 3)), st.sampled_from(["same", "valid"])))
    stride = (1, 1) if padding == "same" else draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    groups = draw(st.sampled_from([1, 1, 1, 2]))
    torch.manual_seed(draw(st.integers(0, 1000)))
    unit = PushPullConv2d(
        groups * draw(st.integers(1, 3)),
        groups * draw(st.sampled_from([1, 2, 5, 16])),
        taps,
        stride,
        padding,
        dilation,
        groups,
        bias=draw(st.booleans()),
        avg_size=draw(st.sampled_from([0, 1, 3, 5, 7])),
        dtype=torch.float64,
    )
    with torch.no_grad():
        unit.alpha.copy_(torch.randn(unit.out_channels))  # trained strengths have any sign
    least = [spread * (side - 1) + 1 for side, spread in zip(taps, dilation, strict=True)]
    size = [side + draw(st.integers(0, 12)) for side in least]
    x = torch.randn(draw(st.integers(1, 5)), unit.in_channels, *size, dtype=torch.float64)
    if draw(st.booleans()):
        x = x.contiguous(memory_format=torch.channels_last)
    elif draw(st.booleans()):
        x = x.repeat_interleave(2, -1)[..., ::2]  # neither contiguous nor channels_last
    torch.set_num_threads(draw(st.sampled_from([1, 2, 3])))
    return unit, x


@settings(max_examples=150, deadline=None)
@given(units())
def test_equals_the_plain_form_for_every_geometry(pair):
    unit, x = pair
    x.requires_grad_()
    y, expected = unit(x), unit.plain_forward(x)
    assert is_fused(y) is (unit.groups == 1 and unit._numeric_padding() is not None)
    torch.testing.assert_close(y, expected, rtol=0, atol=1e-10)
    grad = torch.randn_like(expected)
    ours = gradients(unit, y, x, grad)
    for name, value in gradients(unit, expected, x, grad).items():
        torch.testing.assert_close(ours[name], value, rtol=0, atol=1e-10)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("images", [1, 3, 16])
def test_equals_the_plain_form_however_the_work_is_split(images, layout):
    # In float64: in float32 one response in a million may lie on the other side of zero in the other form.
    unit = PushPullConv2d(3, 32, 7, 2, 3, bias=True, avg_size=5, dtype=torch.float64)
    x = torch.randn(images, 3, 64, 96, dtype=torch.float64).contiguous(memory_format=LAYOUTS[layout])
    x.requires_grad_()
    expected = unit.plain_forward(x)
    truth = gradients(unit, expected, x, torch.ones_like(expected))
    for threads in (1, 2, 4):
        torch.set_num_threads(threads)
        y = unit(x)
        assert is_fused(y)
        assert y.is_contiguous(memory_format=LAYOUTS[layout])
        torch.testing.assert_close(y, expected)
        for name, value in gradients(unit, y, x, torch.ones_like(y)).items():
            torch.testing.assert_close(value, truth[name])


def test_threads_of_its_own_where_torch_has_no_openmp(monkeypatch):
    monkeypatch.setattr(cpu, "_parallel_region", lambda: None)
    torch.set_num_threads(3)
    unit, x = PushPullConv2d(3, 16, 3, padding=1), torch.randn(5, 3, 64, 64)
    torch.testing.assert_close(unit(x), unit.plain_forward(x))


@pytest.mark.parametrize("mode", ["bfloat16", "float16", "autocast bfloat16", "autocast float16"])
@pytest.mark.parametrize("avg_size", [0, 3, 5])
def test_narrow_types_err_no_more_than_the_plain_form(mode, avg_size):
    """Root mean square errors against float64 over eight draws of everything.

    Those of the output and of alpha's gradient are no larger. Those of the other two vary around the plain form's by a
    few percent from draw to draw: they come from responses so near zero that rounding decides on which side they are.
    """
    dtype, autocast = getattr(torch, mode.split()[-1]), "autocast" in mode
    squares = {}
    for seed in range(8):
        torch.manual_seed(seed)
        narrow = PushPullConv2d(3, 16, 5, 2, 2, avg_size=avg_size)
        if not autocast:
            narrow.to(dtype)
        exact = copy.deepcopy(narrow).double()
        x, grad = torch.randn(4, 3, 48, 48).to(dtype), torch.randn(4, 16, 24, 24).to(dtype)
        truth, fast = _results(exact, exact.plain_forward, x.double(), grad)
        assert not fast
        for form, forward in (("ours", narrow), ("plain", narrow.plain_forward)):
            with torch.autocast("cpu", dtype, enabled=autocast):
                values, fast = _results(narrow, forward, x.to(narrow.weight.dtype), grad)
            assert fast is (form == "ours" and dtype == torch.bfloat16)
            for name, value in values.items():
                squares[form, name] = squares.get((form, name), 0) + (value - truth[name]).square().mean().item()
    for name, allowed in {"y": 1.01, "alpha": 1.01, "x": 1.05, "weight": 1.05}.items():
        assert squares["ours", name] <= allowed**2 * squares["plain", name], name


def _results(unit, forward, x, grad) -> tuple[dict[str, torch.Tensor], bool]:
    y = forward(x.requires_grad_())
    values = {"y": y, **gradients(unit, y, x, grad.to(y.dtype))}
    return {name: value.detach().double() for name, value in values.items()}, is_fused(y)


def test_not_a_number_stays_one():
    unit, x = PushPullConv2d(3, 8, 3, padding=1), torch.randn(2, 3, 9, 9)
    x[0, 0, 4, 4] = float("nan")
    for dtype in (torch.float32, torch.bfloat16):
        y, expected = unit.to(dtype)(x.to(dtype)), unit.plain_forward(x.to(dtype))
        assert torch.equal(y.isnan(), expected.isnan())
        assert y.isnan().any()


def test_gradients_and_gradients_of_gradients_are_those_of_the_function():
    unit = PushPullConv2d(2, 3, (3, 2), (2, 1), 1, bias=True, dtype=torch.float64)
    x = torch.randn(2, 2, 5, 4, dtype=torch.float64, requires_grad=True)
    names, values = zip(*unit.named_parameters(), strict=True)

    def function(x, *parameters):
        return torch.func.functional_call(unit, dict(zip(names, parameters, strict=True)), x)

    assert is_fused(function(x, *values))
    torch.autograd.gradcheck(function, (x, *values))
    torch.autograd.gradgradcheck(function, (x, *values))


def test_frozen_parameters_get_no_gradient():
    unit, x = PushPullConv2d(3, 4, 3, bias=True, alpha=0.5, trainable_alpha=False), torch.randn(2, 3, 8, 8)
    unit.weight.requires_grad_(False)
    y = unit(x)
    assert is_fused(y)
    y.sum().backward()
    assert unit.weight.grad is None
    torch.testing.assert_close(unit.bias.grad, torch.full((4,), 2.0 * 36))


@pytest.mark.parametrize("transform", ["vmap", "grad", "jvp", "jacrev", "flops", "vmap of grad"])
def test_steps_aside_for_transforms(transform):
    unit, x = PushPullConv2d(3, 4, 3, padding=1, dtype=torch.float64), torch.randn(5, 2, 3, 8, 8, dtype=torch.float64)

    def loss(x):
        return unit(x).square().sum()

    if transform == "vmap":
        torch.testing.assert_close(torch.func.vmap(unit)(x), torch.stack([unit(part) for part in x]))
    elif transform == "grad":
        expected = torch.autograd.grad(loss(leaf := x[0].clone().requires_grad_()), leaf)[0]
        torch.testing.assert_close(torch.func.grad(loss)(x[0]), expected)
    elif transform == "jvp":
        tangent = torch.randn_like(x[0])
        gradient = torch.func.grad(loss)(x[0])
        torch.testing.assert_close(torch.func.jvp(loss, (x[0],), (tangent,))[1], (gradient * tangent).sum())
    elif transform == "jacrev":
        torch.testing.assert_close(torch.func.jacrev(loss)(x[0]), torch.func.grad(loss)(x[0]))
    elif transform == "flops":
        with FlopCounterMode(display=False) as counter:
            unit(x[0])
        assert counter.get_total_flops() == 2 * (2 * 2 * 8 * 8 * 4 * 27)  # two convolutions, as the plain form has
    else:
        per_image = torch.func.vmap(torch.func.grad(lambda image: loss(image.unsqueeze(0))))(x[0])
        torch.testing.assert_close(per_image, torch.func.grad(loss)(x[0]))


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("again", [False, True])
def test_the_backward_pass_has_the_dtypes_of_the_forward_pass(frozen, again):
    """Autocast around the backward pass alone made the gradients garbage, or the convolution fail."""
    x, found = torch.randn(2, 3, 9, 9, requires_grad=True), {}
    unit = PushPullConv2d(3, 8, 3, padding=1)
    unit.weight.requires_grad_(not frozen)
    inputs = [x, *(parameter for parameter in unit.parameters() if parameter.requires_grad)]
    for is_on in (True, False):
        set_fused(is_on)
        y = unit(x)
        assert is_fused(y) == is_on
        with torch.autocast("cpu", torch.bfloat16):
            found[is_on] = torch.autograd.grad(y.square().sum(), inputs, create_graph=again)
    for mine, true in zip(found[True], found[False], strict=True):
        torch.testing.assert_close(mine, true, rtol=1e-4, atol=1e-4)


def test_gradients_of_a_batch_of_vectors():
    unit, x = PushPullConv2d(3, 4, 3, padding=1).double(), torch.randn(1, 3, 5, 5, dtype=torch.float64)
    for function, derivative in (
        (unit, torch.autograd.functional.jacobian),
        (lambda x: unit(x).square().sum(), torch.autograd.functional.hessian),
    ):
        torch.testing.assert_close(derivative(function, x, vectorize=True), derivative(function, x))


def test_the_switch_turns_it_off():
    unit, x = PushPullConv2d(3, 4, 3), torch.randn(1, 3, 8, 8)
    set_fused(False)
    assert not is_fused(unit(x))
    set_fused(True)
    assert is_fused(unit(x))


@pytest.mark.parametrize("why", ["switched off", "no numba", "backend fails", "no writable cache"])
def test_a_machine_that_cannot_run_it_still_gets_the_right_result(why, tmp_path):
    before = {
        "no numba": "import sys; sys.modules['numba'] = None\n",
        "backend fails": "from timm_pushpull.layers.backends import cpu; cpu._workers.forward_worker = None\n",
        "no writable cache": (
            "from timm_pushpull.utils import jit\n"
            "def compile(*arguments, cache=False, original=jit.cfunc):\n"
            "    if cache: raise RuntimeError('cannot cache function: no locator available')  # numba's own words\n"
            "    return original(*arguments)\n"
            "jit.cfunc = compile\n"
        ),
    }.get(why, "")
    environment = {"TIMM_PUSHPULL_FUSED": "0"} if why == "switched off" else {}
    script = tmp_path / "script.py"
    script.write_text(
        before + "import torch, timm_pushpull\n"
        "unit, x = timm_pushpull.PushPullConv2d(3, 4, 3), torch.randn(2, 3, 8, 8)\n"
        "y = unit(x)\n"
        "torch.testing.assert_close(y, unit.plain_forward(x))\n"
        "print(type(y.grad_fn).__name__)\n"
    )
    process = run_command(script, **environment)
    assert process.returncode == 0, process.stderr
    assert process.stderr == ""
    assert ("FusedPushPull" in process.stdout) is (why == "no writable cache")


def test_the_reason_for_stepping_aside_is_logged(monkeypatch, caplog):
    monkeypatch.setattr(fused, "_backends", {})
    monkeypatch.setitem(sys.modules, "timm_pushpull.layers.backends.cpu", None)
    with caplog.at_level(logging.INFO, "timm_pushpull"):
        assert not is_fused(PushPullConv2d(3, 4, 3)(torch.randn(1, 3, 8, 8)))
    assert "without fused operations (cpu, torch.float32)" in caplog.text


def test_the_first_call_can_be_checkpointed(monkeypatch):
    unit, x = PushPullConv2d(3, 4, 3), torch.randn(2, 3, 8, 8)
    expected = torch.autograd.grad(unit(x).sum(), list(unit.parameters()))
    monkeypatch.setattr(fused, "_backends", {})
    y = checkpoint(unit, x, use_reentrant=False)
    assert is_fused(y)
    torch.testing.assert_close(torch.autograd.grad(y.sum(), list(unit.parameters())), expected, rtol=0, atol=0)


@pytest.mark.parametrize("why", ["out of memory", "graph capture"])
def test_what_passes_does_not_turn_it_off_for_good(why, monkeypatch):
    """With a backend for CUDA that needs no GPU."""
    backend = SimpleNamespace(DTYPES=(torch.float32,))
    monkeypatch.setitem(sys.modules, "timm_pushpull.layers.backends.cuda", backend)
    monkeypatch.setattr(fused, "_backends", {})
    trial, captures = Mock(), Mock(return_value=why == "graph capture")
    trial.side_effect = torch.OutOfMemoryError if why == "out of memory" else None
    monkeypatch.setattr(fused, "_try", trial)
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", captures)
    assert fused._backend("cuda", torch.float32, True) is None
    trial.side_effect, captures.return_value = None, False
    assert fused._backend("cuda", torch.float32, True) is backend
    captures.return_value = True
    assert fused._backend("cuda", torch.float32, True) is backend  # a graph can have it once it is tried


@pytest.mark.parametrize("name", ["resnet18_pushpull", "efficientnet_b0_pushpull5"])
def test_a_training_step_takes_hardly_more_memory_than_that_of_the_plain_network(name):
    from bench.bench_unit import peak_bytes, steps

    architecture, size = name.removesuffix("5"), 5 if name.endswith("5") else 3
    x = torch.randn(4, 3, 128, 128).to(memory_format=torch.channels_last)
    models = timm.create_model(architecture, avg_size=size), timm.create_model(architecture.removesuffix("_pushpull"))
    peaks = []
    for model in models:
        step = steps(model.to(memory_format=torch.channels_last), x, choose_precision())["train step"]
        step()  # the optimizer's state comes with the first step
        peaks.append(peak_bytes(step, torch.device("cpu")))
    assert peaks[0] <= 1.05 * peaks[1], peaks


def test_bfloat16_is_rounded_to_nearest_even():
    unit = PushPullConv2d(1, 1, 1, avg_size=0, alpha=1.0, dtype=torch.bfloat16)
    with torch.no_grad():
        unit.weight.fill_(1.0)
        unit.alpha.fill_(-1.0)  # the unit is now relu(x) + relu(2x - x) = 2x
        x = torch.arange(1, 20000, dtype=torch.float32).bfloat16().view(1, 1, 1, -1)
        torch.testing.assert_close(unit(x), 2 * x, rtol=0, atol=0)
        unit.alpha.fill_(-0.0078125 * 1.5)  # x + 1.5 * x / 128 lies halfway between two numbers, or beside them
        exact = x.double() * (1 + 0.0078125 * 1.5)
        torch.testing.assert_close(unit(x), exact.bfloat16(), rtol=0, atol=0)


def test_names_are_exported():
    assert {"set_fused", "convert_stem", "set_inhibition", "PushPullConv2d"} <= set(timm_pushpull.__all__)
    assert isinstance(PushPullConv2d(1, 1, 1), nn.Conv2d)
