"""What timm's train.py and validate.py call, with our networks: the scripts are not on PyPI, their parts are."""

from __future__ import annotations

import argparse
import re
import shlex
from pathlib import Path

import pytest
import timm
import torch
from timm.data import create_dataset, create_loader, resolve_data_config
from timm.models import load_checkpoint, safe_model_name
from timm.optim import create_optimizer_v2, optimizer_kwargs
from timm.scheduler import create_scheduler_v2, scheduler_kwargs
from timm.utils import CheckpointSaver, ModelEmaV3

from support.image_folder import make_image_folder
from support.paths import ROOT
from support.processes import run_command
from timm_pushpull import InputError

NETWORKS = {
    "resnet18_cifar_pushpull": {"avg_size": 5},
    "efficientnet_b0_pushpull": {"alpha": 2.0},
    "pushpull_stem": {"base": "convnext_atto", "avg_size": 5},
}


def test_device_modules_registers_the_names(tmp_path):
    """timm's train.py imports them in this way after its own modules."""
    code = "import importlib, timm; before = timm.is_model('resnet18_cifar_pushpull'); "
    code += "importlib.import_module('timm_pushpull'); "
    code += "print(before, timm.create_model('resnet18_cifar_pushpull', num_classes=2, avg_size=5).conv1.avg_size)"
    process = run_command("-c", code, cwd=tmp_path, PYTHONPATH=str(ROOT))
    assert process.stdout.split() == ["False", "5"], process.stderr


def test_the_documented_line_runs_a_script_with_its_arguments(tmp_path):
    """The one for validate.py, on a script that says what it was given."""
    text = (ROOT / "docs" / "train.md").read_text(encoding="utf-8")
    code = shlex.split(re.search(r'^python -c (".*") \\$', text, re.M)[1])[0]
    (tmp_path / "script.py").write_text(
        "import sys, timm\nif __name__ == '__main__': print(sys.argv, timm.is_model('resnet18_cifar_pushpull'))\n"
    )
    process = run_command("-c", code, "script.py", "--model", "x", cwd=tmp_path, PYTHONPATH=str(ROOT))
    assert process.stdout.strip() == "['script.py', '--model', 'x'] True", process.stderr


def arguments(model: str) -> argparse.Namespace:
    """As timm's parser has them."""
    return argparse.Namespace(
        model=model, num_classes=2, img_size=32, drop=0.1, drop_path=None, gp=None, model_kwargs=NETWORKS[model],
        opt="adamw", opt_eps=None, opt_betas=None, lr=1e-3, weight_decay=0.05, momentum=0.9, layer_decay=0.75,
        sched="cosine", epochs=2, warmup_epochs=1, warmup_lr=1e-5, min_lr=0.0,
    )  # fmt: skip


def create(args: argparse.Namespace) -> torch.nn.Module:
    return timm.create_model(
        args.model, pretrained=False, in_chans=3, num_classes=args.num_classes, drop_rate=args.drop,
        drop_path_rate=args.drop_path, drop_block_rate=None, global_pool=args.gp, bn_momentum=None, bn_eps=None,
        scriptable=False, checkpoint_path="", **args.model_kwargs,
    )  # fmt: skip


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    return make_image_folder(tmp_path_factory.mktemp("timm") / "images")


@pytest.mark.parametrize("name", NETWORKS)
def test_a_step_and_a_checkpoint_of_timm_s_script(name, images, tmp_path):
    args = arguments(name)
    model = create(args)
    assert safe_model_name(args.model) == name
    data = resolve_data_config(vars(args), model=model)
    assert data["input_size"] == (3, 32, 32)
    dataset = create_dataset("", root=str(images), split="train", is_training=True, batch_size=6)
    loader = create_loader(dataset, data["input_size"], 6, is_training=True, use_prefetcher=False, num_workers=0)
    optimizer = create_optimizer_v2(model, **optimizer_kwargs(cfg=args))
    scheduler, _ = create_scheduler_v2(optimizer, **scheduler_kwargs(args), updates_per_epoch=len(loader))
    ema = ModelEmaV3(model, decay=0.9)
    model.train()
    scheduler.step(1)
    alpha = {key: tensor.clone() for key, tensor in model.state_dict().items() if key.endswith(".alpha")}
    inputs, targets = next(iter(loader))
    torch.nn.functional.cross_entropy(model(inputs), targets).backward()
    optimizer.step()
    ema.update(model)
    assert alpha
    assert not any(torch.equal(model.state_dict()[key], tensor) for key, tensor in alpha.items())

    saver = CheckpointSaver(
        model=model, optimizer=optimizer, args=args, model_ema=ema, checkpoint_dir=str(tmp_path), max_history=1
    )
    saver.save_checkpoint(0, metric=1.0)
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    for use_ema, source in ((False, model), (True, ema.module)):
        other = create(args)
        load_checkpoint(other, str(tmp_path / "last.pth.tar"), use_ema)
        assert torch.equal(other.eval()(x), source.eval()(x))
    if "avg_size" in args.model_kwargs:  # the pooling is in no tensor
        args.model_kwargs = {**args.model_kwargs, "avg_size": 3}
        with pytest.raises((InputError, RuntimeError), match="avg_size 3 but these weights were saved with 5"):
            load_checkpoint(create(args), str(tmp_path / "last.pth.tar"))
