"""Trainings that start from weights: what fits, what is refused before anything is read, and what is said of it."""

from __future__ import annotations

import argparse
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from accelerate import Accelerator
from huggingface_hub import ModelCard
from safetensors.torch import load_file, save_file

from support.example_run import TRAINING, some_results, write_run
from support.example_training import MODEL, assert_same, read_checkpoint, small_trainer, start
from support.example_training import folder_arguments as arguments
from support.image_folder import make_image_folder
from support.paths import needs_releases
from support.processes import assert_one_clear_line, wait_for_all
from timm_pushpull import InputError
from timm_pushpull.benchmark.results import InitialWeights, Results
from timm_pushpull.cli import main as command
from timm_pushpull.hub.card.metadata import metadata
from timm_pushpull.models.weights import create_model, load_model
from timm_pushpull.utils.files import sha256
from train import initial, train
from train.command_line import parse
from train.data import load_splits
from train.initial import check_initial, load_initial, read_initial
from train.run_folder import RunFolder
from train.settings import Settings

#: The network of `folder_arguments`.
ARGS = {"layers": [1, 1, 1, 1], "channels": [16, 16, 16, 16]}
GENTLE = {"epochs": 1, "warmup-lr": 1e-6, "lr": 1e-5, "min-lr": 1e-6, "precision": "fp32", "batch-size": 12}


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A finished run of a push-pull network."""
    folder = tmp_path_factory.mktemp("initial") / "run"
    write_run(folder, MODEL, **ARGS)
    return folder


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    return make_image_folder(tmp_path_factory.mktemp("initial") / "images")


def settings(source: object, model: str = MODEL, **changes: object) -> Settings:
    return Settings(models=(model,), model_args=ARGS, initial_checkpoint=str(source), **changes)


def loaded(source: object, model: str = MODEL, classes: int = 2, **args: object) -> torch.nn.Module:
    own = replace(settings(source, model), model_args={**ARGS, **{k: v for k, v in args.items() if k != "in_chans"}})
    network = create_model(model, num_classes=classes, **{**ARGS, **args})
    weights = read_initial(own, model)
    assert weights
    load_initial(network, weights, own)
    return network


def test_a_run_a_folder_and_a_file_give_the_same_weights(run):
    tensors = load_file(run / "model.safetensors")
    for source in (run, f"local-dir:{run}", run / "model.safetensors"):
        network = loaded(source)
        assert_same(dict(network.state_dict()), {name: tensors[name] for name in network.state_dict()})
        record = read_initial(settings(source), MODEL).record
        assert record.weights_sha256 == sha256(run / "model.safetensors")
        known = Path(str(source)).suffix != ".safetensors"
        assert record.name == (f"{MODEL}.photos" if known else "model.safetensors")
        assert (record.dataset, record.repository) == ("photos" if known else None, None)


def checkpoint(content: dict[str, torch.Tensor], form: str) -> dict:
    """As timm's and other training scripts save a network."""
    other = {name: torch.zeros_like(tensor) for name, tensor in content.items()}
    return {
        "bare": content,
        "timm": {"epoch": 3, "arch": "x", "state_dict": content, "args": argparse.Namespace(lr=1), "metric": 1.0},
        "average": {"state_dict": other, "state_dict_ema": content, "optimizer": {"state": {}}},
        "distributed": {"model": {f"module.{name}": tensor for name, tensor in content.items()}},
    }[form]


@pytest.mark.parametrize("form", ["bare", "timm", "average", "distributed"])
def test_checkpoints_of_pytorch_are_read_by_training_and_benchmark(run, tmp_path, form):
    network = load_model(f"local-dir:{run}")[0]
    for name in ("network.pth", "network.pth.tar"):
        torch.save(checkpoint(dict(network.state_dict()), form), tmp_path / name)
        assert_same(dict(loaded(tmp_path / name).state_dict()), dict(network.state_dict()))
    plain = create_model("resnet18_cifar", num_classes=3).eval()
    torch.save(checkpoint(dict(plain.state_dict()), form), tmp_path / "plain.pth")
    measured, digest = load_model("resnet18_cifar", str(tmp_path / "plain.pth"))
    assert_same(dict(measured.state_dict()), dict(plain.state_dict()))
    assert digest == sha256(tmp_path / "plain.pth")


