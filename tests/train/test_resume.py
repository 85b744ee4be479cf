"""Runs that are cut off: killed at any step, with one and with two processes, and with states that went bad."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from support.example_training import MODEL, STEPS, assert_same, folder_arguments, read_checkpoint, start
from support.example_training import digits_arguments as arguments
from support.image_folder import make_image_folder
from support.processes import assert_one_clear_line, wait_for_all
from timm_pushpull import InputError
from timm_pushpull.benchmark.progress_log import pack_errors
from timm_pushpull.benchmark.results import Results
from timm_pushpull.models.weights import CONFIG, WEIGHTS
from timm_pushpull.utils.json_text import with_checksum
from train import train
from train.run_folder import BENCHMARK_LOG, LOG, RECIPE, TRAINING, Checkpoints, copy_trained
from train.settings import RENAMED, Settings, load_recipe
from train.trainer import Trainer


@pytest.fixture(scope="module", params=[1, pytest.param(2, marks=pytest.mark.slow)])
def whole(request, tmp_path_factory) -> tuple[int, Path]:
    """An uninterrupted run: its number of processes and its folder."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    wait_for_all(start(folder, request.param))
    return request.param, folder


def newest(run: Path) -> str:
    return max((path.name for path in (run / "state").glob("step-*.pt")), default="")


@pytest.mark.slow
def test_killed_again_and_again_a_run_ends_as_if_nothing_had_happened(whole, tmp_path):
    processes, folder = whole
    kills = 10 if processes == 1 else 3
    rng, run, places = random.Random(1), tmp_path / "run", []
    for number in range(kills):
        commands = start(run, processes, "--resume")
        # A third dies while it starts, the others at any moment after the next state: in a step, a test, a saving.
        before = newest(run)
        while number % 3 and newest(run) == before and all(command.is_running() for command in commands):
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.1 if number % 3 else 1))
        for command in commands:
            assert command.is_running()
            command.close()
        places.append(newest(run))
    assert len(set(places)) >= 1 + kills // 3
    assert not (run / "results.json").exists()
    wait_for_all(start(run, processes, "--resume"))
    assert_same(read_checkpoint(run), read_checkpoint(folder))
    for name in ("model.safetensors", "log.csv", "recipe.yaml", "config.json"):
        assert (run / name).read_bytes() == (folder / name).read_bytes(), name
    assert not list(run.rglob("*.tmp"))


def test_a_trained_network_is_measured_without_any_state_and_measuring_resumed(whole, tmp_path):
    processes, folder = whole
    if processes > 1:
        pytest.skip("the benchmark's own tests have two")
    results, journal, limit = Results.load(folder), tmp_path / "killed" / BENCHMARK_LOG, {"benchmark-limit": 40}
    for name in ("whole", "killed"):
        copy_trained(folder, tmp_path / name)
        recipe = tmp_path / name / RECIPE
        recipe.write_text(recipe.read_text().replace("precision: fp32", "precision: bf16"))  # by a machine that has it
    wait_for_all(start(tmp_path / "whole", 1, "--resume", **limit))
    (command,) = start(tmp_path / "killed", 1, "--resume", **limit)
    while command.is_running() and (not journal.exists() or journal.read_bytes().count(b"\n") < 5):
        time.sleep(0.01)
    assert command.is_running()
    command.close()
    # What is kept is not measured again: an error in it stays.
    identity, first, *others = journal.read_text().splitlines(keepends=True)
    first = json.loads(first)
    assert first["cell"] == ["clean", 0]
    first = with_checksum(first | pack_errors(np.ones(40, bool)))
    journal.write_text("".join([identity, json.dumps(first) + "\n", *others]))
    said = wait_for_all(start(tmp_path / "killed", 1, "--resume", **limit)).stdout
    assert "trained before" in said
    once, twice = (Results.load(tmp_path / name) for name in ("whole", "killed"))
    assert (once.errors, once.training, once.weights_sha256) == (twice.errors, results.training, results.weights_sha256)
    assert twice.clean_error == 1 > once.clean_error
    assert load_recipe(tmp_path / "killed" / RECIPE).benchmark_limit == twice.num_images == 40
    left = {path.name for path in (tmp_path / "killed").iterdir()}
    assert left == {RECIPE, LOG, WEIGHTS, CONFIG, "results.json", "README.md"}


