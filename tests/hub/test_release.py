"""The releases: what the registry advertises is there, loads, and is what its card says; and how they are made."""

from __future__ import annotations

import dataclasses
import json
import shutil
from functools import partial
from types import SimpleNamespace

import pytest
import safetensors.torch
import timm
import torch
import yaml

import release
import stage
from run_folder import RunFolder, copy_trained
from settings import RECIPES, load_recipe, parse
from support.example_run import SMALL, SMALL_ARGS, write_run
from support.paths import ROOT, needs_releases, shared_path
from support.processes import assert_one_clear_line, run_command
from timm_pushpull.benchmark.paper import published
from timm_pushpull.benchmark.results import Results
from timm_pushpull.hub import Release, verify
from timm_pushpull.hub.staging import rebase_image, shown_results_sha256
from timm_pushpull.models import NAMESPACE, RELEASES, efficientnet, resnet
from timm_pushpull.utils.files import sha256

ADVERTISED = sorted(
    f"{name}.{tag}"
    for module in (resnet, efficientnet)
    for name, cfgs in module.default_cfgs.items()
    for tag, cfg in cfgs.cfgs.items()
    if cfg.has_weights
)
#: What stands beside the cards.
PAGES = {"README", "paper", "study", "study-retrieval", "architectures"}
OURS = sorted(path.name for path in RELEASES.iterdir() if not path.name.startswith(".")) if RELEASES.exists() else []


@needs_releases
def test_registry_releases_and_cards_are_the_same_list():
    registered = {name for name in OURS if name.split(".")[0] in {*resnet.default_cfgs, *efficientnet.default_cfgs}}
    assert set(ADVERTISED) == registered
    assert {path.stem for path in (ROOT / "model_cards").glob("*.md")} - PAGES == set(OURS)
    assert set(OURS) <= set(yaml.safe_load(release.PLANNED.read_text()))


@pytest.mark.parametrize("name", OURS)
def test_every_release_loads_and_is_what_its_card_says(name):
    folder = RELEASES / name
    results = Results.load(folder)
    assert sha256(folder / "model.safetensors") == results.weights_sha256
    assert not results.partial
    assert results.frost == "original"
    assert not any(word.startswith("/") for word in results.command.split())  # a folder of one machine
    card = (folder / "README.md").read_text()
    assert card == Release.load(folder).render(f"hf-hub:{NAMESPACE}/{name}", "robustness.png"), "run hub/stage.py on it"
    assert (ROOT / "model_cards" / f"{name}.md").read_text() == rebase_image(card, folder, ROOT / "model_cards")
    assert shown_results_sha256(folder / "robustness.png") == sha256(folder / "results.json")
    for figure in (f"{results.clean_error:.2%}", f"{results.mce:.2%}", results.weights_sha256):
        assert figure in card
    recipe = yaml.safe_load((folder / "recipe.yaml").read_text())
    plan = yaml.safe_load(release.PLANNED.read_text())[name]
    planned = yaml.safe_load((ROOT / "train" / "recipes" / f"{plan['recipe']}.yaml").read_text())
    assert recipe | plan.get("settings", {}) == recipe
    if recipe["epochs"] != planned["epochs"]:
        assert f"epochs is {recipe['epochs']}, not {planned['epochs']}" in card
    model = timm.create_model(name if name in ADVERTISED else f"local-dir:{folder}", pretrained=True)
    if name in ADVERTISED:  # timm takes the cfg of the registry, not that beside the weights
        registered = model.pretrained_cfg
        for key, value in json.loads((folder / "config.json").read_text())["pretrained_cfg"].items():
            known = registered.get(key)
            assert (list(known) if isinstance(known, tuple) else known) == value or value is None, key
    stored = safetensors.torch.load_file(folder / "model.safetensors")
    for key, tensor in model.state_dict().items():
        torch.testing.assert_close(tensor, stored[key].to(tensor.dtype), rtol=0, atol=0, msg=key)


@pytest.mark.parametrize("name", OURS)
def test_a_released_network_is_what_it_says_and_makes_the_errors_it_says(name):
    found = Release.load(RELEASES / name)
    lines = list(verify(found, str(shared_path(f"data/{found.results.dataset}")), images=300))
    assert sum("on 300 images" in line for line in lines) == 2


