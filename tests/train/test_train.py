"""Training as users start it: real processes on a small image folder."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import MagicMock

import numpy as np
import pytest
import safetensors.torch
import timm
import torch
import yaml

from support.example_run import SMALL_ARGS
from support.example_training import MODEL, RUN_FILES, TRAIN, read_log
from support.example_training import folder_arguments as arguments
from support.paths import ROOT
from support.processes import assert_one_clear_line, run_command, run_on_small_disk
from timm_pushpull import InputError
from timm_pushpull.data.images import decode_image
from timm_pushpull.data.loading import load_images
from timm_pushpull.data.preprocessing import ResizeCenterCrop
from train import train
from train.batches import epoch_order
from train.launch import memory_advice
from train.run_folder import Checkpoints, TrainState
from train.settings import Settings
from train.trainer import Trainer, save_checkpoint
from train.training_images import TrainingImages


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return safetensors.torch.load_file(folder / "model.safetensors")


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> tuple[Path, Path, subprocess.CompletedProcess[str]]:
    """One short run: its data, its folder, its process."""
    from support.image_folder import make_image_folder

    base = tmp_path_factory.mktemp("finished")
    dataset = make_image_folder(base / "photos")
    return dataset, base / "run", run_command(*arguments(dataset, base / "run"))


def test_a_run_writes_the_whole_folder(finished):
    _, folder, process = finished
    assert process.returncode == 0, process.stderr
    assert {entry.name for entry in folder.iterdir()} == RUN_FILES
    results = json.loads((folder / "results.json").read_text())
    assert (results["model"], results["dataset"], results["num_images"]) == (MODEL, "photos", 4)
    assert results["partial"] is False
    recipe = yaml.safe_load((folder / "recipe.yaml").read_text())
    assert (recipe["models"], recipe["epochs"], recipe["img_size"], recipe["num_classes"]) == ([MODEL], 2, 32, 2)
    assert "photos" in (folder / "README.md").read_text()


def test_the_log_follows_the_one_cycle_schedule(finished):
    log = read_log(finished[1])
    assert [row["epoch"] for row in log] == [1, 2]
    # 24 images in batches of 8 for 2 epochs: 6 steps, peak after 30 %. The log has the last step's.
    assert log[-1]["learning_rate"] == pytest.approx(5e-6, rel=1e-6)
    assert log[0]["learning_rate"] == pytest.approx(one_cycle(2, 6, 0.005, 0.05, 5e-6), rel=1e-6)


def one_cycle(step: int, steps: int, start: float, peak: float, end: float) -> float:
    """The cosine one-cycle learning rate before a step, counted from 0 (Smith and Topin 2019; peak at 30 %)."""
    top = 0.3 * steps - 1
    part, first, last = (step / top, start, peak) if step <= top else ((step - top) / (steps - 1 - top), peak, end)
    return last + (first - last) * (1 + np.cos(np.pi * part)) / 2


def test_the_log_tells_how_alpha_is_distributed(finished):
    alpha = weights(finished[1])["conv1.alpha"]
    last = read_log(finished[1])[-1]
    expected = (alpha.mean(), alpha.std(correction=0), alpha.min(), alpha.max())
    found = [last[f"alpha_{name}"] for name in ("mean", "std", "min", "max")]
    assert found == pytest.approx([value.item() for value in expected], rel=1e-6)


def test_a_tracker_gets_the_losses_and_the_epochs(finished, tmp_path, run_inside):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder = tmp_path / "run"
    process = run_inside(train.main, *arguments(finished[0], folder, tracker="tensorboard", epochs=1))
    assert process.returncode == 0, process.stderr
    events = EventAccumulator(str(folder / "tracking" / "timm-pushpull")).Reload()
    (row,) = read_log(folder)
    for tag, column in (("epoch_loss", "loss"), ("epoch_test_error", "test_error"), ("alpha_mean", "alpha_mean")):
        ((value, step),) = ((event.value, event.step) for event in events.Scalars(tag))
        assert (value, step) == (pytest.approx(row[column], rel=1e-6), 3)
    assert [event.step for event in events.Scalars("loss")] == [1, 2, 3]  # the first two windows have one step


def test_a_resumed_run_goes_on_in_the_trackers_own(finished, tmp_path):
    folder, environment = tmp_path / "run", {"TRACKIO_DIR": str(tmp_path / "trackio")}
    command = [*arguments(finished[0], folder, tracker="trackio", epochs=1), "--resume"]
    for _ in range(2):
        process = run_command(*command, **environment)
        assert process.returncode == 0, process.stderr
        (folder / "results.json").unlink()  # as if it was killed while it measured
    asked = ["list", "runs", "--project", "timm-pushpull", "--json"]
    (found,) = json.loads(run_command("-m", "trackio.cli", *asked, **environment).stdout)["runs"]
    assert found.startswith(f"{MODEL}-")
    asked = ["get", "run", "--project", "timm-pushpull", "--run", found, "--json"]
    metrics = json.loads(run_command("-m", "trackio.cli", *asked, **environment).stdout)["metrics"]
    assert {"loss", "learning_rate", "epoch_test_error", "alpha_mean"} <= set(metrics)


def test_model_arguments_reach_the_network_and_its_folder(finished, tmp_path, run_inside):
    folder = tmp_path / "run"
    command = [
        *arguments(finished[0], folder, epochs=1),
        "--model-args",
        *SMALL_ARGS,
        "alpha=2.5",
        "trainable_alpha=false",
    ]
    process = run_inside(train.main, *command)
    assert process.returncode == 0, process.stderr
    model = timm.create_model(f"local-dir:{folder}", pretrained=True)
    assert model.conv1.alpha.tolist() == [2.5] * 64
    assert "conv1.alpha" not in dict(model.named_parameters())
    process = run_inside(train.main, *arguments(finished[0], tmp_path / "no"), "--model-args", "beta=1")
    assert_one_clear_line(process, "cannot create resnet18_cifar_pushpull", "beta")
    for text in ("alpha", "alpha=", "=2", "alpha=["):
        process = run_inside(train.main, *arguments(finished[0], tmp_path / "no"), "--model-args", text)
        assert_one_clear_line(process, f"{text!r} is not KEY=VALUE")


def test_a_network_with_infinite_weights_is_never_saved(finished, tmp_path):
    from accelerate import Accelerator

    settings = Settings(models=(MODEL,), num_classes=2, lr=0.3, mean=(0.5,) * 3, std=(0.2,) * 3)
    trainer = Trainer(settings, 640, Accelerator(cpu=True))
    checkpoints = Checkpoints(tmp_path, {}, 0)
    save_checkpoint(trainer, TrainState(step=3), checkpoints)
    with torch.no_grad():
        trainer.network.fc.bias[1] = float("inf")
    message = r"epoch 1, step 5 of 10, at learning rate 0.005; use a lower --lr \(it is 0.3\)"
    with pytest.raises(InputError, match=message):
        save_checkpoint(trainer, TrainState(step=4), checkpoints)
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["step-00000003.pt"]


def test_out_of_memory_is_one_line_with_the_way_out():
    settings = Settings(models=(MODEL,), grad_accum_steps=2)
    with pytest.raises(InputError, match="batch_size 64 in 2 parts; use --grad-accum-steps 4"), memory_advice(settings):
        torch.empty(2**60)
    with pytest.raises(RuntimeError, match="another"), memory_advice(settings):
        raise RuntimeError("another")


def test_the_printed_command_loads_the_result_with_the_measured_error(finished):
    dataset, folder, process = finished
    command = next(line for line in process.stdout.splitlines() if "python -c" in line).strip()
    code = command.split('"')[1]
    # A new interpreter: a forked one has imported the package already, whatever the command imports.
    assert (
        run_command("-c", f"{code}; assert model(__import__('torch').zeros(1, 3, 32, 32)).shape == (1, 2)").returncode
        == 0
    )
    model = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    config = timm.data.resolve_model_data_config(model)
    images = load_images(str(dataset)).subset(4)
    transform = timm.data.create_transform(**config)
    wrong = [
        model(transform(images.read(row)).unsqueeze(0)).argmax().item() != images.labels[row] for row in images.indices
    ]
    assert json.loads((folder / "results.json").read_text())["clean_error"] == np.mean(wrong)
    torch.testing.assert_close(model.conv1.alpha.detach(), weights(folder)["conv1.alpha"])


def test_the_same_seed_gives_the_same_weights_and_another_does_not(finished, tmp_path):
    dataset, folder, _ = finished
    assert run_command(*arguments(dataset, tmp_path / "again")).returncode == 0
    for name, tensor in weights(folder).items():
        torch.testing.assert_close(weights(tmp_path / "again")[name], tensor, rtol=0, atol=0)
    assert run_command(*arguments(dataset, tmp_path / "other", seed=2)).returncode == 0
    assert not torch.equal(weights(tmp_path / "other")["conv1.weight"], weights(folder)["conv1.weight"])


@pytest.mark.slow  # two processes without a launcher are in test_distributed.py
def test_torchrun_with_two_processes_writes_one_run(finished, tmp_path):
    dataset, _, _ = finished
    process = run_command(
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc_per_node",
        "2",
        *arguments(dataset, tmp_path / "two", **{"batch-size": 9}),
        OMP_NUM_THREADS="1",
    )
    assert process.returncode == 0, process.stderr
    assert {entry.name for entry in (tmp_path / "two").iterdir()} == RUN_FILES
    assert process.stdout.count("Load the result") == 1
    results = json.loads((tmp_path / "two" / "results.json").read_text())
    assert results["num_images"] == 4
    # Every image was seen once an epoch, and the counts are whole numbers of images.
    for row in read_log(tmp_path / "two"):
        assert row["train_error"] * 24 == pytest.approx(round(row["train_error"] * 24), abs=1e-9)
        assert row["test_error"] * 10 == pytest.approx(round(row["test_error"] * 10), abs=1e-9)


def test_the_default_recipe_trains_a_baseline_and_compares_with_it(tmp_path):
    """The README's main job, launched as there, on fewer images."""
    process = run_command(
        "-m",
        "accelerate.commands.launch",
        TRAIN,
        "--model-args",
        *SMALL_ARGS,
        "--limit",
        "40",
        "--epochs",
        "1",
        "--batch-size",
        "20",
        "--benchmark-limit",
        "10",
        "--output",
        tmp_path / "run",
    )
    assert process.returncode == 0, process.stderr
    for name in ("resnet18_cifar", MODEL):
        assert {entry.name for entry in (tmp_path / "run" / name).iterdir()} == RUN_FILES
    assert "baseline" in (tmp_path / "run" / MODEL / "README.md").read_text()
    lines = process.stdout.splitlines()
    assert any(line.startswith("| resnet18_cifar ") for line in lines)
    assert lines[-1].strip().startswith("python -c")