def test_a_run_without_benchmark_is_copied_and_measured_elsewhere(tmp_path, run_inside):
    """As a network is trained on a machine with a GPU and measured on another, where the data lie in another folder."""
    dataset, here, there = make_image_folder(tmp_path / "images"), tmp_path / "here", tmp_path / "there"
    process = run_inside(train.main, *folder_arguments(dataset, here), "--skip-benchmark")
    assert process.returncode == 0, process.stderr
    assert "Load the result" not in process.stdout
    assert {path.name for path in here.iterdir()} == {TRAINING, WEIGHTS, CONFIG, LOG, RECIPE, "state"}
    before = (here / WEIGHTS).read_bytes()
    again = run_inside(train.main, *folder_arguments(dataset, here), "--skip-benchmark", "--resume")
    assert "trained before" in again.stdout
    there.mkdir()
    for name in (TRAINING, WEIGHTS, CONFIG, LOG, RECIPE):
        shutil.copy(here / name, there)
    moved = dataset.rename(tmp_path / "moved")
    changes = {"benchmark-limit": 3}
    process = run_inside(train.main, *folder_arguments(moved, there, **changes), "--resume")
    assert process.returncode == 0, process.stderr
    assert "trained before" in process.stdout
    assert {path.name for path in there.iterdir()} == {"results.json", "README.md", WEIGHTS, CONFIG, LOG, RECIPE}
    results = Results.load(there)
    assert (results.num_images, results.partial, results.training.images) == (3, False, 24)
    assert results.training.overrides
    assert results.training.versions == results.versions
    assert (there / WEIGHTS).read_bytes() == before
    process = run_inside(train.main, *folder_arguments(moved, here, seed=3), "--resume")
    assert_one_clear_line(process, "seed 1234, not 3")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda run: (run / TRAINING).write_text("{}"), ("training.json' is damaged", "remove training.json")),
        (lambda run: (run / WEIGHTS).write_bytes(b""), ("are not the weights that training.json is about",)),
        (
            lambda run: (run / BENCHMARK_LOG).write_text(json.dumps(with_checksum({"task": "x"})) + "\n"),
            ("another measurement", "remove it to measure anew"),
        ),
    ],
)
def test_what_is_no_trained_network_is_not_measured(whole, tmp_path, run_inside, spoil, words):
    copy_trained(whole[1], tmp_path / "run")
    spoil(tmp_path / "run")
    assert_one_clear_line(run_inside(train.main, *arguments(tmp_path / "run"), "--resume"), *words)
    assert not (tmp_path / "run" / "results.json").exists()


def cut_off(folder: Path, run: Path, step: int) -> None:
    """Make `run` a copy of a finished run as it was after a step, with the state before that one still there."""
    shutil.copytree(folder, run)
    for name in ("results.json", "README.md", "model.safetensors", "config.json"):
        (run / name).unlink()
    assert {path.name for path in (run / "state").iterdir()} == {"step-00000580.pt", f"step-{step:08d}.pt"}


def test_a_truncated_state_is_named_and_the_one_before_it_used(whole, tmp_path):
    processes, folder = whole
    if processes > 1:
        pytest.skip("the same code in one process and in two")
    cut_off(folder, tmp_path / "run", STEPS)
    newest = tmp_path / "run" / "state" / "step-00000600.pt"
    newest.write_bytes(newest.read_bytes()[:-1000])
    said = wait_for_all(start(tmp_path / "run", 1, "--resume")).stdout
    assert "step-00000600.pt' is damaged" in said
    assert "trying the one before it, step-00000580.pt" in said
    assert "resumed in epoch 2, after step 280" in said
    assert_same(read_checkpoint(tmp_path / "run"), read_checkpoint(folder))


def save_two(folder: Path, **identity: object) -> Checkpoints:
    checkpoints = Checkpoints(folder, {"seed": 1, "classes": ("a", "b"), **identity}, save_minutes=0)
    for step in (20, 40):
        checkpoints.save(step, {"step": step, "weights": torch.arange(1000.0) * step})
    return checkpoints


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[content.index(torch.tensor([40.0, 80.0, 120.0]).numpy().tobytes())] ^= 1  # a bit of a weight
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (flip, "is damaged (wrong checksum of"),
        (lambda path: path.write_bytes(b""), "is damaged"),
        (lambda path: torch.save([1], path), "is damaged"),
        (
            lambda path: save_two(path.parents[1], classes=("cat", "dog")),
            "its classes is ('cat', 'dog'), not ('a', 'b')",
        ),
    ],
)
def test_states_that_are_not_what_was_saved_are_refused(tmp_path, spoil, said):
    checkpoints = save_two(tmp_path)
    older = (tmp_path / "state" / "step-00000020.pt").read_bytes()
    spoil(tmp_path / "state" / "step-00000040.pt")
    (tmp_path / "state" / "step-00000020.pt").write_bytes(older)
    lines, taken = [], []
    assert checkpoints.load(taken.append, lines.append)
    assert len(lines) == 1
    assert said in lines[0]
    assert taken[0]["step"] == 20
    assert torch.equal(taken[0]["weights"], torch.arange(1000.0) * 20)
    checkpoints.save(60, {})  # the refused one gives way, the good one stays
    assert {path.name for path in (tmp_path / "state").iterdir()} == {"step-00000020.pt", "step-00000060.pt"}