def half_run(folder, **changes):
    """A finished run with half-precision weights."""
    write_run(folder, **SMALL)
    weights = safetensors.torch.load_file(folder / "model.safetensors")
    halves = {name: t.half() if t.is_floating_point() else t for name, t in weights.items()}
    safetensors.torch.save_file(halves, folder / "model.safetensors", {"format": "pt", "avg_size": "3"})
    (folder / "log.csv").write_text("epoch,loss\n")
    changes = {"weights_sha256": sha256(folder / "model.safetensors"), **changes}
    dataclasses.replace(Results.load(folder), **changes).save(folder / "results.json")
    return folder


def test_staging_copies_a_run_whole_and_names_it(tmp_path):
    run = half_run(tmp_path / "run")
    target = stage.stage(run, tmp_path / "releases", tmp_path / "cards", ROOT / "LICENSE", "small")
    assert target == tmp_path / "releases" / "resnet18_cifar_pushpull.small"
    assert {path.name for path in target.iterdir()} == {
        *("model.safetensors", "config.json", "README.md", "results.json", "recipe.yaml", "log.csv", "LICENSE"),
        "robustness.png",
    }
    assert [path.name for path in (tmp_path / "releases").iterdir()] == [target.name]
    assert json.loads((target / "config.json").read_text())["pretrained_cfg"]["tag"] == "small"
    card = (target / "README.md").read_text()
    assert "# Model card for resnet18_cifar_pushpull.small" in card
    assert 'name = "hf-hub:timm-pushpull/resnet18_cifar_pushpull.small"' in card
    beside_it = (tmp_path / "cards" / "resnet18_cifar_pushpull.small.md").read_text()
    assert "](robustness.png)" in card
    assert beside_it == card.replace("](robustness.png)", f"](../releases/{target.name}/robustness.png)")
    assert list(verify(Release.load(target)))
    assert timm.create_model(f"local-dir:{target}", pretrained=True).num_classes == 2


def widen(run):
    shutil.rmtree(run)
    write_run(run, **SMALL)
    (run / "log.csv").write_text("epoch,loss\n")


def change(**fields):
    return lambda run: dataclasses.replace(Results.load(run), **fields).save(run / "results.json")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda run: (run / "log.csv").unlink(), ["it has no log.csv"]),
        (widen, ["holds float32 weights", "--half-weights"]),
        (change(errors={"fog": [0.1] * 5}), ["is partial"]),
        (change(weights_sha256="1" * 64), ["does not hold the weights that results.json is about"]),
        (lambda run: (run / "model.safetensors").write_bytes(b"no"), ["damaged"]),
    ],
)
def test_what_is_no_release_is_not_staged(tmp_path, run_inside, spoil, words):
    run = half_run(tmp_path / "run")
    spoil(run)
    process = run_inside(stage.main, "stage.py", run, "--releases", tmp_path / "to", "--cards", tmp_path / "cards")
    assert_one_clear_line(process, *words)
    assert not (tmp_path / "to").exists()


def test_the_list_names_what_is_missing(tmp_path, run_inside):
    places = ("--releases", tmp_path, "--trained", tmp_path)
    everything = run_inside(release.main, "release.py", *places).stdout.splitlines()
    assert [line.split()[0] for line in everything] == list(yaml.safe_load(release.PLANNED.read_text()))
    assert all("missing" in line for line in everything)
    assert_one_clear_line(run_inside(release.main, "release.py", "--make", "resnet18"), "unknown release 'resnet18'")
    process = run_inside(
        release.main, "release.py", "--make", "resnet18_cifar_pushpull.cifar10", "--releases", tmp_path
    )
    assert_one_clear_line(process, "compared with resnet18_cifar.cifar10, which is missing")
    assert_one_clear_line(run_inside(release.main, "release.py", "--epochs", "3"), "--epochs 3", "--next")
    process = run_inside(release.main, "release.py", "--measure", "resnet18_cifar.cifar10", *places)
    assert_one_clear_line(process, "is not trained: it lacks recipe.yaml")