def test_overwrite_replaces_a_run_and_nothing_else(finished, tmp_path, run_inside):
    dataset, _, _ = finished
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "recipe.yaml").write_text("old")
    (tmp_path / "results.json").write_text("old")
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "last.pt").write_text("old")
    assert run_command(*arguments(dataset, tmp_path), "--overwrite").returncode == 0
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert json.loads((tmp_path / "results.json").read_text())["num_images"] == 4


@pytest.mark.parametrize("more", [[], ["--resume"], ["--overwrite"]])
def test_files_that_are_no_run_are_left_alone(finished, tmp_path, run_inside, more):
    (tmp_path / "README.md").write_text("mine")
    (tmp_path / "state").mkdir()
    process = run_inside(train.main, *arguments(finished[0], tmp_path), *more)
    assert_one_clear_line(process, "already holds other files (README.md, ...) and no run; use another --output")
    assert "overwrite" not in process.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"README.md", "state"}


#: Runs scripts as `python SCRIPT --help` does, where Python puts their folder on its path, and not the root of the
#: checkout. In forks, so that the libraries are imported once.
START = """
import accelerate, os, runpy, sys, timm
for script in sys.argv[1:]:
    child = os.fork()
    if not child:
        sys.path[0], sys.argv = os.path.dirname(script), [script, "--help"]
        runpy.run_path(script, run_name="__main__")
    assert os.waitpid(child, 0)[1] == 0, script
"""


