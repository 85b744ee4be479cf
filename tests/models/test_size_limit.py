"""A config of others cannot make a network that is far larger than the weights beside it."""

from __future__ import annotations

import dataclasses
import json
import threading
import time
from pathlib import Path

import pytest
import timm
import torch
from torch.utils.flop_counter import flop_registry

from support.example_run import SMALL, write_run
from timm_pushpull import InputError
from timm_pushpull.hub import Release, verify
from timm_pushpull.hub.verification import _check_cost
from timm_pushpull.models.complexity import multiply_adds
from timm_pushpull.models.size_limit import limited_by
from timm_pushpull.models.weights import load_model


@pytest.fixture
def run(tmp_path) -> Path:
    write_run(tmp_path / "run", **SMALL)
    return tmp_path / "run"


def change(run: Path, **changes) -> None:
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps({**config, **changes}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_args": {"layers": [20_000, 1, 1, 1]}}, "far larger than"),
        ({"model_args": {"layers": [1, 1, 1, 100_001]}}, "100001 among its model_args"),
        ({"model_args": {"base_width": -1e300}}, "1e[+]300 among its model_args"),
        # Not the weights, but buffers and what is computed on the way.
        (
            {"architecture": "swin_tiny_patch4_window7_224", "model_args": {"window_size": 150, "img_size": 600}},
            "far larger",
        ),
        ({"architecture": "beit_base_patch16_224", "model_args": {"img_size": 1024}}, "far larger"),
        ({"architecture": "vit_tiny_patch16_224", "model_args": {"depth": 99_999}}, "far larger"),
        ({"num_classes": 10**7}, "far larger than"),
        ({"num_classes": 10**15}, "far larger than"),
    ],
    ids=str,
)
def test_monstrous_networks_are_not_built(run, changes, message):
    change(run, **changes)
    began = time.monotonic()
    with pytest.raises(InputError, match=message) as refused:
        load_model(f"local-dir:{run}")
    assert time.monotonic() - began < 30
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "preprocessing",
    [
        {"input_size": [3, 100_000, 100_000]},
        {"crop_pct": 0.001},
        {"input_size": [3, 2049, 32]},
        {"input_size": [64, 2048, 2048]},
    ],
    ids=str,
)
def test_monstrous_images_are_not_made(run, preprocessing):
    config = json.loads((run / "config.json").read_text())
    change(run, pretrained_cfg={**config["pretrained_cfg"], **preprocessing})
    for read in (lambda: load_model(f"local-dir:{run}"), lambda: Release.load(run)):
        with pytest.raises(InputError, match="is not a config"):
            read()


def test_verification_builds_no_monster(run, monkeypatch):
    release = Release.load(run)
    change(run, num_classes=10**7)
    monkeypatch.setattr(Release, "render", lambda self, *given: release.card)
    with pytest.raises(InputError, match="far larger than"):
        list(verify(release))


@pytest.mark.parametrize(
    ("name", "model_args", "macs"),
    [
        ("resnet18_cifar", {"layers": [40, 1, 1, 1]}, "1.3e[+]13"),
        ("vit_tiny_patch16_224", {"depth": 1, "patch_size": 1, "img_size": 2048, "pos_embed": "none"}, "6.8e[+]15"),
    ],
    ids=["convolutions", "attention"],
)
def test_verification_computes_for_no_hours(run, name, model_args, macs):
    release = Release.load(run)
    config = {**release.config, "pretrained_cfg": {**release.config["pretrained_cfg"], "input_size": [3, 2048, 2048]}}
    network = timm.create_model(name, **model_args)
    with pytest.raises(InputError, match=f"asks for {macs} multiply-adds"):
        _check_cost(network, dataclasses.replace(release, config=config))


def test_verification_counts_what_a_small_network_computes(run):
    _check_cost(load_model(f"local-dir:{run}")[0], Release.load(run))


@pytest.mark.parametrize(("name", "macs"), [("pit_ti_224", 699_059_456), ("resnet18_pushpull", 1_932_000_000)])
def test_multiply_adds_are_counted_and_the_model_is_left_as_it_was(name, macs, monkeypatch):
    """PiT calls modules with a parameter of its own, and has attention, whose fused form was not always counted."""
    fused = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    monkeypatch.delitem(flop_registry, fused, raising=False)  # other libraries may have made it unknown
    model = timm.create_model(name)
    next(model.children()).eval().requires_grad_(False)
    before = [(module.training, *(p.requires_grad for p in module.parameters())) for module in model.modules()]
    assert multiply_adds(model, 224) == pytest.approx(macs, rel=1e-3)
    assert before == [(module.training, *(p.requires_grad for p in module.parameters())) for module in model.modules()]


def test_other_threads_build_what_they_like(run):
    built = []
    with limited_by(run / "model.safetensors"):
        thread = threading.Thread(target=lambda: built.append(torch.nn.Linear(6000, 6000)))
        thread.start()
        thread.join()
        with pytest.raises(InputError, match="far larger than"):
            torch.nn.Linear(60_000, 6000)
    assert built
    torch.nn.Linear(6000, 6000)
