"""The Triton kernels of the fused unit, on a GPU where there is one, else on the CPU in Triton's interpreter.

The interpreter has to be chosen before Triton is imported. So without a GPU one test runs the others in a process of
their own, with TRITON_INTERPRET=1: some of them, and all among the slow tests.
"""

from __future__ import annotations

import os
import sys

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.paths import GOLDEN_FOLDER
from support.processes import run_command
from timm_pushpull import PushPullConv2d
from timm_pushpull.layers import fused

triton = pytest.importorskip("triton")

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
INTERPRETED = DEVICE == "cpu" and os.environ.get("TRITON_INTERPRET") == "1"
LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}

on_device = pytest.mark.skipif(DEVICE == "cpu" and not INTERPRETED, reason="runs in Triton's interpreter, see below")


@pytest.fixture(autouse=True)
def kernels(monkeypatch) -> None:
    """Let units on the CPU use the kernels, and let cuDNN compute in the precision of the numbers."""
    if INTERPRETED:
        from timm_pushpull.layers.backends import cuda

        builder = triton.runtime.interpreter.interpreter_builder
        # It would look for overflows of integers in each operation.
        object.__setattr__(builder.options, "sanitize_overflow", False)
        monkeypatch.setattr(builder, "create_splat", keep_bool(builder.create_splat))
        monkeypatch.setattr(fused, "_backend", lambda *_: cuda)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


def keep_bool(create_splat):
    """Let masks stay masks where a scalar becomes a block: Triton 3.9 gives them the type of what was compared."""

    def keeping(block_type, value):
        handle = create_splat(block_type, value)
        handle.data = handle.data.astype(value.data.dtype, copy=False)
        return handle

    return keeping


def check(unit: PushPullConv2d, x: torch.Tensor, tolerance: float) -> None:
    """Compare output and gradients with the plain form in float64, relative to the largest number."""
    exact = PushPullConv2d(
        unit.in_channels,
        unit.out_channels,
        unit.kernel_size,
        unit.stride,
        unit.padding,
        unit.dilation,
        bias=unit.bias is not None,
        avg_size=unit.avg_size,
        trainable_alpha=unit.alpha.requires_grad,
        dtype=torch.float64,
    )
    exact.load_state_dict(unit.state_dict())
    truth = x.detach().cpu().double().requires_grad_(x.requires_grad)
    y, expected = unit(x), exact.plain_forward(truth)
    assert "FusedPushPull" in type(y.grad_fn).__name__
    assert y.dtype == x.dtype
    grad = torch.randint(-3, 4, expected.shape).double()
    y.backward(grad.to(y))
    expected.backward(grad)
    pairs = {"y": (y, expected), "x": (x.grad, truth.grad)}
    pairs |= {
        name: (own.grad, other.grad)
        for (name, own), other in zip(unit.named_parameters(), exact.parameters(), strict=True)
    }
    for name, (value, true) in pairs.items():
        if true is None:
            assert value is None, name
            continue
        error = (value.detach().cpu().double() - true.detach()).abs().max()
        assert error <= tolerance * max(1, true.detach().abs().max()), (name, error)


@on_device
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("case", range(9))
def test_golden_cases(case, layout):
    with np.load(GOLDEN_FOLDER / "pushpull_unit.npz") as file:
        golden = {key.split("/")[1]: torch.from_numpy(np.asarray(file[key])) for key in file if f"case{case}/" in key}
    weight, fixed, geometry = golden["weight"], golden["alpha"].ndim == 0, [int(golden[name]) for name in "ksp"]
    unit = PushPullConv2d(
        weight.shape[1],
        weight.shape[0],
        *geometry,
        bias="bias" in golden,
        avg_size=int(golden["avg"]),
        alpha=golden["alpha"],
        trainable_alpha=not fixed,
        dtype=torch.float64,
    )
    parameters = {name: golden[name] for name in ("weight", "bias") if name in golden}
    unit.load_state_dict({**unit.state_dict(), **parameters})
    unit.to(DEVICE)
    x = golden["x"].to(DEVICE).contiguous(memory_format=LAYOUTS[layout]).requires_grad_()
    y = unit(x)
    assert "FusedPushPull" in type(y.grad_fn).__name__
    assert y.stride() == unit.plain_forward(x).stride()
    y.backward(golden["grad_y"].to(DEVICE))
    found = {"y": y, "grad_x": x.grad, **{f"grad_{name}": value.grad for name, value in unit.named_parameters()}}
    for name, value in found.items():
        torch.testing.assert_close(value.detach().cpu(), golden[name], rtol=0, atol=1e-10, msg=name)