def test_scripts_start_from_any_folder(tmp_path):
    scripts = ["train", "release", "study", "run_queue"]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"COLUMNS": "100"}
    command = [sys.executable, "-c", START, *(str(ROOT / "train" / f"{script}.py") for script in scripts)]
    process = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    assert re.findall(r"^usage: (\w+)\.py", process.stdout, re.MULTILINE) == scripts
    assert max(map(len, process.stdout.splitlines())) <= 100


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model": "resnet18_pushpul"}, ["unknown model", "did you mean 'resnet18_pushpull'"]),
        ({"model": "QQ"}, ["unknown model 'QQ'; the nearest of ", "timm.list_models() has them all"]),
        ({"model": "local-dir:./run"}, ["'local-dir:./run', a place with weights", "name of an architecture"]),
        ({"recipe": "cifar"}, ["unknown recipe 'cifar'", "cifar10"]),
        ({"dataset": "./nowhere"}, ["no dataset folder at './nowhere'"]),
        ({"num-classes": "5"}, ["num_classes is 5", "2 classes"]),
        ({"batch-size": "25"}, ["batch_size is 25", "24"]),
        ({"lr": "0"}, ["lr is 0"]),
        ({"lr": "fast"}, ["--lr"]),
        ({"epochs": "0"}, ["epochs is 0"]),
        ({"output": "/proc/nowhere/run"}, ["cannot write '/proc/nowhere/run'"]),
        ({"img-size": "64"}, ["image size 64"]),
        ({"img-size": "28", "preset": "imagenet-c"}, ["28 x 28 px; preset 'imagenet-c' needs at least 32 px"]),
        ({"warmup": "0.5", "epochs": "1", "batch-size": "12"}, ["warmup is 0.5"]),
        ({"baseline": "nowhere"}, ["nowhere"]),
        ({"lr": "1e30"}, ["the loss is", "in epoch 1, step ", "at learning rate", "lower --lr"]),
        ({"clip-grad": "0"}, ["clip_grad is 0"]),
        ({"model-ema-decay": "1"}, ["model_ema_decay is 1"]),
        ({"smoothing": "-0.1"}, ["smoothing is -0.1"]),
        ({"tracker": "tensorbord"}, ["unknown tracker 'tensorbord'", "did you mean 'tensorboard'"]),
        ({"classes": "imagenet100"}, ["unknown class 'n01514668'"]),
        ({"classes": "nowhere.txt"}, ["nowhere.txt"]),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(finished, tmp_path, run_inside, changes, words):
    dataset, _, _ = finished
    assert_one_clear_line(run_inside(train.main, *arguments(dataset, tmp_path / "run", **changes)), *words)
    if changes.get("lr") != "1e30":
        assert not (tmp_path / "run").exists()


