"""Downloading weights with the real clients from a Hub on loopback, and the errors if that fails."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path

import pytest
import timm
import torch
from huggingface_hub import constants

from support.example_run import write_run
from support.hub_server import OTHER_TOKEN, TOKEN
from support.paths import ROOT
from support.processes import run_command
from timm_pushpull import InputError
from timm_pushpull.models import NAMESPACE, pretrained
from timm_pushpull.models.weights import load_model
from timm_pushpull.utils.files import sha256
from timm_pushpull.utils.hub_client import download

NAME = "resnet18_cifar_pushpull.cifar10"
REPO = f"{NAMESPACE}/{NAME}"
MINE = "me/a-network"


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A small model of ten classes, as the released networks are."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    write_run(folder, classes=tuple("abcdefghij"))
    return folder


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def installed(monkeypatch, tmp_path) -> None:
    """Act like an installed package, without the releases of a source checkout."""
    monkeypatch.setattr(pretrained, "RELEASES", tmp_path / "nowhere")


@pytest.fixture
def published(hub, installed, run):
    return hub.add(REPO, files(run))


def equal(model: torch.nn.Module, folder: Path) -> bool:
    local = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    x = torch.ones(1, 3, 32, 32)
    return torch.equal(model.eval()(x), local(x))


@pytest.mark.parametrize("name", [NAME, "resnet18_cifar_pushpull", f"hf-hub:{REPO}"])
def test_by_name_with_a_tag_and_without(published, run, name):
    assert equal(timm.create_model(name, pretrained=True), run)


def test_weights_for_other_classes_than_the_architecture_s(hub, installed, tmp_path):
    """An ImageNet network has 1,000 classes, but the 10 of Imagenette with the published weights."""
    name = "resnet18_pushpull"
    write_run(tmp_path / "run", name, classes=tuple(map(str, range(10))))
    hub.add(f"{NAMESPACE}/{name}.imagenette", files(tmp_path / "run"))
    plain = timm.create_model(name)
    assert (plain.num_classes, plain.pretrained_cfg["input_size"][-1]) == (1000, 224)
    for asked in (name, f"{name}.imagenette"):
        model = timm.create_model(asked, pretrained=True)
        assert (model.num_classes, model.pretrained_cfg["input_size"][-1]) == (10, 160)
        assert equal(model, tmp_path / "run")


def test_for_features_for_other_classes_and_for_embeddings(published, run):
    local = timm.create_model(f"local-dir:{run}", pretrained=True)
    features = timm.create_model(NAME, pretrained=True, features_only=True)
    torch.testing.assert_close(features.conv1.weight, local.conv1.weight, rtol=0, atol=0)
    torch.testing.assert_close(features.conv1.alpha, local.conv1.alpha, rtol=0, atol=0)
    other = timm.create_model(NAME, pretrained=True, num_classes=3)
    assert other.fc.out_features == 3
    torch.testing.assert_close(other.layer4[1].conv2.weight, local.layer4[1].conv2.weight, rtol=0, atol=0)
    assert timm.create_model(NAME, pretrained=True, num_classes=0)(torch.ones(1, 3, 32, 32)).shape == (1, 512)


def test_a_revision_can_be_pinned(published, hub, run, tmp_path):
    first = published.head()
    published.tags["v1"] = first
    write_run(tmp_path / "newer", classes=tuple("abcdefghij"))
    published.commit(files(tmp_path / "newer"))
    for revision in ("v1", first):
        assert equal(timm.create_model(f"hf-hub:{REPO}@{revision}", pretrained=True), run)
        overlay = {"hf_hub_id": f"{REPO}@{revision}"}
        assert equal(timm.create_model(NAME, pretrained=True, pretrained_cfg_overlay=overlay), run)
    assert equal(timm.create_model(NAME, pretrained=True), tmp_path / "newer")
    with pytest.raises(InputError, match="@v9: the repository has no such revision"):
        timm.create_model(NAME, pretrained=True, pretrained_cfg_overlay={"hf_hub_id": f"{REPO}@v9"})


def test_offline_from_the_cache(published, hub, run, monkeypatch):
    timm.create_model(NAME, pretrained=True)
    asked = len(hub.requests)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert equal(timm.create_model(NAME, pretrained=True), run)
    assert len(hub.requests) == asked
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(run))
    with pytest.raises(InputError, match="not in the cache, and HF_HUB_OFFLINE forbids"):
        timm.create_model(NAME, pretrained=True)


def test_a_source_checkout_asks_nobody(hub, run, monkeypatch, tmp_path):
    (tmp_path / NAME).symlink_to(run)
    monkeypatch.setattr(pretrained, "RELEASES", tmp_path)
    assert equal(timm.create_model(NAME, pretrained=True), run)
    assert hub.requests == []


def test_a_source_checkout_does_not_stand_in_for_what_is_asked_by_its_address(hub, run, monkeypatch, tmp_path):
    (tmp_path / NAME).symlink_to(run)
    monkeypatch.setattr(pretrained, "RELEASES", tmp_path)
    write_run(tmp_path / "other", classes=tuple("abcdefghij"))
    for place in (REPO, f"lab/{NAME}"):
        hub.add(place, files(tmp_path / "other"))
    assert equal(timm.create_model(f"hf-hub:{REPO}", pretrained=True), tmp_path / "other")
    overlay = {"hf_hub_id": f"lab/{NAME}"}
    assert equal(timm.create_model(NAME, pretrained=True, pretrained_cfg_overlay=overlay), tmp_path / "other")


def test_another_cache_and_another_pooling(published, tmp_path):
    timm.create_model(NAME, pretrained=True, cache_dir=tmp_path / "other")
    assert list((tmp_path / "other").rglob("model.safetensors"))
    assert not (tmp_path / "cache").exists()
    with pytest.raises(InputError, match="avg_size is 5 but these weights were trained with 3"):
        timm.create_model(NAME, pretrained=True, avg_size=5, cache_dir=tmp_path / "other")


@pytest.mark.parametrize("name", ["efficientnet_b0_pushpull", "resnet50_pushpull5", "resnet18_cifar.in1k"])
def test_what_has_no_weights_yet_says_what_has(hub, name):
    if name in pretrained.PUBLISHED or any(one.startswith(f"{name}.") for one in pretrained.PUBLISHED):
        pytest.skip("has weights by now")
    with pytest.raises(InputError, match=f"{name} has no published weights yet; there are .*{NAME}"):
        timm.create_model(name, pretrained=True)
    assert hub.requests == []


@pytest.mark.parametrize(
    ("changes", "token", "words"),
    [
        ({"private": True}, OTHER_TOKEN, "there is no such repository, or it is private"),
        ({"gated": True}, OTHER_TOKEN, "the repository is gated"),
        (None, TOKEN, "there is no such repository, or it is private"),
        ({}, "hf_wrong", "does not accept the token"),
    ],
)
def test_whom_the_hub_does_not_let_in(hub, installed, run, monkeypatch, changes, token, words):
    monkeypatch.setenv("HF_TOKEN", token)
    if changes is not None:
        hub.add(REPO, files(run), **changes)
    with pytest.raises(InputError, match=words) as error:
        timm.create_model(NAME, pretrained=True)
    assert str(error.value).startswith(f"cannot load model.safetensors of {REPO}: ")
    assert token not in str(error.value)


def test_private_weights_of_ones_own(hub, installed, run):
    hub.add(MINE, files(run), private=True)
    assert equal(timm.create_model(f"hf-hub:{MINE}", pretrained=True), run)
    assert load_model(f"hf-hub:{MINE}")[1] == sha256(run / "model.safetensors")


FAULTS = {
    "broken": ({"drop": 1000, "times": None}, "broke off"),
    "short": ({"truncate": 1000, "times": None}, "broke off"),
    "other content": ({"corrupt": True}, "damaged on the way"),
    "failing store": ({"status": 500, "times": None}, "failed with status 500"),
    "too many requests": ({"status": 429, "retry_after": 1, "times": None}, "fewer requests"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_download_that_fails_leaves_nothing_and_the_next_succeeds(published, hub, run, monkeypatch, tmp_path, name):
    import time

    sleep = time.sleep
    monkeypatch.setattr(time, "sleep", lambda seconds: sleep(min(seconds, 0.01)))
    how, words = FAULTS[name]
    hub.fail("download", **how)
    with pytest.raises(InputError, match=words) as error:
        timm.create_model(NAME, pretrained=True)
    assert "\n" not in str(error.value)
    cache = tmp_path / "cache"
    kept = [path for path in cache.rglob("*") if path.is_file() and not path.name.endswith((".incomplete", ".lock"))]
    assert not [path for path in kept if path.name == "model.safetensors" or len(path.name) == 64], kept
    hub.heal()
    assert equal(timm.create_model(NAME, pretrained=True), run)


def test_a_brief_failure_goes_unnoticed(published, hub, run):
    """huggingface_hub resumes a broken download."""
    hub.fail("download", drop=100_000)
    assert equal(timm.create_model(NAME, pretrained=True), run)


class Bomb:
    def __reduce__(self):
        return os.mkdir, ("the-bomb-went-off",)


@pytest.mark.parametrize("way", ["name", "hf-hub", "load_model", "local-dir"])
def test_a_repository_that_offers_only_a_pickle_is_refused(hub, installed, run, monkeypatch, tmp_path, way):
    monkeypatch.chdir(tmp_path)
    content = {name: data for name, data in files(run).items() if name != "model.safetensors"}
    content["pytorch_model.bin"] = pickle.dumps(Bomb())
    hub.add(REPO, content)
    if way == "local-dir":
        (tmp_path / "pulled").mkdir()
        for name, data in content.items():
            (tmp_path / "pulled" / name).write_bytes(data)
    with pytest.raises(InputError, match=r"has no model.safetensors|does not hold that file"):
        {
            "name": lambda: timm.create_model(NAME, pretrained=True),
            "hf-hub": lambda: timm.create_model(f"hf-hub:{REPO}", pretrained=True),
            "load_model": lambda: load_model(f"hf-hub:{REPO}"),
            "local-dir": lambda: timm.create_model(f"local-dir:{tmp_path / 'pulled'}", pretrained=True),
        }[way]()
    assert not (tmp_path / "the-bomb-went-off").exists()
    assert not [request for request in hub.requests if "pytorch_model" in request.path]


def test_a_stranger_s_config_is_data(hub, installed, run, tmp_path):
    """It can name no other file, address or loader."""
    secret = tmp_path / "secret.safetensors"
    secret.write_bytes((run / "model.safetensors").read_bytes())
    config = json.loads((run / "config.json").read_text())
    for key, value in (("file", str(secret)), ("url", f"{hub.endpoint}/evil.pth"), ("custom_load", "hf")):
        hub.reset()
        config["pretrained_cfg"] = {**config["pretrained_cfg"], key: value}
        repo = hub.add(MINE, {**files(run), "config.json": json.dumps(config).encode()})
        assert equal(timm.create_model(f"hf-hub:{MINE}@{repo.head()}", pretrained=True), run)
        assert not [request for request in hub.requests if "evil" in request.path]


def test_the_file_that_is_named_is_the_one_that_loads(hub, installed, run, tmp_path):
    write_run(tmp_path / "other", classes=tuple("abcdefghij"))
    other = (tmp_path / "other" / "model.safetensors").read_bytes()
    hub.add(MINE, {**files(run), "other.safetensors": other, "other.bin": b""})
    overlay = {"hf_hub_id": MINE, "hf_hub_filename": "other.safetensors", "num_classes": 10}
    model = timm.create_model(NAME, pretrained=True, pretrained_cfg_overlay=overlay)
    assert equal(model, tmp_path / "other")
    assert not equal(model, run)
    with pytest.raises(InputError, match=r"hf_hub_filename is 'other.bin'; only safetensors"):
        timm.create_model(NAME, pretrained=True, pretrained_cfg_overlay={**overlay, "hf_hub_filename": "other.bin"})


def test_a_file_that_is_named_is_not_replaced_by_the_release_of_a_checkout(hub, run, tmp_path, monkeypatch):
    monkeypatch.setattr(pretrained, "RELEASES", tmp_path / "releases")
    write_run(tmp_path / "releases" / NAME, classes=tuple("abcdefghij"))
    hub.add(REPO, {"other.safetensors": (run / "model.safetensors").read_bytes()})
    assert equal(timm.create_model(NAME, pretrained=True), tmp_path / "releases" / NAME)
    overlay = {"hf_hub_filename": "other.safetensors"}
    model = timm.create_model(NAME, pretrained=True, pretrained_cfg_overlay=overlay)
    assert equal(model, run)
    assert not equal(model, tmp_path / "releases" / NAME)


@pytest.mark.parametrize("name", ["../../outside.json", "/{}/outside.json", "a/../../../outside.json"])
def test_a_file_name_cannot_leave_the_cache(hub, installed, tmp_path, name):
    name = name.format(str(tmp_path)[1:])
    hub.add(MINE, {name: b"{}"})
    with pytest.raises(InputError):
        download(MINE, name, cache_dir=tmp_path / "cache")
    assert not list(tmp_path.rglob("outside.json"))


def test_transformers_and_another_process_pull_the_same(hub, run, tmp_path):
    """In a new process that has only the Hub's address and a token in its environment."""
    hub.add(MINE, files(run), private=True)
    code = f"""
import copy, timm, timm_pushpull, torch
from transformers import AutoModelForImageClassification
x = torch.ones(1, 3, 32, 32)
local = timm.create_model("local-dir:{run}", pretrained=True).eval()
with torch.no_grad():
    assert torch.equal(timm.create_model("hf-hub:{MINE}", pretrained=True).eval()(x), local(x))
    other = AutoModelForImageClassification.from_pretrained("{MINE}", dtype=torch.float32).eval()
    other = copy.deepcopy(other)  # sums of floats depend on how mapped weights are aligned in memory
    assert torch.equal(other(x).logits, local(x))
    assert other.config.id2label[9] == "j"
"""
    process = run_command(
        "-c", code, cwd=ROOT, HF_ENDPOINT=hub.endpoint, HF_TOKEN=TOKEN, HF_HUB_CACHE=str(tmp_path / "empty")
    )
    assert process.returncode == 0, process.stderr