class Anything:
    pass


def test_a_pickle_of_objects_is_refused_with_the_lines_that_convert_it(run, tmp_path, monkeypatch):
    network = create_model(MODEL, num_classes=2, **ARGS)
    path = tmp_path / "network.pth"
    torch.save({"state_dict": network.state_dict(), "extra": Anything()}, path)
    for read in (lambda: loaded(path), lambda: load_model(MODEL, str(path))):
        with pytest.raises(InputError, match="holds Python objects besides tensors") as refused:
            read()
    lines = re.search(r"import torch.*", str(refused.value)).group()
    exec(lines.replace("; ", "\n"))
    assert_same(dict(loaded(tmp_path / "network.safetensors").state_dict()), dict(network.state_dict()))


def test_another_number_of_classes_gets_a_new_head_with_the_draws_of_its_seed(run):
    torch.manual_seed(3)
    network = create_model(MODEL, num_classes=5, **ARGS)
    head = network.fc.weight.detach().clone()
    load_initial(network, read_initial(settings(run), MODEL), settings(run))
    assert torch.equal(network.fc.weight, head)
    assert torch.equal(network.conv1.weight, load_file(run / "model.safetensors")["conv1.weight"])


def test_plain_weights_go_into_a_push_pull_network_which_keeps_its_alpha(tmp_path):
    write_run(tmp_path / "plain", "resnet18_cifar", **ARGS)
    network = loaded(tmp_path / "plain", alpha=0.7)
    assert torch.equal(network.conv1.weight, load_file(tmp_path / "plain" / "model.safetensors")["conv1.weight"])
    assert torch.equal(network.conv1.alpha, torch.full_like(network.conv1.alpha, 0.7))


def test_an_alpha_among_the_arguments_is_tuned_instead_of_the_weights_own(run):
    network = loaded(run, alpha=3.0, trainable_alpha=False)
    assert torch.equal(network.conv1.alpha, torch.full_like(network.conv1.alpha, 3.0))
    assert torch.equal(network.conv1.weight, load_file(run / "model.safetensors")["conv1.weight"])


@pytest.mark.parametrize(
    ("model", "args", "words"),
    [
        ("resnet18_cifar", {}, "they have 'conv1.alpha', which the model lacks"),
        (f"{MODEL}5", {}, "conv1 has avg_size 5 but these weights were saved with 3"),
        (MODEL, {"channels": [8] * 4}, "the shape of their"),
        (MODEL, {"layers": [2, 1, 1, 1]}, "they lack 'layer1.1"),
        ("resnet50_cifar_pushpull", {}, "the weights .* do not fit the model"),
    ],
)
@pytest.mark.parametrize("form", ["folder", "file", "pth"])
def test_other_networks_are_refused(run, tmp_path, model, args, words, form):
    source = {"folder": run, "file": run / "model.safetensors", "pth": tmp_path / "a.pth"}[form]
    if form == "pth":
        torch.save(load_model(f"local-dir:{run}")[0].state_dict(), source)
    with pytest.raises(InputError, match=words):
        check_initial(replace(settings(source, model), model_args={**ARGS, **args}), [model])


def test_another_number_of_channels_is_refused(run):
    with pytest.raises(InputError, match=r"the shape of their 'conv1.weight' is .*3, 3, 3.*, not .*1, 3, 3"):
        loaded(run, in_chans=1)


def test_images_are_prepared_as_for_the_pretrained_weights_of_a_name_without_tag(images):
    given = Settings(models=("resnet18_pushpull",), dataset=str(images), batch_size=2)
    for pretrained, size in ((False, 224), (True, 160)):
        own = replace(given, pretrained=pretrained)
        resolved = train.resolve(own, *load_splits(own), Accelerator(cpu=True))
        assert (resolved.img_size, resolved.models) == (size, ("resnet18_pushpull",))


