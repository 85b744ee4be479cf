"""The releases: what the registry advertises is there, loads, and is what its card says; the list and the staging."""

from __future__ import annotations

import dataclasses
import json
import shutil
from functools import partial

import pytest
import safetensors.torch
import timm
import torch
import yaml

import stage
from support.example_run import SMALL, SMALL_ARGS, write_run
from support.paths import ROOT, needs_releases, shared_path
from support.processes import assert_one_clear_line, run_command
from timm_pushpull import InputError
from timm_pushpull.benchmark.paper import row_of
from timm_pushpull.benchmark.results import Results
from timm_pushpull.hub import Release, verify
from timm_pushpull.hub.staging import rebase_image, shown_results_sha256
from timm_pushpull.models import NAMESPACE, RELEASES, efficientnet, resnet
from timm_pushpull.utils.files import sha256
from train import release
from train.command_line import parse, training_command
from train.settings import Settings, load_recipe

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
    assert set(OURS) <= set(release.load_planned())


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
    recipe, plan = load_recipe(folder / "recipe.yaml"), release.load_planned()[name]
    assert dataclasses.replace(recipe, **plan.changes) == recipe
    if recipe.epochs != plan.settings.epochs:
        assert f"epochs is {recipe.epochs}, not {plan.settings.epochs}" in card
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


def test_a_published_recipe_names_no_home_folder(tmp_path, monkeypatch):
    run = half_run(tmp_path / "run")
    recipe = yaml.safe_load((run / "recipe.yaml").read_text())
    given = {"dataset": f"{tmp_path}/bob/photos", "initial_checkpoint": "https://me:secret@host.org/x.pth"}
    (run / "recipe.yaml").write_text(yaml.safe_dump(recipe | given))
    monkeypatch.setenv("HOME", str(tmp_path / "bob"))
    target = stage.stage(run, tmp_path / "releases", tmp_path / "cards", ROOT / "LICENSE", "small")
    stored = yaml.safe_load((target / "recipe.yaml").read_text())
    assert stored == recipe | {"dataset": "~/photos", "initial_checkpoint": "https://***@host.org/x.pth"}
    assert "secret" not in (target / "README.md").read_text()
    assert "bob" not in (target / "README.md").read_text()


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


def test_the_list_names_what_is_missing(tmp_path, run_inside, monkeypatch):
    monkeypatch.setattr(release, "STUDIES", tmp_path)
    everything = run_inside(release.main, "release.py", "--releases", tmp_path).stdout.splitlines()
    assert [line.split()[0] for line in everything] == list(release.load_planned())
    assert all("missing" in line for line in everything)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (("--stage", "resnet18"), ["unknown release 'resnet18'"]),
        (("--measure", "resnet18"), ["unknown release 'resnet18'"]),
        (("--epochs", "3"), ["--epochs 3", "--measure NAME"]),
        (("--stage", "resnet18_cifar.cifar10", "--epochs", "3"), ["--epochs 3", "--measure NAME"]),
        (("--stage", "resnet18_cifar.cifar10"), ["resnet18_cifar.cifar10", "no"]),
        (("--measure", "resnet18_cifar.cifar10"), ["is no finished run: it lacks recipe.yaml"]),
        (("--measure", "resnet18_cifar.cifar10", "--outp", "x"), ["--measure decides --outp itself"]),
        (("--measure", "resnet18_cifar_pushpull.cifar10"), ["compared with resnet18_cifar.cifar10, which is missing"]),
    ],
)
def test_bad_commands_end_with_one_line(tmp_path, run_inside, given, words):
    places = [part for name in ("releases", "runs", "cards") for part in (f"--{name}", tmp_path / name)]
    assert_one_clear_line(run_inside(release.main, "release.py", *given, *places), *words)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("a.b: {recipe: digits", "is no list of releases"),
        ("[a.b]", "is no list of releases"),
        ("a.b: {}", "is no list of releases: KeyError: 'recipe'"),
        ("a.b: {recipe: digit}", "unknown recipe 'digit'"),
        ("a.b: {recipe: digits, baseline: c.b}", "unknown baseline"),
        ("a.b: {recipe: digits, lr: 1}", "release a.b of .*unknown key 'lr'"),
        ("a.b: {recipe: digits, settings: {lrs: 1}}", "unknown setting 'lrs'; did you mean 'lr'"),
    ],
)
def test_bad_lists_of_releases_are_named(tmp_path, content, words):
    (tmp_path / "releases.yaml").write_text(content)
    with pytest.raises(InputError, match=words):
        release.load_planned(tmp_path / "releases.yaml")


@pytest.mark.parametrize("name", release.load_planned())
def test_what_the_plan_says_reaches_the_training(tmp_path, name):
    plan = release.load_planned()[name]
    command = training_command(plan.recipe, plan.model, tmp_path, {"half_weights": True, **plan.changes})
    options, settings = parse(command[command.index("--recipe") :])
    assert settings == dataclasses.replace(plan.settings, half_weights=True)
    assert (settings.models, options.recipe, options.resume) == ((name.split(".")[0],), plan.recipe, True)


