"""The operators that `torch.compile` keeps in its graphs, and where they are not used."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch._subclasses import FakeTensorMode

from timm_pushpull import PushPullConv2d, set_fused
from timm_pushpull.layers import fused_ops

LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    set_fused(True)
    torch._dynamo.reset()


def operators(forward, x: torch.Tensor) -> list[str]:
    """The operators of ours in the one graph that `forward` is compiled to."""
    graphs = []

    def backend(graph, _):
        graphs.append([str(node.target) for node in graph.graph.nodes])
        return graph

    torch.compile(forward, fullgraph=True, backend=backend)(x)
    return [name for graph in graphs for name in graph if name.startswith("timm_pushpull.")]


def test_a_compiled_graph_has_the_fused_unit():
    unit, x = PushPullConv2d(3, 4, 3), torch.randn(2, 3, 8, 8)
    assert operators(unit, x) == ["timm_pushpull.push_pull.default"]
    set_fused(False)
    torch._dynamo.reset()
    assert operators(unit, x) == []


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("avg_size", [0, 3])
@pytest.mark.parametrize("bias", [False, True])
def test_output_and_gradients_are_those_of_the_unit(bias, avg_size, layout):
    unit = PushPullConv2d(3, 5, (3, 2), (2, 1), 1, bias=bias, avg_size=avg_size, dtype=torch.float64)
    compiled = torch.compile(unit, fullgraph=True, backend="aot_eager")
    for images in (2, 3, 5):  # from the second on with a dynamic size
        x = torch.randn(images, 3, 9, 8, dtype=torch.float64).contiguous(memory_format=LAYOUTS[layout]).requires_grad_()
        y, expected = compiled(x), unit(x)
        torch.testing.assert_close(y, expected, rtol=0, atol=1e-12)
        assert y.stride() == expected.stride()
        inputs, grad = [x, *unit.parameters()], torch.randn_like(expected)
        mine, truth = (torch.autograd.grad(output, inputs, grad) for output in (y, expected))
        torch.testing.assert_close(mine, truth, rtol=0, atol=1e-12)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_torch_accepts_the_operators(dtype, layout):
    x = torch.randn(2, 3, 9, 8).to(dtype, memory_format=LAYOUTS[layout]).requires_grad_()
    weight = torch.randn(4, 3, 3, 3, dtype=dtype, requires_grad=True)
    alpha, scale = torch.rand(4, requires_grad=True), torch.rand(4, requires_grad=True)
    constants = ([2, 2], [1, 1], [1, 1], 3)
    # Not the test with dynamic shapes: it runs the gradient in bfloat16 twice and compares rounding errors.
    tests = ("test_schema", "test_autograd_registration", "test_faketensor")
    torch.library.opcheck(fused_ops.push_pull, (x, weight, alpha, scale, None, *constants), test_utils=tests)
    saved = fused_ops.push_pull(x, weight, alpha, scale, None, *constants)[1:]
    given = [tensor.detach() for tensor in (torch.randn(2, 4, 5, 4).to(dtype), x, weight, alpha, scale, *saved)]
    for needs_box in (False, True):
        torch.library.opcheck(fused_ops.push_pull_backward, (*given, *constants, needs_box), test_utils=tests)


def test_graphs_for_cuda_save_the_push_response():
    with FakeTensorMode():
        x, weight = torch.empty(2, 3, 9, 8, device="cuda"), torch.empty(4, 3, 3, 3, device="cuda")
        alpha = torch.empty(4, device="cuda")
        output, box, push = fused_ops.push_pull(x, weight, alpha, alpha, None, [2, 2], [1, 1], [1, 1], 3)
    assert (output.shape, box.shape, push.shape) == ((2, 4, 5, 4), (2, 5, 4), (2, 4, 5, 4))
    assert push.device.type == "cuda"


def test_autocast():
    unit, x = PushPullConv2d(3, 4, 3), torch.randn(2, 3, 8, 8)
    compiled = torch.compile(unit, fullgraph=True, backend="aot_eager")
    with torch.autocast("cpu", torch.bfloat16):
        y, expected = compiled(x), unit(x)
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y, expected, rtol=0, atol=0)
    y.float().sum().backward()
    assert unit.weight.grad.dtype == torch.float32


@pytest.mark.parametrize("strict", [False, True])
def test_an_exported_program_does_not_need_this_package(strict):
    program = torch.export.export(PushPullConv2d(3, 4, 3), (torch.randn(2, 3, 8, 8),), strict=strict)
    assert not [node for node in program.graph.nodes if "timm_pushpull" in str(node.target)]


def test_compiled_transforms_have_torch_operations():
    unit, x = PushPullConv2d(3, 4, 3, dtype=torch.float64), torch.randn(5, 2, 3, 8, 8, dtype=torch.float64)
    stacked = torch.compile(torch.func.vmap(unit), backend="aot_eager")(x)
    torch.testing.assert_close(stacked, torch.stack([unit(part) for part in x]))

    def loss(x):
        return unit(x).square().sum()

    gradient = torch.compile(torch.func.grad(loss), backend="aot_eager")(x[0])
    torch.testing.assert_close(gradient, torch.func.grad(loss)(x[0]))
