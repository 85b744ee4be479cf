"""The README's sections on weights and publishing, tried word for word against the Hub on loopback."""

from __future__ import annotations

import ast
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import timm
import torch

import timm_pushpull
from support.example_run import SMALL, write_run
from support.hub_server import TOKEN
from support.paths import ROOT
from timm_pushpull.models import NAMESPACE, pretrained

README = (ROOT / "README.md").read_text()


def code(heading: str, language: str) -> str:
    """A section's block of code."""
    section = README[README.index(f"# {heading}\n") :]
    return re.search(rf"```{language}\n(.*?)```", section, re.S)[1]


def test_use_our_weights(hub, monkeypatch, tmp_path):
    """As an installed package, once they are published."""
    for architecture, tag in (("resnet50_pushpull", "imagenette"), ("resnet18_cifar_pushpull", "cifar10")):
        write_run(tmp_path / architecture, architecture, classes=tuple("abcdefghij"))
        files = {path.name: path.read_bytes() for path in (tmp_path / architecture).iterdir()}
        repo = hub.add(f"{NAMESPACE}/{architecture}.{tag}", files)
        repo.tags["v1"] = repo.head()
    monkeypatch.setattr(pretrained, "RELEASES", tmp_path / "nowhere")
    models = []
    for statement in ast.parse(code("Weights", "python")).body:
        scope = {"timm": timm, "timm_pushpull": timm_pushpull}
        exec(ast.unparse(statement), scope)
        models.append(scope["model"].eval())
    expected = timm.create_model(f"local-dir:{tmp_path / 'resnet50_pushpull'}", pretrained=True).eval()
    x = torch.ones(1, 3, 32, 32)
    assert torch.equal(models[0](x), expected(x))
    assert models[1](x).shape == (1, 5)


def test_publish_your_own(hub, tmp_path):
    """With the project's scripts beside the run, and the `hf` command for the login."""
    write_run(tmp_path / "runs" / "digits" / "resnet18_cifar_pushpull", **SMALL)
    (tmp_path / "hub").symlink_to(ROOT / "hub")
    login, real = (shlex.split(line, comments=True) for line in code("Publish", "bash").splitlines())
    assert login == ["hf", "auth", "login"]
    environment = {name: value for name, value in os.environ.items() if name != "HF_TOKEN"}
    environment |= {"HF_TOKEN_PATH": str(tmp_path / "token"), "HF_HOME": str(tmp_path / "home")}
    for line in ([*real, "--dry-run"], [*login, "--token", TOKEN], real):
        words = ["me" if word == "NAMESPACE" else word for word in line]
        command = {"python": [sys.executable], "hf": [str(Path(sys.executable).parent / "hf")]}[words[0]] + words[1:]
        process = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert process.returncode == 0, process.stderr
        assert TOKEN not in process.stdout + process.stderr
        assert ("me/resnet18_cifar_pushpull.photos" in hub) == (line is real)
    assert hub["me/resnet18_cifar_pushpull.photos"].tags