def test_damaged_images_and_folders_without_images_write_nothing(tmp_path, image_folder, run_inside):
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "train.txt").write_text("no photo")
    process = run_inside(train.main, *arguments(tmp_path / "texts", tmp_path / "run"))
    assert_one_clear_line(process, "holds no images")
    for victim in ("test/dark/3.png", "train/light/3.png"):
        path = image_folder / victim
        path.write_bytes(path.read_bytes()[:300])
        process = run_inside(train.main, *arguments(image_folder, tmp_path / "run"))
        assert_one_clear_line(process, victim, "cannot be read")
    assert not (tmp_path / "run").exists()


def test_test_images_are_decoded_once_where_they_fit_into_memory(tmp_path, image_folder, run_inside, monkeypatch):
    files: list[str] = []
    counted = lambda file, *more: files.append(str(file)) or decode_image(file, *more)  # noqa: E731
    monkeypatch.setattr("timm_pushpull.data.images.decode_image", counted)
    counts, logs = {}, {}
    for name, memory in (("kept", 2**30), ("read", 0)):
        monkeypatch.setattr("train.training_images._IN_MEMORY", memory)
        files.clear()
        given = arguments(image_folder, tmp_path / name, epochs=3, workers=0)
        process = run_inside(train.main, *given, "--skip-benchmark")
        assert process.returncode == 0, process.stderr
        counts[name] = sum("/test/" in file for file in files)
        logs[name] = read_log(tmp_path / name)
    assert logs["kept"] == logs["read"]
    # 10 images; the size of the first one is looked at before each of the 3 tests.
    assert counts == {"kept": 10 + 3, "read": 3 * (10 + 1)}


