"""Publishing with the real client to a Hub on loopback."""

from __future__ import annotations

from pathlib import Path

import pytest

import publish as publish_script
from conftest import ROOT, assert_one_clear_line, run_command
from example_run import write_run
from hub_server import TOKEN, Hub

PUBLISH = ROOT / "hub" / "publish.py"
REPO = "me/resnet18_cifar_pushpull.pictures"
FILES = {"model.safetensors", "config.json", "README.md", "results.json", "recipe.yaml"}


@pytest.fixture
def folder(tmp_path) -> Path:
    write_run(tmp_path / "run")
    (tmp_path / "run" / "state").mkdir()
    (tmp_path / "run" / "state" / "last.pt").write_text("not for others")
    return tmp_path / "run"


def publish(folder: Path, *options: str, endpoint: str = "http://127.0.0.1:9", token: str | None = TOKEN, home: Path):
    # Xet would ask a server of its own; without it the client uploads through Git LFS, which the Hub takes as well.
    return run_command(
        PUBLISH,
        folder,
        *options,
        HF_ENDPOINT=endpoint,
        HF_HUB_DISABLE_XET="1",
        HF_HOME=str(home),
        HF_HUB_OFFLINE="0",
        **({"HF_TOKEN": token} if token else {"HF_HUB_DISABLE_IMPLICIT_TOKEN": "1"}),
    )


def test_upload_and_load_back(folder, tmp_path):
    with Hub() as hub:
        process = publish(folder, "--repo-id", REPO, "--private", endpoint=hub.endpoint, home=tmp_path)
        assert process.returncode == 0, process.stderr
        assert f"{hub.endpoint}/{REPO}/commit/" in process.stdout
        assert set(hub.repositories[REPO]) == FILES
        assert hub.private == {REPO}
        assert len(hub.commits[REPO]) == 1
        for name in FILES - {"README.md"}:
            assert hub.repositories[REPO][name] == (folder / name).read_bytes()
        assert f'"hf-hub:{REPO}"' in hub.repositories[REPO]["README.md"].decode()

        code = (
            "import timm, timm_pushpull, torch; x = torch.ones(1, 3, 32, 32);"
            f"a = timm.create_model('hf-hub:{REPO}', pretrained=True).eval();"
            f"b = timm.create_model('local-dir:{folder}', pretrained=True).eval();"
            "assert torch.equal(a(x), b(x))"
        )
        loaded = run_command(
            "-c",
            code,
            HF_ENDPOINT=hub.endpoint,
            HF_HUB_DISABLE_XET="1",
            HF_HOME=str(tmp_path / "new"),
            HF_HUB_OFFLINE="0",
        )
        assert loaded.returncode == 0, loaded.stderr
        assert set(hub.unknown) <= {"GET /api/agent-harnesses"}  # the client asks, and takes no for an answer


def test_dry_run_needs_neither_token_nor_network(folder, run_inside, monkeypatch):
    monkeypatch.setattr(publish_script, "get_token", None)  # not even asked for
    process = run_inside(publish_script.main, "publish.py", folder, "--repo-id", REPO, "--dry-run")
    assert process.returncode == 0, process.stderr
    for name in FILES:
        assert name in process.stdout
    assert "state" not in process.stdout
    assert "nothing was uploaded" in process.stdout


@pytest.mark.parametrize(
    ("repo", "token", "word"),
    [
        (REPO, None, "HF_TOKEN"),
        (REPO, "hf_wrong", "does not accept the token"),
        ("others/x", TOKEN, "may not write there"),
    ],
)
def test_what_the_hub_refuses_is_one_line(folder, tmp_path, repo, token, word):
    with Hub() as hub:
        process = publish(folder, "--repo-id", repo, endpoint=hub.endpoint, token=token, home=tmp_path)
        assert_one_clear_line(process, word)
        assert hub.repositories == {}
        assert token is None or token not in process.stderr + process.stdout


@pytest.mark.parametrize("repo", ["no-namespace", "me/two/three", "me/a b"])
def test_what_is_no_repository_is_one_line(folder, run_inside, repo):
    process = run_inside(publish_script.main, "publish.py", folder, "--repo-id", repo)
    assert_one_clear_line(process, f"repository id '{repo}' is not NAMESPACE/NAME")


def test_no_network_is_one_line(folder, tmp_path):
    assert_one_clear_line(publish(folder, "--repo-id", REPO, home=tmp_path), "http://127.0.0.1:9 is out of reach")


@pytest.mark.parametrize("damage", ["missing", "truncated", "results"])
def test_unfinished_runs_are_refused(folder, run_inside, damage):
    weights = folder / "model.safetensors"
    if damage == "missing":
        weights.unlink()
    elif damage == "truncated":
        weights.write_bytes(weights.read_bytes()[:-100])
    else:
        (folder / "results.json").write_text("{}")
    process = run_inside(publish_script.main, "publish.py", folder, "--repo-id", REPO, "--dry-run")
    assert_one_clear_line(
        process, {"missing": "lacks model.safetensors", "truncated": "damaged", "results": "not a results file"}[damage]
    )