@needs_releases
def test_a_tag_names_pretrained_weights():
    given = Settings(models=("resnet18_cifar_pushpull.cifar10",), pretrained=True)
    weights = read_initial(given, given.models[0])
    assert weights.record.name == "resnet18_cifar_pushpull.cifar10"
    assert weights.record.repository == "timm-pushpull/resnet18_cifar_pushpull.cifar10"
    assert weights.record.dataset == "cifar10"
    check_initial(given, list(given.models))
    other = replace(given, model_args={"avg_size": 5})
    with pytest.raises(InputError, match="avg_size is 5 but these weights were trained with 3"):
        check_initial(other, list(given.models))


def test_the_average_starts_from_the_weights_too(run):
    changes = {"models": (MODEL,), "model_args": ARGS, "num_classes": 2, "initial_checkpoint": str(run)}
    trainer = small_trainer(**changes, model_ema_decay=0.9)
    trainer.start()
    tensors = load_file(run / "model.safetensors")
    assert torch.equal(trainer.released.conv1.weight, tensors["conv1.weight"])
    assert torch.equal(trainer.network.conv1.weight, tensors["conv1.weight"])


def test_a_training_stays_near_the_weights_it_started_from_and_says_which(run, images, tmp_path, run_inside):
    output = tmp_path / "tuned"
    process = run_inside(train.main, *arguments(images, output, **GENTLE), "--initial-checkpoint", f"local-dir:{run}")
    assert process.returncode == 0, process.stderr
    before, after = load_file(run / "model.safetensors"), load_file(output / "model.safetensors")
    for name in ("conv1.alpha", "conv1.weight", "fc.weight"):
        torch.testing.assert_close(after[name], before[name], rtol=0, atol=1e-3)
        assert not torch.equal(after[name], before[name])
    digest = sha256(run / "model.safetensors")
    initial = Results.load(output).training.initial_weights
    assert (initial.name, initial.weights_sha256, initial.dataset) == (f"{MODEL}.photos", digest, "photos")
    assert initial.license == "apache-2.0"
    card = (output / "README.md").read_text()
    assert f"**Started from:** `{MODEL}.photos`, trained on `photos`; SHA-256 `{digest}`" in card
    assert "base_model" not in ModelCard(card).data.to_dict()  # it is not on the Hub
    config = json.loads((output / "config.json").read_text())
    assert set(config["model_args"]) == {"layers", "channels", "avg_size"}
    recipe = yaml.safe_load((output / "recipe.yaml").read_text())
    assert recipe["initial_checkpoint"] == f"local-dir:{run}"
    assert (recipe["mean"], recipe["std"]) == ([0.1, 0.2, 0.3], [0.4, 0.5, 0.6])
    shown = run_inside(command, "timm-pushpull", "info", output)
    assert f"initial_weights: name {MODEL}.photos, weights_sha256 {digest}, dataset photos" in shown.stdout


def write_config(folder: Path, **changes: object) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["pretrained_cfg"].update(changes)
    (folder / "config.json").write_text(json.dumps(config))