@pytest.mark.parametrize("name", yaml.safe_load(release.PLANNED.read_text()))
def test_what_the_plan_says_reaches_the_training(tmp_path, run_inside, monkeypatch, name):
    commands, plan = [], yaml.safe_load(release.PLANNED.read_text())[name]
    done = SimpleNamespace(returncode=0)
    monkeypatch.setattr(
        release, "subprocess", SimpleNamespace(run=lambda command, check: commands.append(command) or done)
    )
    if "baseline" in plan:
        (tmp_path / plan["baseline"]).mkdir()
        (tmp_path / plan["baseline"] / "results.json").touch()
    places = ("--releases", tmp_path, "--trained", tmp_path / "none")
    assert not run_inside(release.main, "release.py", "--make", name, *places, "--epochs", "3").returncode
    options, settings = parse(commands[0][commands[0].index("--recipe") :])
    expected = load_recipe(RECIPES / f"{plan['recipe']}.yaml")
    expected = dataclasses.replace(expected, **plan.get("settings", {}), epochs=3, half_weights=True)
    assert settings == dataclasses.replace(expected, models=(name.split(".")[0],))
    assert (options.recipe, bool(options.baseline)) == (plan["recipe"], "baseline" in plan)


def test_what_waits_to_be_measured_is_planned_whole_and_not_released():
    for folder in (RELEASES.parent / "trained").glob("*"):
        assert folder.name in yaml.safe_load(release.PLANNED.read_text())
        assert not (RELEASES / folder.name).exists()
        RunFolder(folder, resume=True, overwrite=False).read_training()  # compares the weights' hash


def test_the_next_release_is_trained_measured_and_staged(tmp_path, run_inside, start_quickly):
    places = [part for name in ("runs", "releases", "cards") for part in (f"--{name}", tmp_path / name)]
    short = ["--dataset", "digits", "--limit", "60", "--epochs", "1", "--benchmark-limit", "4", "--batch-size", "20"]
    short += ["--model-args", *SMALL_ARGS]
    process = run_command("train/release.py", "--next", *places, *short)
    assert process.returncode == 0, process.stderr
    results = Results.load(tmp_path / "releases" / "resnet18_cifar.cifar10")
    card = (tmp_path / "cards" / "resnet18_cifar.cifar10.md").read_text()
    assert (results.num_images, results.dataset) == (4, "digits")
    assert "epochs is 1, not 30" in card
    first, second = run_inside(release.main, "release.py", *places).stdout.splitlines()[:2]
    assert f"clean error {results.clean_error:.2%}, mCE {results.mce:.2%} on 4 images" in first
    assert "1 epochs of 30" in first
    assert "missing" in second

    # The same on two machines: what is trained on the first is measured on the second.
    run, name = tmp_path / "runs" / "resnet18_cifar.cifar10", "resnet18_cifar.cifar10"
    places[1] = tmp_path / "first"
    places += ["--trained", tmp_path / "trained"]
    copy_trained(run, tmp_path / "first" / name)
    shutil.rmtree(tmp_path / "releases")
    start_quickly(release)
    release_py = partial(run_inside, release.main, "release.py")
    assert not release_py("--hand-over", name, *places).returncode
    places[1] = tmp_path / "second"
    assert "trained, to be measured: 1 epochs of 30" in release_py(*places).stdout
    process = release_py("--next", *places, *short)
    assert not process.returncode, process.stderr
    assert "trained before" in process.stdout
    again = Results.load(tmp_path / "releases" / name)
    for field in ("clean_error", "errors", "training", "weights_sha256"):
        assert getattr(again, field) == getattr(results, field)
    assert not any((tmp_path / "trained").iterdir())

    # And what is released is measured anew, beside the run that made it.
    before = sorted((tmp_path / "second").rglob("*"))
    assert_one_clear_line(release_py("--measure", name, *places), "holds a run, which would be lost", "--runs")
    assert sorted((tmp_path / "second").rglob("*")) == before
    places[1] = tmp_path / "third"
    process = release_py("--measure", name, *places, "--benchmark-limit", "5")
    assert not process.returncode, process.stderr
    more = Results.load(tmp_path / "releases" / name)
    assert (more.num_images, more.training, more.weights_sha256) == (5, results.training, results.weights_sha256)


def test_the_paper_s_row_of_a_network():
    row = published("resnet18_cifar_pushpull", "uoft-cs/cifar10")
    assert (row.label, row.clean_error, row.mce, row.mrce) == ("ResNet18 PushPull avg3", 0.071, 0.2728, 0.97)
    assert published("resnet50_pushpull5", "imagenet-1k").mce == 0.6452
    assert published("resnet18_cifar", "cifar10").is_baseline
    assert published("resnet18_pushpull", "cifar10") is None
    assert published("resnet18_cifar", "digits") is None