def test_weights_of_another_schedule_are_outdated():
    plan = release.load_planned()["resnet50_cifar.cifar10"]
    trained = dataclasses.replace(plan.settings, dataset="../elsewhere", resize=32, num_classes=10, half_weights=True)
    assert plan.outdated(trained) == []
    trained = dataclasses.replace(trained, epochs=8, cycle_momentum=False)
    assert plan.outdated(trained) == ["epochs is 8, not 30", "cycle_momentum is False, not True"]
    first = {"models": ["resnet18_cifar"], "epochs": 30, "lr_peak": 0.2, "lr_end": 5e-6, "resize": 32, "image_size": 32}
    first |= {"crop_padding": 4, "preset": "cifar10-c"}  # written before momentum could cycle
    found = release.load_planned()["resnet18_cifar.cifar10"].outdated(Settings.from_mapping(first, "recipe.yaml"))
    assert found == ["min_lr is 5e-06, not 1.25e-07", "cycle_momentum is False, not True"]


def test_a_run_is_staged_listed_and_measured_anew(tmp_path, run_inside, start_quickly):
    name = "resnet18_cifar.cifar10"
    places = [part for place in ("releases", "cards") for part in (f"--{place}", tmp_path / place)]
    short = ["--dataset", "digits", "--limit", "60", "--epochs", "1", "--benchmark-limit", "4", "--batch-size", "20"]
    command = training_command("cifar10", "resnet18_cifar", tmp_path / "runs" / name, {"half_weights": True})
    process = run_command(*command[1:], *short, "--model-args", *SMALL_ARGS)
    assert process.returncode == 0, process.stderr
    release_py = partial(run_inside, release.main, "release.py")
    process = release_py("--stage", name, "--runs", tmp_path / "runs", *places)
    assert process.stdout.strip() == str(tmp_path / "releases" / name), process.stderr
    results = Results.load(tmp_path / "releases" / name)
    assert (results.num_images, results.dataset) == (4, "digits")
    assert "epochs is 1, not 30" in (tmp_path / "cards" / f"{name}.md").read_text()
    first, second = release_py(*places).stdout.splitlines()[:2]
    assert f"clean error {results.clean_error:.2%} and mCE {results.mce:.2%} on 4 images; 1 epochs, seed 1234" in first
    assert "; outdated: " in first
    assert "epochs is 1, not 30" in first
    assert "missing" in second

    # What is released is measured anew, in another run folder than that which made it.
    start_quickly(release)
    before = sorted((tmp_path / "runs").rglob("*"))
    process = release_py("--measure", name, "--runs", tmp_path / "runs", *places)
    assert_one_clear_line(process, "holds a run, which would be lost", "--runs")
    assert sorted((tmp_path / "runs").rglob("*")) == before
    process = release_py("--measure", name, "--runs", tmp_path / "more", *places, "--benchmark-limit", "5")
    assert not process.returncode, process.stderr
    assert "trained before" in process.stdout
    more = Results.load(tmp_path / "releases" / name)
    assert (more.num_images, more.training, more.weights_sha256) == (5, results.training, results.weights_sha256)


def test_without_weights_only_the_results_are_kept(tmp_path, run_inside, monkeypatch):
    monkeypatch.setattr(release, "STUDIES", tmp_path / "studies")
    name = "resnet18_pushpull5.imagenette"
    places = [part for place in ("releases", "cards", "runs") for part in (f"--{place}", tmp_path / place)]
    release_py = partial(run_inside, release.main, "release.py")
    write_run(tmp_path / "runs" / name, "resnet18_pushpull5")
    process = release_py("--stage", name, *places)
    kept = tmp_path / "studies" / "imagenette" / f"{name}.json"
    assert process.stdout.strip() == str(kept), process.stderr
    assert Results.load(kept) == Results.load(tmp_path / "runs" / name)
    assert not (tmp_path / "releases").exists()
    (line,) = (line for line in release_py(*places).stdout.splitlines() if line.startswith(name))
    assert "epochs, results only" in line
    assert name not in release_py("--table", *places).stdout
    assert_one_clear_line(release_py("--measure", name, *places), f"the weights of {name} are not kept")


def test_the_paper_s_row_of_a_network():
    row = row_of("resnet18_cifar_pushpull", "uoft-cs/cifar10")
    assert (row.label, row.clean_error, row.mce, row.mrce) == ("ResNet18 PushPull avg3", 0.071, 0.2728, 0.97)
    assert row_of("resnet50_pushpull5", "imagenet-1k").mce == 0.6452
    assert row_of("resnet18_cifar", "cifar10").is_baseline
    assert row_of("resnet18_pushpull", "cifar10") is None
    assert row_of("resnet18_cifar", "digits") is None