def test_images_are_prepared_as_the_config_beside_the_weights_states(run, tmp_path, hub):
    source = tmp_path / "source"
    shutil.copytree(run, source)
    write_config(source, input_size=[3, 48, 48], interpolation="lanczos")
    hub.add("me/a-network", {path.name: path.read_bytes() for path in source.iterdir()})
    stated = {"img_size": 48, "interpolation": "lanczos", "mean": (0.1, 0.2, 0.3), "std": (0.4, 0.5, 0.6)}
    for place in (source, f"local-dir:{source}", "hf-hub:me/a-network@main"):
        assert train.with_preprocessing(settings(place), []) == settings(place, **stated)
    given = settings(source, img_size=32, mean=(0.5,) * 3)
    assert train.with_preprocessing(given, []) == replace(given, std=stated["std"], interpolation="lanczos")
    alone = settings(source / "model.safetensors")
    assert train.with_preprocessing(alone, []) == alone
    # A run that was begun knows it without the weights.
    begun = RunFolder(tmp_path / "run", resume=False, overwrite=False)
    begun.start(settings(source, **stated))
    shutil.rmtree(source)
    begun = RunFolder(tmp_path / "run", resume=True, overwrite=False)
    assert train.with_preprocessing(settings(source), [begun]) == settings(source, **stated)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"mean": [0.1, 0.2]}, "config.json"),
        ({"mean": [123.7, 116.3, 103.5]}, r"config.json' states mean \[123.7, 116.3, 103.5\]; correct it"),
        ({"std": [0.2, 0, 0.2]}, "config.json' states std .*; correct it to values from 0.001 to 10"),
        ({"input_size": [3, 10**6, 10**6]}, "config.json"),
        ({"interpolation": 3}, "config.json"),
    ],
)
def test_a_config_that_states_no_preprocessing_is_refused(run, tmp_path, changes, words):
    shutil.copytree(run, tmp_path / "run")
    write_config(tmp_path / "run", **changes)
    with pytest.raises(InputError, match=words):
        train.with_preprocessing(settings(tmp_path / "run"), [])


def test_an_interpolation_that_pillow_lacks_is_refused(run, images, tmp_path, run_inside):
    shutil.copytree(run, tmp_path / "source")
    write_config(tmp_path / "source", interpolation="sharp")
    process = run_inside(train.main, *arguments(images, tmp_path / "run"), "--initial-checkpoint", tmp_path / "source")
    assert_one_clear_line(process, "unknown interpolation 'sharp'")
    assert not (tmp_path / "run").exists()


def test_a_release_is_the_base_model_of_the_card():
    weights = InitialWeights("a.cifar10", "0" * 64, "cifar10", "timm-pushpull/a.cifar10")
    results = some_results(training=replace(TRAINING, initial_weights=weights))
    assert metadata(results, "title").base_model == "timm-pushpull/a.cifar10"
    assert metadata(some_results(training=TRAINING), "title").base_model is None
    assert Results.from_json(results.to_json()) == results


def test_the_licence_of_the_initial_weights_is_recorded(run, images, tmp_path, run_inside):
    """Of weights that may not be used commercially, and of a file that says nothing of it."""
    base = shutil.copytree(run, tmp_path / "base")
    path = base / "config.json"
    path.write_text(path.read_text().replace('"license": "apache-2.0"', '"license": "cc-by-nc-4.0"'))
    for source, licence in ((f"local-dir:{base}", "cc-by-nc-4.0"), (str(base / "model.safetensors"), "unknown")):
        output = tmp_path / licence
        command_line = (*arguments(images, output, **GENTLE), "--initial-checkpoint", source, "--skip-benchmark")
        process = run_inside(train.main, *command_line)
        assert process.returncode == 0, process.stderr
        assert json.loads((output / "config.json").read_text())["pretrained_cfg"]["license"] == licence


