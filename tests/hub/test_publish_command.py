"""hub/publish.py: what it refuses, and before what; several releases at once."""

from __future__ import annotations

import json
import logging
import sys

import pytest
from huggingface_hub import constants

import publish as script
from support.example_publish import FILES, REPO, tagged
from support.hub_server import OTHER_TOKEN, READ_TOKEN, TOKEN
from support.processes import assert_one_clear_line
from timm_pushpull import InputError
from timm_pushpull.hub import publish


def test_two_folders_of_one_name_are_refused(release, finished, hub, run_inside):
    process = run_inside(script.main, "publish.py", release.path, finished, "--namespace", "me")
    assert_one_clear_line(process, f"{str(release.path)!r} and {str(finished)!r} are both {REPO}")
    assert hub.repositories == {}


def test_all_without_releases_is_an_error(run_inside, monkeypatch, tmp_path):
    monkeypatch.setattr(script, "RELEASES", tmp_path)
    assert_one_clear_line(run_inside(script.main, "publish.py", "--all", "--namespace", "me"), "there are no releases")


@pytest.mark.parametrize(
    ("token", "repo", "words", "later"),
    [
        (None, REPO, "HF_TOKEN", "HF_TOKEN"),
        ("hf_wrong", REPO, "does not accept the token", "does not accept the token"),
        (READ_TOKEN, REPO, "the token of me may only read", "may not write there"),
        (OTHER_TOKEN, REPO, f"cannot publish {REPO}: the token may write to you only", "may not write there"),
        (TOKEN, "others/x", "others/x: the token may write to me, timm-pushpull, lab only", "may not write there"),
    ],
)
def test_whom_the_hub_does_not_let_in(release, finished, hub, run_inside, monkeypatch, token, repo, words, later):
    """`later`: what `publish` itself says, without the check before."""
    monkeypatch.delenv("HF_TOKEN") if token is None else monkeypatch.setenv("HF_TOKEN", token)
    process = run_inside(script.main, "publish.py", finished, "--repo-id", repo)
    assert_one_clear_line(process, words)
    assert "verifying" not in process.stdout
    assert hub.repositories == {}
    assert token is None or token not in process.stderr + process.stdout
    with pytest.raises(InputError, match=later):
        publish(release, repo)
    assert hub.repositories == {}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--private"], f"{REPO} is already public"),
        (["--collection", f"me/nothing-{'0' * 24}"], f"cannot publish {REPO}: "),
        (["--endpoint", "http://127.0.0.1:9"], "http://127.0.0.1:9 is out of reach"),
    ],
)
def test_what_the_hub_will_not_take_is_found_before_the_verification(finished, hub, run_inside, arguments, words):
    hub.add(REPO)
    process = run_inside(script.main, "publish.py", finished, "--repo-id", REPO, *arguments)
    assert_one_clear_line(process, words)
    assert "verifying" not in process.stdout


def test_nothing_is_uploaded_before_all_are_verified(release, finished, hub, run_inside, tmp_path):
    second = tagged(finished, tmp_path / "second", "second")
    card = (second / "README.md").read_text()
    (second / "README.md").write_text(card.replace("5.00%", "4.00%"))
    process = run_inside(script.main, "publish.py", release.path, second, "--namespace", "me")
    assert (process.returncode, "4.00" in process.stderr) == (2, True)
    assert hub.repositories == {}


def test_no_token_is_left_anywhere(finished, hub, run_inside, tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    process = run_inside(script.main, "publish.py", finished, "--repo-id", REPO)
    assert process.returncode == 0, process.stderr
    assert any(request.authorized for request in hub.requests)
    for path in tmp_path.rglob("*"):
        assert path.is_dir() or TOKEN.encode() not in path.read_bytes(), path
    assert TOKEN not in process.stdout + process.stderr + caplog.text
    assert caplog.text


def test_dry_run_needs_neither_token_nor_network(finished, run_inside, monkeypatch):
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    process = run_inside(script.main, "publish.py", finished, "--repo-id", REPO, "--dry-run")
    assert process.returncode == 0, process.stderr
    for name in FILES | {"LICENSE", "robustness.png"}:
        assert name in process.stdout
    assert "last.pt" not in process.stdout
    assert "nothing was uploaded" in process.stdout


def test_what_it_needs_is_said_at_once(finished, run_inside, monkeypatch):
    for name in ("matplotlib", "transformers"):
        monkeypatch.setitem(sys.modules, name, None)
    process = run_inside(script.main, "publish.py", finished, "--repo-id", REPO, "--dry-run")
    assert_one_clear_line(process, "needs matplotlib and transformers: pip install 'timm-pushpull[hub]'")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["RUN", "--repo-id", "no-namespace"], "repository id 'no-namespace' is not NAMESPACE/NAME"),
        (["RUN", "--repo-id", "me/two/three"], "is not NAMESPACE/NAME"),
        (["RUN", "--namespace", "../me"], "is not NAMESPACE/NAME"),
        (["RUN", "RUN", "--repo-id", REPO], "is for one folder, not for 2"),
        (["--namespace", "me"], "--all for all releases"),
        (["RUN", "--all", "--namespace", "me"], "--all takes no folders"),
        (["RUN"], "--namespace --repo-id is required"),
        (["nosuch", "--namespace", "me"], "'nosuch' is not a folder"),
        (["RUN", "--namespace", "me", "--create-pr", "--collection", "c"], "leave it out with --create-pr"),
    ],
)
def test_what_is_asked_wrongly_is_one_line(finished, run_inside, arguments, words):
    given = [finished if argument == "RUN" else argument for argument in arguments]
    assert_one_clear_line(run_inside(script.main, "publish.py", *given, "--dry-run"), words)


@pytest.mark.parametrize("name", ["model.safetensors", "README.md", "results.json"])
def test_what_does_not_verify_is_not_published(release, hub, run_inside, name):
    path = release.path / name
    if name == "model.safetensors":
        path.write_bytes(path.read_bytes()[:-100])
    elif name == "README.md":
        path.write_text(path.read_text().replace("5.00%", "4.00%"))
    else:
        results = json.loads(path.read_text())
        path.write_text(json.dumps({**results, "clean_error": 0.04}))
    process = run_inside(script.main, "publish.py", release.path, "--namespace", "me")
    words = {"model.safetensors": "damaged", "README.md": "README.md", "results.json": "README.md"}[name]
    assert_one_clear_line(process, words)
    assert hub.repositories == {}


def test_the_whole_checkout_at_once(hub, run_inside, monkeypatch, tmp_path, finished):
    monkeypatch.setattr(script, "RELEASES", tmp_path)
    for number in range(2):
        tagged(finished, tmp_path / f"run{number}", f"photos{number}")
    process = run_inside(script.main, "publish.py", "--all", "--namespace", "lab", "--collection", "All")
    assert process.returncode == 0, process.stderr
    names = {f"lab/resnet18_cifar_pushpull.photos{number}" for number in range(2)}
    assert set(hub.repositories) == names
    (found,) = hub.collections.values()
    assert {item["id"] for item in found.items} == names
