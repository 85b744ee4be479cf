"""What results record of the process: no secret and no home folder of the user."""

from __future__ import annotations

import os
import sys
import time
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from support.example_run import some_results
from support.processes import assert_one_clear_line
from timm_pushpull import cli
from timm_pushpull.utils import provenance
from timm_pushpull.utils.errors import redacted
from timm_pushpull.utils.provenance import command, command_to_run, shareable, versions, without_home

SECRET = "Zq" * 12


def test_the_program_of_python_dash_m_has_a_name(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/lib/timm_pushpull/__main__.py", "benchmark", "--limit", "5"])
    assert command() == "timm-pushpull benchmark --limit 5"


@pytest.mark.parametrize(("launcher", "start"), [({}, "python "), ({"LOCAL_RANK": "0"}, "")])
def test_a_command_to_run_is_whole(monkeypatch, launcher, start):
    for name in ("LOCAL_RANK", "ACCELERATE_MIXED_PRECISION"):
        monkeypatch.delenv(name, raising=False)
    for name, value in launcher.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "argv", ["train/train.py", "--dataset", os.path.expanduser("~/my data")])
    assert command_to_run() == f"{start}train/train.py --dataset '{os.path.expanduser('~/my data')}'"


def test_versions_of_what_is_installed(monkeypatch):
    assert versions()["numba"]

    def without_numba(name: str) -> str:
        if name == "numba":
            raise PackageNotFoundError(name)
        return "1.0"

    monkeypatch.setattr(provenance, "version", without_numba)
    assert versions().keys() >= {"python", "torch", "timm"}
    assert "numba" not in versions()


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
    "token behind a name": f"/data/my_hf_{SECRET}",
    "key of Amazon": f"AKIA{SECRET[:16].upper()}",
    "variable": f"HF_TOKEN={SECRET}",
    "part of a URL behind #": f"https://host.org/data#access_token={SECRET}",
    "password with @": f"https://me:a@{SECRET}@host.org/data",
    "option and value": f"--password {SECRET}",
    "JSON": f'{{"api_key": "{SECRET} {SECRET}"}}',
    "basic": f"authorization: basic {SECRET}",
    "URL as a path": f"https:/me:{SECRET}@host.org/data?sig={SECRET}",
    "password with /": f"https://me:a/{SECRET}@host.org/data",
    "secret key of Amazon": f"aws_secret_access_key={SECRET}",
    "temporary key of Amazon": f"ASIA{SECRET[:16].upper()}",
    "passphrase": f"passphrase={SECRET}",
    "pwd": f"pwd={SECRET}",
    "token of PyPI": f"pypi-Ag{SECRET}",
    "key of OpenAI": f"sk-proj-{SECRET}",
    "key of Stripe": f"sk_live_{SECRET}",
    "token of Google": f"ya29.{SECRET}",
    "cookie": f"Cookie: session={SECRET}",
    "signature of a path": f"data?sig={SECRET}",
}


@pytest.mark.parametrize("text", SECRETS.values(), ids=SECRETS)
def test_secrets_are_replaced(text, monkeypatch):
    assert SECRET not in redacted(f"cannot read {text!r}: no such file")
    monkeypatch.setattr(sys, "argv", ["/usr/bin/timm-pushpull", "benchmark", "--dataset", text])
    assert SECRET not in command()
    assert command().startswith("timm-pushpull benchmark --dataset ")


@pytest.mark.parametrize(
    "text",
    [
        *("uoft-cs/cifar10", "lr=0.1", "a@b", "C:/data", "what? no", "x/y.json", "class_token=true", "reg_tokens=4"),
        *("hf-internal-testing/tiny-random", "the token may not write there; use a token with write access"),
        "https://host.org/data#readme",
        *(
            "hf_birds_of_europe_and_asia",
            "sk-learn-digits-images-2024",
            "sk_skin_lesions_of_2019",
            "npm_icons_of_packages",
        ),
    ],
)
def test_other_text_stays(text):
    assert redacted(text) == text


@pytest.mark.parametrize("part", ["a.", "a://", "a://b", "a:/", "://", "hf-", "token=", "token='", "X-Amz-", "--", " "])
def test_long_texts_take_no_time(part):
    start = time.process_time()
    redacted(part * (300_000 // len(part)))
    assert time.process_time() - start < 5


def test_the_parser_prints_no_secret(capsys):
    with pytest.raises(SystemExit):
        cli.main(["info", "--token", SECRET, f"https://me:{SECRET}@host.org"])
    assert SECRET not in capsys.readouterr().err


def test_error_lines_hold_no_secret(tmp_path, run_inside):
    given = ("info", tmp_path / f"hf_{SECRET}")
    process = run_inside(lambda: cli.main([*map(str, given)]), "timm-pushpull info")
    assert_one_clear_line(process, "***")
    assert SECRET not in process.stderr


def test_a_recorded_command_holds_no_escape_sequence(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["timm-pushpull", "info", "o\x1b[2J.json"])
    assert command() == r"timm-pushpull info 'o\x1b[2J.json'"


def test_lines_on_stdout_hold_no_escape_sequence_and_no_secret(tmp_path, capsys):
    files = [str(tmp_path / f"{name}.json") for name in ("resnet18_cifar", "resnet18_cifar_pushpull")]
    for file in files:
        Path(file).write_text(some_results(Path(file).stem).to_json())
    output = tmp_path / f"hf_{SECRET}\x1b[2J.md"
    with pytest.raises(SystemExit, match="0"):
        cli.main(["compare", *files, "--output", str(output)])
    assert output.exists()
    said = capsys.readouterr().out
    assert f"written to {tmp_path}/***\\x1b[2J.md" in said
    assert SECRET not in said


def test_tracebacks_hold_no_secret_and_no_escape_sequence(monkeypatch, capsys):
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)

    def fail() -> None:
        raise RuntimeError(f"\x1b[2J https://me:{SECRET}@host.org")

    with pytest.raises(RuntimeError) as caught:
        cli.run(fail, "x")
    sys.excepthook(caught.type, caught.value, caught.tb)
    shown = capsys.readouterr().err
    assert "RuntimeError: \\x1b[2J https://***@host.org" in shown
    assert SECRET not in shown


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
    for text in ("local-dir:{}/x", "file://{}/x", "-o{}/x", "a,{}/x", "model_args=['{}/x']"):
        assert without_home(text.format(home)) == text.format("~")
    assert without_home(f"{home}by/x") == f"{home}by/x"
    assert without_home(f"/data{home}/x") == f"/data{home}/x"
    given = {"classes": [f"{home}/y"], "base": (f"{home}/hf_{SECRET}",), "epochs": 3}
    assert shareable(given) == {"classes": [os.path.join("~", "y")], "base": ("~/***",), "epochs": 3}
