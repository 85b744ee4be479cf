"""The unit compiled, exported, scripted, traced, copied, on the meta device and in ONNX."""

from __future__ import annotations

import copy
import io
import pickle
import shutil
import warnings

import numpy as np
import pytest
import timm
import torch
from torch import nn

from timm_pushpull import PushPullConv2d

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
TOLERANCE = {"rtol": 1e-4, "atol": 1e-5}


@pytest.fixture(params=["resnet18_cifar_pushpull5", pytest.param("efficientnet_b0_pushpull", marks=pytest.mark.slow)])
def model(request) -> nn.Module:
    torch.manual_seed(0)
    return timm.create_model(request.param, num_classes=5).eval()


@pytest.fixture
def x() -> torch.Tensor:
    return torch.randn(2, 3, 32, 32)


# This backend takes a whole graph and its gradient but generates no code, which would need a C++ compiler.
_NO_CODE = {"fullgraph": True, "backend": "aot_eager"}


def test_compiles_without_a_graph_break(model, x):
    torch._dynamo.reset()
    torch.testing.assert_close(torch.compile(model, **_NO_CODE)(x), model(x), **TOLERANCE)
    assert torch._dynamo.explain(model)(x).graph_break_count == 0


def test_compiled_training_gives_the_same_gradients(x):
    torch._dynamo.reset()
    unit = PushPullConv2d(3, 4, 3, bias=True, dtype=torch.float64)
    gradients = []
    for forward in (unit, torch.compile(unit, **_NO_CODE)):
        unit.zero_grad()
        forward(x.double()).square().sum().backward()
        gradients.append({name: parameter.grad.clone() for name, parameter in unit.named_parameters()})
    torch.testing.assert_close(*gradients)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("c++") is None, reason="inductor needs a C++ compiler")
def test_compiles_to_machine_code(model, x):
    torch._dynamo.reset()
    torch.testing.assert_close(torch.compile(model, fullgraph=True)(x), model(x), **TOLERANCE)


@pytest.mark.parametrize("strict", [False, True])
def test_exports_with_a_dynamic_batch(model, x, strict):
    program = torch.export.export(model, (x,), strict=strict, dynamic_shapes=({0: torch.export.Dim("batch")},))
    for batch in (x, torch.randn(5, 3, 32, 32)):
        torch.testing.assert_close(program.module()(batch), model(batch), **TOLERANCE)
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    buffer.seek(0)
    torch.testing.assert_close(torch.export.load(buffer).module()(x), model(x), **TOLERANCE)


def test_onnx_runs_elsewhere_with_a_dynamic_batch(model, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    path = tmp_path / "model.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model,
            (torch.randn(2, 3, 32, 32),),
            path,
            dynamo=True,
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            verbose=False,
        )
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for batch in (1, 2, 7):
        x = torch.randn(batch, 3, 32, 32)
        (actual,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
        np.testing.assert_allclose(actual, model(x).detach().numpy(), rtol=1e-4, atol=1e-4)


def test_torchscript(model, x, tmp_path):
    for scripted in (torch.jit.script(model), torch.jit.trace(model, x)):
        torch.jit.save(scripted, tmp_path / "model.pt")
        torch.testing.assert_close(torch.jit.load(tmp_path / "model.pt")(x), model(x), **TOLERANCE)


def test_fx(x):
    unit = PushPullConv2d(3, 4, 3, padding="same", bias=True)
    traced = torch.fx.symbolic_trace(nn.Sequential(unit))
    assert not any(node.op == "call_module" for node in traced.graph.nodes)  # traced through, not taken as a leaf
    torch.testing.assert_close(traced(x), unit(x))


def test_copies(model, x):
    expected = model(x)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        torch.testing.assert_close(other(x), expected)


def test_no_device_at_all():
    with torch.device("meta"):
        model = timm.create_model("resnet18_pushpull")
    y = model(torch.empty(2, 3, 64, 64, device="meta"))
    assert y.shape == (2, 1000)
    assert y.device.type == "meta"
    y.sum().backward()
    assert model.conv1.alpha.grad.device.type == "meta"


def test_another_default_device_changes_nothing(x):
    unit = PushPullConv2d(3, 4, 3)
    with torch.device("meta"):
        y = unit(x)
    torch.testing.assert_close(y, unit.plain_forward(x))
