"""What results record of the process: no secret and no home folder of the user."""

from __future__ import annotations

import os
import sys

import pytest

from support.processes import assert_one_clear_line
from timm_pushpull import cli
from timm_pushpull.utils.errors import redacted
from timm_pushpull.utils.provenance import command, without_home

SECRET = "Zq" * 12
SECRETS = {
    "hub token": f"hf_{SECRET}",
    "github token": f"ghp_{SECRET}",
    "bearer": f"Authorization: Bearer {SECRET}",
    "password in a URL": f"https://me:{SECRET}@host.org/data",
    "user in a URL": f"s3://{SECRET}@bucket/data",
    "query of a URL": f"https://host.org/data?X-Amz-Signature={SECRET}&v=1",
    "unnamed query of a URL": f"https://host.org/data?{SECRET}",
    "option": f"--api-key={SECRET}",
    "password": f"password={SECRET}",
    "token in a path": f"/data/hf_{SECRET}/images",
}


@pytest.mark.parametrize("text", SECRETS.values(), ids=SECRETS)
def test_secrets_are_replaced(text, monkeypatch):
    assert SECRET not in redacted(f"cannot read {text!r}: no such file")
    monkeypatch.setattr(sys, "argv", ["/usr/bin/timm-pushpull", "benchmark", "--dataset", text])
    assert SECRET not in command()
    assert command().startswith("timm-pushpull benchmark --dataset ")


@pytest.mark.parametrize("text", ["uoft-cs/cifar10", "lr=0.1", "a@b", "C:/data", "what? no", "x/y.json"])
def test_other_text_stays(text):
    assert redacted(text) == text


def test_error_lines_hold_no_secret(tmp_path, run_inside):
    given = ("info", tmp_path / f"hf_{SECRET}")
    process = run_inside(lambda: cli.main([*map(str, given)]), "timm-pushpull info")
    assert_one_clear_line(process, "***")
    assert SECRET not in process.stderr


def test_paths_below_the_home_folder_are_relative(tmp_path, monkeypatch):
    home, project = tmp_path / "bob", tmp_path / "bob" / "project"
    project.mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(project)
    assert without_home(str(project / "runs" / "a")) == os.path.join("runs", "a")
    assert without_home(f"--output={home}/data") == f"--output={os.path.join('..', 'data')}"
    assert without_home("/data/x") == "/data/x"
    assert without_home("runs/a") == "runs/a"
    monkeypatch.chdir(tmp_path)
    assert without_home(str(home / "data")) == os.path.join("bob", "data")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert without_home(str(home / "data")) == os.path.join("~", "data")
    assert "bob" not in without_home(str(home))