def test_a_full_disk_is_one_line_and_leaves_no_part(finished, tmp_path):
    dataset, _, _ = finished
    process, left = run_on_small_disk(tmp_path / "disk", *arguments(dataset, tmp_path / "disk" / "run"))
    assert_one_clear_line(process, "cannot write", "no space left")
    assert left == {"run/recipe.yaml", "run/log.csv"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"epoch": 3}, "did you mean 'epochs'"),
        ({"epochs": 1.5}, "whole number"),
        ({"seed": 2**32}, "seed is 4294967296"),
        ({"flip": "yes"}, "hflip is 'yes'"),
        ({"lr": "fast"}, "lr is 'fast'"),
        ({"mean": [0.1]}, "mean has 1 values"),
        ([1], "no mapping"),
        ({"dataset": 5}, "dataset is 5"),
    ],
)
def test_bad_recipes_are_named(content, message):
    with pytest.raises(InputError, match=message):
        Settings.from_mapping({"models": ["resnet18"], **content} if isinstance(content, dict) else content, "x.yaml")


def test_yaml_numbers_without_a_point_are_numbers():
    assert Settings.from_mapping(yaml.safe_load("{models: [resnet18], min_lr: 1e-5}"), "text").min_lr == 1e-5


@pytest.mark.parametrize(("count", "batch"), [(24, 8), (25, 8), (1442, 64), (7, 7), (8, 7)])
def test_an_epoch_sees_every_image_once_in_even_batches(count, batch):
    order = epoch_order(count, batch, seed=1, epoch=0)
    assert sorted(np.concatenate(order)) == list(range(count))
    sizes = {len(b) for b in order}
    assert max(sizes) <= batch
    assert max(sizes) - min(sizes) <= 1
    assert not np.array_equal(np.concatenate(order), np.concatenate(epoch_order(count, batch, seed=1, epoch=1)))


class SquareGeometry(ResizeCenterCrop):
    """The folder's images have three sizes; this makes one of them."""

    def resized(self, photo):
        return super().resized(photo)[:34, :34]


@pytest.mark.parametrize("where", ["one tensor", "memory", "disk"])
def test_training_images_are_crops_of_their_images_some_mirrored(image_folder, where, monkeypatch):
    monkeypatch.setattr("train.training_images._IN_MEMORY", 0 if where == "disk" else 2**40)
    geometry = ResizeCenterCrop(30, 34)
    if where == "one tensor":
        geometry = SquareGeometry(30, 34)
    images = load_images(str(image_folder), train=True)
    training = TrainingImages(images, geometry, padding=2, hflip=0.5, seed=0, device=torch.device("cpu"))
    assert (training.in_memory, training.pixels is not None) == (where != "disk", where == "one tensor")
    training.set_epoch(0)
    batches = epoch_order(len(images), 6, 0, 0)
    found, mirrored = [], 0
    for batch, order in zip(training.batches(batches, 2), batches, strict=True):
        for pixels, label, position in zip(*batch, order, strict=True):
            source = np.pad(geometry.resized(images.read(position)), ((2, 2), (2, 2), (0, 0)))
            windows = np.lib.stride_tricks.sliding_window_view(source, (30, 30, 3)).reshape(-1, 30, 30, 3)
            plain, mirror = (
                (windows == p).all(axis=(1, 2, 3)).any() for p in (pixels.numpy(), pixels.numpy()[:, ::-1])
            )
            assert plain or mirror
            mirrored += mirror
            assert label == images.labels[position]
            found.append(position)
    assert sorted(found) == list(range(24))
    assert 4 < mirrored < 20


@pytest.mark.parametrize(
    ("dataset", "task", "tag"),
    [("my photos.v1", "classification", "my_photos_v1"), ("zh-plus/tiny", "retrieval", "tiny_retrieval")],
)
def test_the_tag_of_the_weights_can_be_published(dataset, task, tag, monkeypatch):
    saved = []
    monkeypatch.setattr(train, "save_model", lambda *given, tag, **options: saved.append(tag) or "0" * 64)
    settings = SimpleNamespace(task=task, half_weights=False, model_args={}, epochs=1, precision="fp32")
    trainer = MagicMock(settings=settings, accelerator=MagicMock(is_main_process=True, device="cpu"))
    data = MagicMock(test=SimpleNamespace(name=dataset, classes=("a", "b")))
    data.train.__len__.return_value = 2
    train.save_weights(MagicMock(), trainer, data, TrainState(seconds=1.0), [])
    assert saved == [tag]