@st.composite
def cases(draw) -> tuple[PushPullConv2d, torch.Tensor]:
    """A unit of random geometry and an input for it, float64."""
    torch.manual_seed(draw(st.integers(0, 1000)))
    taps = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    dilation = draw(st.tuples(st.integers(1, 2), st.integers(1, 2)))
    unit = PushPullConv2d(
        draw(st.integers(1, 3)),
        draw(st.sampled_from([1, 2, 5, 16])),
        taps,
        draw(st.tuples(st.integers(1, 3), st.integers(1, 3))),
        draw(st.tuples(st.integers(0, 3), st.integers(0, 3))),
        dilation,
        bias=draw(st.booleans()),
        avg_size=draw(st.sampled_from([0, 1, 3, 5, 7])),
        trainable_alpha=draw(st.booleans()),
        dtype=torch.float64,
        device=DEVICE,
    )
    with torch.no_grad():
        unit.alpha.copy_(torch.randn(unit.out_channels))  # trained strengths have any sign
    size = [step * (side - 1) + 1 + draw(st.integers(0, 20)) for side, step in zip(taps, dilation, strict=True)]
    x = torch.randn(draw(st.integers(1, 2)), unit.in_channels, *size, dtype=torch.float64)
    if draw(st.booleans()):
        x = x.contiguous(memory_format=torch.channels_last)
    elif draw(st.booleans()):
        x = x.repeat_interleave(2, -1)[..., ::2]  # neither contiguous nor channels_last
    return unit, x.to(DEVICE).requires_grad_(draw(st.booleans()))


@on_device
@settings(max_examples=6, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cases())
def test_equals_the_plain_form_for_every_geometry(case):
    check(*case, tolerance=1e-10)


@on_device
@pytest.mark.parametrize(
    ("channels", "height", "width", "layout"),
    [
        (65, 17, 17, "channels_last"),
        (64, 16, 16, "channels_last"),
        (3, 17, 129, "contiguous"),
        (2, 150, 3, "contiguous"),
    ],
)
def test_maps_that_end_beside_a_strip(channels, height, width, layout):
    unit = PushPullConv2d(2, channels, 1, dtype=torch.float64, device=DEVICE)
    x = torch.randn(1, 2, height, width, dtype=torch.float64, device=DEVICE)
    check(unit, x.contiguous(memory_format=LAYOUTS[layout]).requires_grad_(), tolerance=1e-10)


@on_device
@pytest.mark.parametrize("step", [0, 2])
def test_alpha_and_bias_of_any_stride(step):
    unit = PushPullConv2d(2, 5, 3, bias=True, dtype=torch.float64, device=DEVICE)
    for name in ("alpha", "bias"):
        values = torch.randn(4 * step + 1, dtype=torch.float64, device=DEVICE).as_strided((5,), (step,))
        setattr(unit, name, torch.nn.Parameter(values))
    check(unit, torch.randn(1, 2, 9, 8, dtype=torch.float64, device=DEVICE).requires_grad_(), tolerance=1e-10)


@on_device
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 0.02), (torch.float16, 0.003)], ids=str
)
def test_narrow_types(dtype, tolerance, layout):
    """Small integers, so that rounding turns no response around: one in the wrong half is an error of its own."""
    unit = PushPullConv2d(2, 8, 3, 2, 1, bias=True, avg_size=3)
    with torch.no_grad():
        unit.weight.copy_(torch.randint(-2, 3, unit.weight.shape))
        unit.alpha.copy_(torch.randint(-8, 8, (8,)) / 4)
    x = torch.randint(-2, 3, (2, 2, 15, 18)).to(DEVICE, dtype).contiguous(memory_format=LAYOUTS[layout])
    check(unit.to(DEVICE, dtype), x.requires_grad_(), tolerance)


@on_device
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_autocast(dtype):
    unit, x = PushPullConv2d(3, 4, 3, 2, 1).to(DEVICE), torch.randn(2, 3, 9, 8, device=DEVICE)
    with torch.autocast(DEVICE, dtype):
        y, expected = unit(x), unit.plain_forward(x)
    assert "FusedPushPull" in type(y.grad_fn).__name__
    assert y.dtype == expected.dtype == dtype
    torch.testing.assert_close(y, expected, rtol=0.05, atol=0.05)
    y.sum().backward()
    assert {parameter.grad.dtype for parameter in unit.parameters()} == {torch.float32}


@on_device
def test_sums_do_not_depend_on_the_order_of_the_programs():
    unit = PushPullConv2d(3, 4, 3).to(DEVICE)
    x, results = torch.randn(2, 3, 20, 20, device=DEVICE), []
    for _ in range(3):
        unit.zero_grad()
        unit(x).square().sum().backward()
        results.append([parameter.grad for parameter in unit.parameters()])
    for other in results[1:]:
        assert all(torch.equal(*pair) for pair in zip(results[0], other, strict=True))


