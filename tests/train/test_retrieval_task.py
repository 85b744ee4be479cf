"""Retrieval by hashes as a task: trained and measured as classification is."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import timm
import torch

from support.example_benchmark import MEAN, STD, as_processes
from support.example_run import RETRIEVAL, SMALL, SMALL_ARGS, write_run
from support.example_training import folder_arguments as arguments
from support.example_training import read_log
from support.example_training import small_trainer as trainer
from support.image_folder import make_image_folder
from support.processes import assert_one_clear_line
from timm_pushpull import InputError, cli
from timm_pushpull.benchmark import CLEAN, ProgressLog, Retrieval, evaluate, retrieval
from timm_pushpull.benchmark.hashing import hash_targets
from timm_pushpull.benchmark.results import Results, RetrievalSettings
from timm_pushpull.corruptions import corrupt
from timm_pushpull.data.images import ImageSet
from timm_pushpull.data.loading import load_images
from timm_pushpull.data.preprocessing import ResizeCenterCrop, normalise
from timm_pushpull.hub import Release, verify
from train import train
from train.objectives import create_objective
from train.run_folder import Checkpoints
from train.settings import Settings

GEOMETRY = ResizeCenterCrop(32, 32)
HOW = {"mean": MEAN, "std": STD, "progress": False}


def digits(database: int, queries: int) -> tuple[ImageSet, ImageSet]:
    """So many training images, to be retrieved, and test images."""
    return load_images("digits", "train").subset(database), load_images("digits").subset(queries)


def network(bits: int):
    """A random projection of the image to so many outputs."""
    weights = torch.randn(3 * 64, bits, generator=torch.manual_seed(0))
    return lambda x: torch.nn.functional.adaptive_avg_pool2d(x, 8).flatten(1).sub(0.3) @ weights


def average_precision(query: np.ndarray, label: int, codes: np.ndarray, labels: np.ndarray, top: int) -> float:
    """Of one query, bits as booleans, rank by rank."""
    hits, precisions = 0, []
    for rank, place in enumerate(np.argsort((codes != query).sum(axis=1), kind="stable")[:top], start=1):
        if labels[place] == label:
            hits += 1
            precisions.append(hits / rank)
    return float(np.mean(precisions)) if precisions else 0.0


@pytest.mark.parametrize("bits", [8, 24, 64])
def test_errors_equal_a_loop_over_queries(bits):
    (database, queries), model = digits(90, 30), network(bits)
    task = retrieval(model, database, GEOMETRY, top=40, batch_size=7, **HOW)
    how = {"preset": "cifar10-c", "corruptions": ["fog"], "severities": [4], "batch_size": 11, **HOW}
    found = evaluate(model, queries, GEOMETRY, task=task, **how)

    def hashes(pixels: list[np.ndarray]) -> np.ndarray:
        return model(normalise(np.stack(pixels), MEAN, STD)).numpy() >= 0

    order = np.random.default_rng(0).permutation(90)
    labels = database.labels[database.indices][order]
    codes = hashes([GEOMETRY(database.read(row)) for row in database.indices])[order]
    clean = [GEOMETRY(queries.read(row)) for row in queries.indices]
    foggy = [corrupt(x, "fog", 4, "cifar10-c", index=row) for x, row in zip(clean, queries.indices, strict=True)]
    for cell, pixels in ((CLEAN, clean), (("fog", 4), foggy)):
        expected = [
            1 - average_precision(code, queries.labels[row], codes, labels, 40)
            for code, row in zip(hashes(pixels), queries.indices, strict=True)
        ]
        np.testing.assert_allclose(found.image_errors[cell], expected, rtol=0, atol=2**-25)
        assert 0.2 < np.mean(expected) < 0.9
        low, high = found.interval(cell)
        assert (low + high) / 2 == pytest.approx(np.mean(expected), abs=1e-6)
        assert high - low == pytest.approx(2 * 1.96 * np.std(expected, ddof=1) / 30**0.5, rel=1e-4)
    assert len(set(found.image_errors[CLEAN])) > 5  # not right or wrong alone
    assert found.as_results()["clean_error"] == found.clean_error == found.image_errors[CLEAN].mean()


@pytest.mark.parametrize("processes", [2, 7])
def test_processes_share_the_hashes_and_find_what_one_finds(processes):
    (database, queries), model = digits(33, 5), network(24)
    how = {"corruptions": ["contrast"], "severities": [3], **HOW}

    def work(**shared):
        task = retrieval(model, database, GEOMETRY, top=9, batch_size=2, **HOW, **shared)
        return task, evaluate(model, queries, GEOMETRY, task=task, **how, **shared)

    task, alone = work()
    for hashed, together in as_processes(processes, work):
        np.testing.assert_array_equal(hashed.codes, task.codes)
        assert together.as_results() | {"seconds": 0} == alone.as_results() | {"seconds": 0}


def test_a_progress_log_keeps_fractions_and_old_ones_are_refused(tmp_path):
    (database, queries), model = digits(40, 12), network(16)
    run = partial(evaluate, model, queries, GEOMETRY, task=retrieval(model, database, GEOMETRY, top=10, **HOW), **HOW)
    cells = {"corruptions": ["contrast"], "severities": [1, 2]}
    identity = {"task": "retrieval"}
    run(log=ProgressLog(tmp_path / "log", identity), corruptions=["contrast"], severities=[1])
    before = (tmp_path / "log").read_bytes()
    resumed = run(log=ProgressLog(tmp_path / "log", identity), **cells)
    assert (tmp_path / "log").read_bytes().startswith(before)
    for cell, errors in run(**cells).image_errors.items():
        np.testing.assert_array_equal(resumed.image_errors[cell], errors)
    with pytest.raises(InputError, match="its task is 'retrieval', not 'classification'"):
        ProgressLog(tmp_path / "log", {"task": "classification"})
    # As older versions, without checksums, have written it.
    (tmp_path / "old").write_text('{"model": "x"}\n{"cell": ["fog", 1], "count": 3, "wrong": "oA=="}\n')
    with pytest.raises(InputError, match=r"of an older version.*--overwrite"):
        ProgressLog(tmp_path / "old", {"model": "x"})


def test_outputs_that_cannot_be_ranked_are_named():
    database, queries = digits(20, 5)
    task = retrieval(network(16), database, GEOMETRY, top=5, **HOW)
    for other, message in (
        (network(24), r"\(24,\) outputs per image, the hashes of the database have 16 bits"),
        (lambda x: network(16)(x) * torch.inf, "outputs that are not finite on clean"),
    ):
        with pytest.raises(InputError, match=message):
            evaluate(other, queries, GEOMETRY, task=task, **HOW)
    with pytest.raises(InputError, match="10 outputs per image, which are no hash"):
        retrieval(network(10), database, GEOMETRY, top=5, **HOW)
    with pytest.raises(InputError, match="top is 21 and the database has 20 images"):
        retrieval(network(16), database, GEOMETRY, top=21, **HOW)
    with pytest.raises(InputError, match="those of a classifier"):
        evaluate(network(16), queries, GEOMETRY, task=task, details=True, **HOW)


def test_ties_rank_in_an_order_that_mixes_classes():
    """All hashes equal, the database sorted by class: no class may have the first ranks."""
    task = Retrieval(np.zeros((1000, 2), np.uint8), np.repeat(np.arange(10), 100), top=100)
    outputs, labels = torch.full((10, 16), -1.0), np.arange(10)
    errors = task.errors(outputs, labels, CLEAN).numpy() / 2**24
    assert errors.min() > 0.75
    assert errors.max() < 0.97


def test_an_image_is_taken_for_the_class_of_the_nearest_hash():
    task = create_objective(Settings(models=("resnet18",), task="retrieval", num_classes=100))
    labels = torch.arange(100)
    outputs = hash_targets(100) * torch.rand(100, 64, generator=torch.manual_seed(0)).add(0.1)
    outputs[:, 3:18] *= -1  # 15 bits; hashes differ in 32 at least
    logits = task.logits(outputs)
    assert logits.argmax(dim=1).equal(labels)
    np.testing.assert_array_equal(logits.max(dim=1).values, 64 - 2 * 15)
    right, wrong = task.loss(10 * hash_targets(100), labels), task.loss(-10 * hash_targets(100), labels)
    assert 100 * right < wrong


def test_three_phases_rise_fall_alike_and_fade():
    one = trainer(three_phase=True, epochs=50, warmup_lr=0.01, lr=0.1, min_lr=1e-4)
    rates = [one.next_lr]
    for _ in range(one.total_steps - 1):
        one.optimizer.step()
        one.scheduler.step()
        rates.append(one.next_lr)
    peak = int(np.argmax(rates))
    assert (peak, len(rates)) == (29, 100)
    assert (rates[0], rates[peak], rates[-1]) == pytest.approx((0.01, 0.1, 1e-4))
    assert rates[peak - 29 : peak] == pytest.approx(rates[peak + 29 : peak : -1])
    assert rates[58] == pytest.approx(0.01)
    assert rates[58:] == sorted(rates[58:], reverse=True)


def training(dataset: Path, output: Path) -> list[str]:
    """A short training of hashes, with all that a state has to hold."""
    settings = {"task": "retrieval", "hash-bits": 16, "top": 10, "save-minutes": 0, "model-ema-decay": 0.5}
    network = ("--model-args", *SMALL_ARGS, "drop_rate=0.3")
    return [*arguments(dataset, output, **settings), "--three-phase", "--half-weights", *network]


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> tuple[Path, Path]:
    """The data and the folder of a training in this process."""
    base = tmp_path_factory.mktemp("trained")
    dataset = make_image_folder(base / "photos")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", training(dataset, base / "run"))
        train.main()
    return dataset, base / "run"


def test_a_run_writes_down_its_task(trained):
    dataset, folder = trained
    results = Results.load(folder)
    assert (results.task, results.num_images, results.partial) == ("retrieval", 4, False)
    assert results.retrieval == RetrievalSettings(16, 10, "train", 24)
    for row in read_log(folder):  # shares of images that are nearer to the other class's hash
        assert row["train_error"] * 24 == pytest.approx(round(row["train_error"] * 24), abs=1e-9)
        assert row["test_error"] * 10 == pytest.approx(round(row["test_error"] * 10), abs=1e-9)
    model = timm.create_model(f"local-dir:{folder}", pretrained=True)
    assert model.num_classes == 16
    config = json.loads((folder / "config.json").read_text())
    assert "label_names" not in config
    assert config["pretrained_cfg"]["tag"] == "photos_retrieval"  # a classifier of them has another name
    card = (folder / "README.md").read_text()
    assert "a hash of 16 bits" in card
    assert "the images of each of the 2 classes are pulled towards a hash centre of 16 bits" in card
    task = retrieval(model, load_images(str(dataset), train=True), top=10, progress=False)
    found = evaluate(model, load_images(str(dataset)).subset(4), task=task, corruptions=(), progress=False)
    assert found.clean_error == results.clean_error


def test_the_command_finds_what_the_run_has_found(trained, tmp_path, run_inside):
    dataset, folder = trained
    asked = ["--model", f"local-dir:{folder}", "--dataset", dataset, "--task", "retrieval", "--top", "10"]
    asked += ["--limit", "4", "--preset", "cifar10-c", "--corruptions", "fog", "--severities", "5"]
    asked += ["--precision", "fp32", "--output", tmp_path / "results.json"]
    process = run_inside(cli.main, "timm-pushpull", "benchmark", *asked)
    assert process.returncode == 0, process.stderr
    assert "1 - mAP@10: each image ranks the 24 images of split train" in process.stdout
    found, run = Results.load(tmp_path / "results.json"), Results.load(folder)
    assert (found.clean_error, found.errors["fog"][4]) == (run.clean_error, run.errors["fog"][4])
    assert (found.task, found.retrieval) == (run.task, run.retrieval)
    process = run_inside(cli.main, "timm-pushpull", "benchmark", *asked, "--top", "9")
    assert_one_clear_line(process, "its retrieval is", "'top': 10", "--overwrite")


def test_a_release_of_hashes_is_verified(trained, monkeypatch):
    pytest.importorskip("transformers")
    monkeypatch.setattr("timm_pushpull.hub.verification.choose_precision", lambda: "fp32")  # as it was trained
    said = list(verify(Release.load(trained[1])))
    assert "logits are bitwise equal through timm, the registry, transformers" in said
    assert "all numbers in README.md and its metadata agree with results.json" in said
    results = Results.load(trained[1])
    for line, error in zip(said[-2:], (results.clean_error, results.errors["contrast"][2]), strict=True):
        assert f"is {error:.2%} on 4 images, {error:.2%} on 4" in line


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"clean_error": 0.99}, "the clean error of 4 images is .*more than chance allows"),
        ({"database_images": 25}, "split 'train' of .* has 24 images, but the results are about a database of 25"),
        ({"database_split": "val"}, "no split val"),
    ],
)
def test_what_is_wrong_with_a_release_of_hashes_is_named(trained, tmp_path, changes, words):
    pytest.importorskip("transformers")
    run = shutil.copytree(trained[1], tmp_path / "run")
    results = Results.load(run)
    database = replace(
        results.retrieval, **{name: changes.pop(name) for name in list(changes) if hasattr(results.retrieval, name)}
    )
    replace(results, retrieval=database, **changes).save(run / "results.json")
    (run / "README.md").write_text(Release.load(run).render())
    with pytest.raises(InputError, match=words):
        list(verify(Release.load(run)))


def test_a_run_that_was_cut_off_ends_with_the_same_hashes(trained, tmp_path, run_inside, monkeypatch):
    (dataset, whole), run = trained, tmp_path / "run"
    save = train.save_checkpoint

    def save_and_die(*given):
        save(*given)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(train, "save_checkpoint", save_and_die)
        assert run_inside(train.main, *training(dataset, run)).returncode == 130
    assert not (run / "results.json").exists()
    assert "resumed in epoch 1, after step 1" in run_inside(train.main, *training(dataset, run), "--resume").stdout
    for name in ("model.safetensors", "log.csv", "recipe.yaml"):
        assert (run / name).read_bytes() == (whole / name).read_bytes(), name
    first, second = Results.load(run), Results.load(whole)
    assert (first.clean_error, first.errors) == (second.clean_error, second.errors)


def test_checkpoints_from_before_there_were_tasks_are_loaded(tmp_path):
    Checkpoints(tmp_path, {"seed": 1}, save_minutes=0).save(20, {"step": 20})
    taken = []
    assert Checkpoints(tmp_path, {"seed": 1, "task": "classification"}, 0).load(taken.append, print)
    with pytest.raises(InputError, match="no checkpoint"):
        Checkpoints(tmp_path, {"seed": 1, "task": "retrieval"}, 0).load(taken.append, print)
    assert len(taken) == 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"task": "retreival"}, ["unknown task 'retreival'", "did you mean 'retrieval'"]),
        ({"task": "retrieval"}, ["top is 200 and the database has 24 images"]),
        ({"task": "retrieval", "top": 0}, ["top is 0"]),
        ({"task": "retrieval", "hash-bits": 12}, ["hash_bits is 12; use a multiple of 8"]),
        ({"task": "retrieval", "top": 9, "smoothing": 0.1}, ["smoothing is 0.1", "retrieval"]),
        ({"task": "retrieval", "top": 9, "train-split": "training"}, ["no split training"]),
        ({"warmup": 0.6}, ["warmup is 0.6; in three phases"]),
    ],
)
def test_a_training_that_cannot_be_is_one_line(image_folder, tmp_path, run_inside, changes, words):
    three = ["--three-phase"] * ("warmup" in changes)
    process = run_inside(train.main, *arguments(image_folder, tmp_path / "run", **changes), *three)
    assert_one_clear_line(process, *words)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"--task": "retrievel"}, ["unknown task 'retrievel'", "did you mean 'retrieval'"]),
        ({"--top": "25"}, ["top is 25 and the database has 24 images; use one from 1 to 24"]),
        ({"--database-split": "val"}, ["no split val", "it has: train, test"]),
        ({"--database-split": "test"}, ["would find itself", "--database-split"]),
        ({"--model": "classifier"}, ["is a classifier of 2 classes", "--task"]),
        ({"--model": "odd"}, ["10 outputs per image, which are no hash"]),
        ({"--task": "classification"}, ["(16,) outputs per image, the dataset has 2 classes"]),
    ],
)
def test_a_measurement_that_cannot_be_is_one_line(image_folder, tmp_path, run_inside, changes, words):
    for name, about in (("hashes", 16), ("odd", 10), ("classifier", None)):
        if changes.get("--model", "hashes") == name:
            write_run(tmp_path / name, retrieval=replace(RETRIEVAL, hash_bits=about) if about else None, **SMALL)
            changes = changes | {"--model": f"local-dir:{tmp_path / name}"}
    output = tmp_path / "results.json"
    given = {"--dataset": image_folder, "--task": "retrieval", "--top": "10", "--output": output, **changes}
    process = run_inside(cli.main, "timm-pushpull", "benchmark", *(part for pair in given.items() for part in pair))
    assert_one_clear_line(process, *words)
    assert not output.exists()


def test_options_that_do_not_go_together_are_one_line(image_folder, tmp_path, run_inside):
    given = ("--model", "resnet18", "--task", "retrieval", "--output", tmp_path / "results.json")
    run = partial(run_inside, cli.main, "timm-pushpull", "benchmark", *given)
    assert_one_clear_line(run("--dataset", image_folder, "--details"), "--details is for classifiers")
    assert_one_clear_line(run("--corrupted", tmp_path), "give their --dataset")