def test_a_checkpoint_of_an_older_version_is_loaded(whole, tmp_path):
    """Under the names of before, also in its settings."""
    processes, folder = whole
    if processes > 1:
        pytest.skip("the same code in one process and in two")
    cut_off(folder, tmp_path / "run", STEPS)
    newest, older = (tmp_path / "run" / "state" / f"step-{step:08d}.pt" for step in (STEPS, 580))
    newest.unlink()
    content = torch.load(older, weights_only=True)
    names = {new: old for old, new in RENAMED.items()}
    trainer = content["trainer"]
    parts = {"schedule": trainer["scheduler"], "average": trainer["model_ema"]}
    parts |= {name: trainer[name] for name in ("network", "optimizer")}
    identity = {names.get(name, name): value for name, value in content["identity"].items()}
    assert "lr_peak" in identity
    torch.save({"identity": identity, "position": content["train_state"], "learner": parts}, older)
    said = wait_for_all(start(tmp_path / "run", 1, "--resume")).stdout
    assert "resumed in epoch 2, after step 280" in said
    assert_same(read_checkpoint(tmp_path / "run"), read_checkpoint(folder))


def test_a_checkpoint_that_is_older_than_a_setting_had_its_default(tmp_path):
    recorded = Settings(models=("x",)).recorded()
    younger = ("scale", "opt", "opt_kwargs", "decay_milestones", "mixup", "pretrained")
    Checkpoints(tmp_path, {k: v for k, v in recorded.items() if k not in younger}, save_minutes=0).save(20, {})
    assert Checkpoints(tmp_path, recorded, save_minutes=0).load(lambda content: None, print)
    for name, value in (("opt", "adamw"), ("opt_kwargs", {"eps": 1}), ("mixup", 0.2)):
        with pytest.raises(InputError, match="no checkpoint"):
            Checkpoints(tmp_path, {**recorded, name: value}, save_minutes=0).load(lambda content: None, print)


def test_without_any_good_state_the_run_says_so_and_changes_nothing(whole, tmp_path, run_inside):
    cut_off(whole[1], tmp_path / "run", STEPS)
    for path in (tmp_path / "run" / "state").iterdir():
        path.write_bytes(b"nothing")
    process = run_inside(train.main, *arguments(tmp_path / "run"), "--resume")
    assert_one_clear_line(process, "no checkpoint in", "start again with --overwrite")
    assert not (tmp_path / "run" / "results.json").exists()


def test_several_networks_are_overwritten_and_checked_before_the_first_is_trained(tmp_path, run_inside, monkeypatch):
    dataset, output, train_step = make_image_folder(tmp_path / "images"), tmp_path / "runs", Trainer.train_step
    given = [*folder_arguments(dataset, output, epochs=1), "--skip-benchmark"]
    place = given.index("--model")
    del given[place : place + 2]
    first, second = output / "resnet18_cifar", output / MODEL

    def step_with_signal(trainer, *others):
        os.kill(os.getpid(), signal.SIGTERM)
        return train_step(trainer, *others)

    for folder in (first, second):
        folder.mkdir(parents=True)
        for name in (RECIPE, "results.json", WEIGHTS):
            (folder / name).write_text("old")
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "train_step", step_with_signal)
        process = run_inside(train.main, *given, "--overwrite")
    assert process.returncode == 143, process.stderr
    assert {path.name for path in first.iterdir()} == {RECIPE, "state"}
    assert {path.name for path in second.iterdir()} == {RECIPE}
    recipe = (second / RECIPE).read_text()
    (second / RECIPE).write_text(recipe.replace("seed: 1234", "seed: 7"))
    assert_one_clear_line(run_inside(train.main, *given, "--resume"), f"{str(second)!r} has seed 7, not 1234")
    assert {path.name for path in first.iterdir()} == {RECIPE, "state"}
    (second / RECIPE).write_text(recipe)
    process = run_inside(train.main, *given, "--resume")
    assert process.returncode == 0, process.stderr
    assert "resumed in epoch 1, after step 1" in process.stdout
    assert (second / TRAINING).exists()
    assert (second / WEIGHTS).read_bytes() != b"old"


def test_a_run_with_other_settings_or_data_is_not_taken_up(whole, tmp_path, run_inside):
    cut_off(whole[1], tmp_path / "run", STEPS)
    process = run_inside(train.main, *arguments(tmp_path / "run", seed=9), "--resume")
    assert_one_clear_line(process, "seed 1234, not 9")
    process = run_inside(train.main, *arguments(tmp_path / "run"))
    assert_one_clear_line(process, "already holds a run")
    assert "finished before" in run_inside(train.main, *arguments(whole[1]), "--resume").stdout
    several = ["train.py", "--recipe", tmp_path / "run" / "recipe.yaml", "--output", tmp_path / "run", "--resume"]
    process = run_inside(train.main, *several)  # it would train all networks of the recipe, in folders of their own
    assert_one_clear_line(process, "holds a run of one network; add --model resnet18_cifar_pushpull")