@pytest.mark.slow
def test_pretrained_weights_of_a_tag_are_tuned_and_measured(images, tmp_path, run_inside):
    given = {**GENTLE, "recipe": "digits", "limit": 4, "batch-size": 2, "model-args": [], "benchmark-limit": 1}
    given["model"] = "resnet18_cifar_pushpull.cifar10"
    process = run_inside(train.main, *arguments(images, tmp_path / "run", **given), "--pretrained")
    assert process.returncode == 0, process.stderr
    data = ModelCard((tmp_path / "run" / "README.md").read_text()).data
    assert data.base_model == "timm-pushpull/resnet18_cifar_pushpull.cifar10"
    assert Results.load(tmp_path / "run").model == "resnet18_cifar_pushpull"
    assert len(load_file(tmp_path / "run" / "model.safetensors")["fc.bias"]) == 2


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_a_run_resumes_without_the_weights_it_started_from(run, tmp_path, processes):
    changes = {"limit": 240, "batch-size": 4, "lr": 0.01, "model-args": ["layers=[1,1,1,1]", "channels=[16,16,16,16]"]}
    source = tmp_path / "source"
    shutil.copytree(run, source)
    given = {**changes, "initial-checkpoint": source}
    wait_for_all(start(tmp_path / "whole", processes, "--skip-benchmark", **given))
    commands = start(tmp_path / "run", processes, "--skip-benchmark", **given)
    while not list((tmp_path / "run" / "state").glob("step-*.pt")):
        assert all(one.is_running() for one in commands)
    for one in commands:
        one.close()
    shutil.rmtree(source)
    wait_for_all(start(tmp_path / "run", processes, "--skip-benchmark", "--resume", **given))
    assert_same(read_checkpoint(tmp_path / "run", 120), read_checkpoint(tmp_path / "whole", 120))
    training = json.loads((tmp_path / "run" / "training.json").read_text())
    assert training["initial_weights"]["weights_sha256"] == sha256(run / "model.safetensors")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["--initial-checkpoint", "nowhere.safetensors"], ["no weights at 'nowhere.safetensors'"]),
        (["--initial-checkpoint", "local-dir:nowhere"], ["'nowhere' holds no model.safetensors to start from"]),
        (["--pretrained", "--initial-checkpoint", "x"], ["pretrained and initial_checkpoint exclude each other"]),
        (["--model-args", "pretrained=true"], ["model_args has pretrained, which belongs to what a run starts from"]),
        (["--model-args", "checkpoint_path=x"], ["model_args has checkpoint_path, which belongs to"]),
        (["--model", "resnet50_pushpull5", "--model-args", "--pretrained"], ["resnet50_pushpull5 has no published"]),
    ],
)
def test_bad_weights_are_one_line_before_data_are_read(tmp_path, run_inside, given, words):
    process = run_inside(train.main, *arguments(tmp_path / "no images", tmp_path / "run"), *given)
    assert_one_clear_line(process, *words)
    assert not (tmp_path / "run").exists()


def test_a_hub_id_without_network_is_one_line(tmp_path, run_inside, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    given = ["--initial-checkpoint", "hf-hub:nobody/nothing@main"]
    process = run_inside(train.main, *arguments(tmp_path / "no images", tmp_path / "run"), *given)
    assert_one_clear_line(process, "cannot load model.safetensors of nobody/nothing@main: it is not in the cache")


def test_the_hub_s_weights_name_their_repository(run, hub):
    hub.add("me/a-network", {path.name: path.read_bytes() for path in run.iterdir()})
    weights = read_initial(settings("hf-hub:me/a-network@main"), MODEL)
    assert_same(dict(weights.state), load_file(run / "model.safetensors"))
    assert (weights.record.name, weights.record.repository) == (f"{MODEL}.photos", "me/a-network")
    assert weights.record.dataset == "photos"
    hub.add("me/bare", {"model.safetensors": (run / "model.safetensors").read_bytes()})
    record = read_initial(settings("hf-hub:me/bare"), MODEL).record
    assert (record.name, record.dataset, record.repository) == ("model.safetensors", None, "me/bare")


def test_files_without_a_header_get_the_pooling_of_their_config(run, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    save_file(load_file(run / "model.safetensors"), tmp_path / "run" / "model.safetensors")
    assert initial.read_initial(settings(tmp_path / "run"), MODEL).state._metadata == {"conv1": {"avg_size": 3}}
    with pytest.raises(InputError, match="avg_size 5"):
        check_initial(settings(tmp_path / "run", f"{MODEL}5"), [f"{MODEL}5"])


def test_parse_knows_the_flags():
    assert parse(["--pretrained"])[1].pretrained
    assert parse(["--initial-checkpoint", "x"])[1].initial_checkpoint == "x"