@on_device
def test_a_second_backward_pass_finds_what_the_first_one_found():
    unit, x = PushPullConv2d(3, 4, 3).to(DEVICE), torch.randn(2, 3, 9, 9, device=DEVICE)
    loss = unit(x).square().sum()
    first, second = (torch.autograd.grad(loss, list(unit.parameters()), retain_graph=True) for _ in range(2))
    assert all(torch.equal(*pair) for pair in zip(first, second, strict=True))


@on_device
def test_not_a_number_stays_one():
    unit, x = PushPullConv2d(3, 8, 3, padding=1).to(DEVICE), torch.randn(1, 3, 9, 9, device=DEVICE)
    x[0, 0, 4, 4] = float("nan")
    y, expected = unit(x), unit.plain_forward(x)
    assert torch.equal(y.isnan(), expected.isnan())
    assert y.isnan().any()


@on_device
def test_no_images_and_groups_are_left_to_the_plain_form():
    for unit, x in (
        (PushPullConv2d(3, 4, 3), torch.empty(0, 3, 8, 8)),
        (PushPullConv2d(4, 4, 3, groups=2), torch.ones(1, 4, 8, 8)),
    ):
        y = unit.to(DEVICE)(x.to(DEVICE))
        assert "FusedPushPull" not in type(y.grad_fn).__name__
        assert y.shape == (len(x), 4, 6, 6)


@on_device
@pytest.mark.parametrize("broken", ["forward", "backward"])
def test_a_backend_that_errs_is_not_used(broken, monkeypatch):
    from timm_pushpull.layers.backends import cuda

    fused._try(cuda, DEVICE, torch.float32, trains=True)
    original = getattr(cuda, broken)

    def wrong(*arguments):
        first, *others = original(*arguments)
        return (1.1 * first, *others)

    monkeypatch.setattr(cuda, broken, wrong)
    with pytest.raises(ArithmeticError, match="off by"):
        fused._try(cuda, DEVICE, torch.float32, trains=True)


@pytest.mark.skipif(DEVICE == "cuda" or INTERPRETED, reason="the tests above run in this process")
@pytest.mark.parametrize("chosen", ["(golden and channels_last) or errs", pytest.param("", marks=pytest.mark.slow)])
def test_in_the_interpreter(chosen):
    process = run_command(
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "--no-header",
        "-k",
        chosen,
        __file__,
        TRITON_INTERPRET="1",
        OMP_NUM_THREADS="1",
    )
    assert process.returncode == 0, process.stdout[-5000:]
    assert " passed" in process.stdout


@pytest.mark.skipif(INTERPRETED, reason="needs Triton's compiler")
@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_kernels_compile_for_a_gpu(layout):
    """The interpreter takes what the compiler refuses. The compiler for NVIDIA needs no GPU."""
    if "nvidia" not in triton.backends.backends:
        pytest.skip("Triton without its compiler for NVIDIA")
    import triton.language as tl
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from timm_pushpull.layers.backends import cuda

    push = torch.empty(2, 64, 112, 112, dtype=torch.bfloat16, device="meta").to(memory_format=LAYOUTS[layout])
    warps, *_, constants = cuda._strips(push, torch.empty(2, 112, 112, device="meta"), 3, LAYOUTS[layout])
    narrow, wide = (
        dict.fromkeys(("push", "grad", "output"), "*bf16"),
        dict.fromkeys(("box", "sums", "grad_box"), "*fp32"),
    )
    types = {**narrow, **wide, **dict.fromkeys(("alpha", "scale", "bias"), "*fp32"), "signs": "*u8"}
    box_constants = {"TAPS": 7, "LINES": 16, "PLACES": 64, "INDEX": tl.int32}
    for kernel, kinds, chosen in (
        (cuda._box_kernel, {"source": "*bf16", "output": "*fp32"}, box_constants),
        (cuda._forward_kernel, types, {**constants, "HAS_BIAS": True}),
        (cuda._pull_kernel, types, {**constants, "NEEDS_BOX": True}),
        (cuda._push_kernel, types, constants),
    ):
        names = [name for name in kernel.arg_names if name not in chosen]
        signature = {name: kinds.get(name, "i32") for name in names} | dict.fromkeys(chosen, "constexpr")
        source = ASTSource(kernel, {name: signature[name] for name in kernel.arg_names}, constexprs=chosen)
        compiled = triton.compile(source, target=GPUTarget("cuda", 80, 32), options={"num_warps": warps})
        assert "cubin" in compiled.asm


def test_a_machine_without_triton_gets_the_plain_form(monkeypatch):
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "timm_pushpull.layers.backends.cuda", None)
    monkeypatch.setattr(fused, "_backends", {})
    assert fused._backend("cuda", torch.float32, False) is None
