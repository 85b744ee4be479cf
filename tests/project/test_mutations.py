"""Damaged files: whatever is done to a file that the package reads, it is refused in one line, or read right."""

from __future__ import annotations

import contextlib
import json
import random
import shutil
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
import yaml

from support.example_card import CONFIG as CARD_CONFIG
from support.example_card import PAIR, card_of
from support.example_run import TRAINING
from support.generated import make
from timm_pushpull.benchmark import CLEAN, ProgressLog
from timm_pushpull.benchmark.evaluation import DETAILS
from timm_pushpull.benchmark.progress_log import pack_errors
from timm_pushpull.data.corrupted import decoding, open_corrupted
from timm_pushpull.data.corrupted.decoding import Scan, scan
from timm_pushpull.data.corrupted.folder import SIDE_SHA256, OutputFolder
from timm_pushpull.data.corrupted.generation import Outcome
from timm_pushpull.data.corrupted.job import make_job
from timm_pushpull.data.corrupted.layouts import set_entries
from timm_pushpull.data.corrupted.manifest import read_manifest
from timm_pushpull.data.loading import load_images
from timm_pushpull.hub.card import discrepancies
from timm_pushpull.hub.contents import check_files
from timm_pushpull.hub.release import release_name
from timm_pushpull.models.config import parse_config
from timm_pushpull.utils.errors import InputError
from timm_pushpull.utils.files import sha256
from timm_pushpull.utils.json_text import with_checksum
from train.run_folder import Checkpoints, RunFolder
from train.settings import RECIPES, Settings, load_recipe

MUTANTS = 200
VALUES = [None, True, 0, -1, 1 << 63, 10**400, 1e308, "x", "", "\ud800", [], [[]], ["x"], {}, {"x": {}}]


def damaged(content: bytes, rng: random.Random) -> bytes:
    """A file after a fault of the disk, or after a kill."""
    place, kind = rng.randrange(len(content)), rng.randrange(4)
    if kind == 0:
        return content[:place] + bytes([content[place] ^ (1 << rng.randrange(8))]) + content[place + 1 :]
    if kind == 1:
        return content[:place]
    if kind == 2:
        return content[:place] + bytes(min(len(content) - place, rng.choice([1, 16, 512]))) + content[place + 16 :]
    lines = content.splitlines(keepends=True)
    number = rng.randrange(len(lines))
    return b"".join([*lines[:number], lines[number], *lines[number:]])


def changed(content: Any, rng: random.Random) -> str:
    """JSON with one key removed, or one value replaced."""
    content = json.loads(json.dumps(content))
    places: list[tuple[Any, Any]] = []

    def walk(value: Any) -> None:
        for key in list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
            places.append((value, key))
            walk(value[key])

    walk(content)
    parent, key = rng.choice(places)
    kind = rng.randrange(8)
    if kind == 0:
        del parent[key]
    elif kind == 1:
        parent[key] = "DEEP"
        depth = rng.choice([60, 400, 100_000])
        return json.dumps(content).replace('"DEEP"', "[" * depth + "]" * depth)
    elif kind == 2:
        parent[key] = "LONG"
        return json.dumps(content).replace('"LONG"', rng.choice(["9" * 400, "1e999", "NaN", "9" * 10_000]))
    else:
        parent[key] = rng.choice(VALUES)
    return json.dumps(content)


def outcomes(texts: Iterator[str | bytes], path: Path, read: Callable[[], object]) -> list[object]:
    """What reading gave for each text, without those that were refused; every refusal is one line."""
    accepted = []
    for text in texts:
        path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                accepted.append(read())
        except InputError as error:
            message = str(error)
            assert "\n" not in message
            assert len(message) < 2000
            assert message.isprintable()
    return accepted


def both(content: bytes, rng: random.Random) -> Iterator[str | bytes]:
    """Damage to a JSON file's bytes, and changes of its values."""
    for _ in range(MUTANTS):
        yield damaged(content, rng)
        yield changed(json.loads(content), rng)


IDENTITY = {"model": "x", "seed": 1, "details": True}


def progress_log(folder: Path) -> Path:
    path, rng = folder / "results.json.part", np.random.default_rng(0)
    log = ProgressLog(path, IDENTITY)
    for number, cell in enumerate([CLEAN, ("fog", 1), ("fog", 2)]):
        details = np.arange(DETAILS) + number
        log.append(cell, 0, rng.random(9) < 0.5, details, 9, digest=7, seconds=0.5)
    return path


def test_a_damaged_progress_log_is_refused_or_its_part_is_measured_again(tmp_path):
    rng, path = random.Random(0), progress_log(tmp_path)
    content = path.read_bytes()
    whole = ProgressLog(path, IDENTITY).parts
    assert len(whole) == 3
    lines = [json.loads(line) for line in content.splitlines()]

    def mutants() -> Iterator[str | bytes]:
        for _ in range(MUTANTS):
            yield damaged(content, rng)
        for _ in range(MUTANTS):
            number = rng.randrange(len(lines))
            changes = [changed(line, rng) if n == number else json.dumps(line) for n, line in enumerate(lines)]
            yield "".join(line + "\n" for line in changes)

    accepted = outcomes(mutants(), path, lambda: ProgressLog(path, IDENTITY).parts)
    assert len(accepted) > MUTANTS
    assert all(part in whole for parts in accepted for part in parts)
    assert all(len(parts) <= 3 for parts in accepted)
    # Inverted verdicts.
    lines[2] |= pack_errors(np.ones(9, bool))
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.warns(UserWarning, match="is damaged in 1 of its"):
        log = ProgressLog(path, IDENTITY)
    assert log.parts == [whole[0], whole[2]]
    # The part is measured and logged again.
    log.append(("fog", 1), 0, np.zeros(9, bool), np.zeros(DETAILS, np.int64), 9, digest=7, seconds=0.5)
    with pytest.warns(UserWarning, match="is damaged in 1 of its"):
        assert [part["cell"] for part in ProgressLog(path, IDENTITY).parts] == [["clean", 0], ["fog", 2], ["fog", 1]]


def test_a_progress_log_of_wrong_types_with_a_right_checksum_gives_no_traceback(tmp_path):
    rng, path = random.Random(0), progress_log(tmp_path)
    lines = [json.loads(line) for line in path.read_bytes().splitlines()]

    def mutants() -> Iterator[str]:
        for _ in range(MUTANTS):
            number = rng.randrange(len(lines))
            text = changed(lines[number], rng)
            with contextlib.suppress(ValueError, RecursionError):
                text = json.dumps(with_checksum(json.loads(text)))
            yield "".join((text if n == number else json.dumps(line)) + "\n" for n, line in enumerate(lines))

    for parts in outcomes(mutants(), path, lambda: ProgressLog(path, IDENTITY).parts):
        for part in parts:
            assert part["count"] == 9
            assert isinstance(part["cell"][0], str)


# The files of `timm-pushpull corrupt`

SETTINGS: dict[str, Any] = {
    "preset": "cifar10-c",
    "format": "imagefolder",
    "corruptions": ["contrast", "gaussian_noise"],
    "severities": [1, 4],
    "seed": 5,
    "size": 32,
    "jpeg_quality": None,
    "frost_dir": None,
    "chunk": 3,
    "command": "make",
}


@pytest.fixture
def output(image_folder, tmp_path) -> Callable[..., OutputFolder]:
    """Opens the folder of a set, as a command that begins or resumes it does."""
    job = make_job(load_images(str(image_folder)), **SETTINGS)
    return lambda **options: OutputFolder(tmp_path / "set", job, set_entries, **options)


def test_a_damaged_job_is_refused_and_can_be_overwritten(output, tmp_path):
    origin, path = output().origin, tmp_path / "set" / ".work" / "job.json"
    content = path.read_bytes()
    accepted = outcomes(both(content, random.Random(0)), path, lambda: output().origin)
    assert len(accepted) < MUTANTS / 4
    assert all(found == origin for found in accepted)
    (tmp_path / "set" / "contrast").mkdir()
    for cut in (content[: len(content) // 2], bytes(len(content)), b"", content.replace(b"make", b"fake")):
        path.write_bytes(cut)
        with pytest.raises(InputError, match=r"is damaged.*--overwrite"):
            output()
        assert output(overwrite=True).origin == origin
        assert path.read_bytes() == content
        assert sorted(entry.name for entry in (tmp_path / "set").iterdir()) == [".work"]


def test_a_damaged_record_of_a_chunk_is_left_out(output, tmp_path):
    folder = output()
    folder.write(folder.side_file(0), bytes(range(64)))
    record = {"unreadable": [2], "rows": [0, 1], SIDE_SHA256: sha256(folder.side_file(0))}
    folder.record(0, record)
    path = folder.work / "chunk-00000.json"
    content = path.read_bytes()
    accepted = outcomes(both(content, random.Random(0)), path, lambda: folder.records([0]))
    assert len(accepted) == 2 * MUTANTS
    assert all(found in ({}, {0: record}) for found in accepted)
    path.write_bytes(content)
    side, rng = folder.side_file(0).read_bytes(), random.Random(0)
    for found in outcomes(
        (damaged(side, rng) for _ in range(MUTANTS)), folder.side_file(0), lambda: folder.records([0])
    ):
        assert found in ({}, {0: record})
    folder.side_file(0).unlink()
    assert folder.records([0]) == {}


@pytest.mark.parametrize("place", ["chunk-00000.json", "chunk-00000.bin", "chunk-00001.json"])
def test_a_set_with_damaged_work_files_ends_as_if_nothing_had_happened(place, image_folder, tmp_path):
    options = {"format": "imagefolder", "chunk": 3}
    assert make(image_folder, tmp_path / "set", shard=(1, 3), **options).missing
    make(image_folder, tmp_path / "set", shard=(2, 3), **options)
    path = tmp_path / "set" / ".work" / place
    path.write_bytes(path.read_bytes()[:-20])
    manifest = make(image_folder, tmp_path / "set", **options).manifest
    assert manifest["sha256"] == make(image_folder, tmp_path / "one", **options).manifest["sha256"]


STRANGE = [None, 3, "x", [-5], [10**6], ["a"], {"a": 1}]


@pytest.mark.parametrize("format", ["npy", "imagefolder", "parquet"])
def test_a_set_with_work_files_of_wrong_types_and_right_checksums_ends_as_if_nothing_had_happened(
    format, image_folder, tmp_path
):
    options = {"format": format, "chunk": 3}
    whole = make(image_folder, tmp_path / "whole", **options).manifest
    make(image_folder, tmp_path / "base", shard=(1, 3), **options)
    for name in ("chunk-00000.json", *(["scan.json"] if format == "npy" else [])):
        content = json.loads((tmp_path / "base" / ".work" / name).read_bytes())
        for key, value in [(key, value) for key in set(content) - {"checksum"} for value in STRANGE]:
            shutil.rmtree(tmp_path / "set", ignore_errors=True)
            shutil.copytree(tmp_path / "base", tmp_path / "set")
            (tmp_path / "set" / ".work" / name).write_text(json.dumps(with_checksum({**content, key: value})))
            manifest = make(image_folder, tmp_path / "set", **options).manifest
            assert manifest["sha256"] == whole["sha256"], (name, key, value)


def test_a_damaged_scan_is_made_again(output, image_folder, monkeypatch):
    whole, decoder = Scan((32, 32, 3), [4]), SimpleNamespace(images=load_images(str(image_folder)))
    monkeypatch.setattr(decoding, "_scan", lambda *_: whole)
    folder = output()
    assert scan(folder, decoder, "npy") == whole
    path = folder.work / "scan.json"
    accepted = outcomes(both(path.read_bytes(), random.Random(0)), path, lambda: scan(folder, decoder, "npy"))
    assert len(accepted) == 2 * MUTANTS
    assert all(result == whole for result in accepted)


def test_a_damaged_manifest_is_refused_or_of_the_right_types(image_folder, tmp_path):
    manifest = make(image_folder, tmp_path / "set", format="npy").manifest
    path = tmp_path / "set" / "manifest.json"

    def read() -> dict | None:
        found = read_manifest(path.parent)
        if found is not None:
            Outcome.finished(found, before=True)
        open_corrupted(path.parent)
        return found

    accepted = outcomes(both(path.read_bytes(), random.Random(0)), path, read)
    for found in filter(None, accepted):
        for name in ("rows_sha256", "seed", "classes", "unreadable", "num_images", "preset", "split"):
            assert isinstance(found.get(name, manifest[name]), type(manifest[name]))


# The files of a run or a release


def test_a_damaged_config_is_refused_or_of_the_right_types(tmp_path):
    config = {**CARD_CONFIG, "pretrained_cfg": {**CARD_CONFIG["pretrained_cfg"], "tag": "cifar10"}}
    path = tmp_path / "config.json"

    def read() -> dict:
        check_files(tmp_path, ["config.json"])
        found = parse_config(path.read_bytes(), "config.json")
        release_name(found, tmp_path)
        return found

    for found in outcomes(both(json.dumps(config, indent=2).encode(), random.Random(0)), path, read):
        assert isinstance(found["pretrained_cfg"], dict)
        assert isinstance(found.get("label_names") or [], list)
        assert isinstance(found.get("model_args", {}), dict)


def test_a_damaged_record_of_a_training_is_refused_or_right(tmp_path):
    weights, path = tmp_path / "model.safetensors", tmp_path / "training.json"
    folder = RunFolder(tmp_path, resume=False, overwrite=False)
    weights.write_bytes(b"x")
    folder.write_training(sha256(weights), TRAINING)
    whole = path.read_bytes()
    for _, training in outcomes(both(whole, random.Random(0)), path, folder.read_training):
        assert training == TRAINING
    # An older version's, which has no checksum.
    path.write_text(json.dumps({name: value for name, value in json.loads(whole).items() if name != "checksum"}))
    assert folder.read_training() == (sha256(weights), TRAINING)


FEW = yaml.safe_load((RECIPES / "digits.yaml").read_text())


def test_a_damaged_recipe_is_refused_or_a_recipe(tmp_path):
    path, rng = tmp_path / "recipe.yaml", random.Random(0)
    content = Settings.from_mapping(FEW, "test").to_yaml().encode()
    settings = outcomes((damaged(content, rng) for _ in range(MUTANTS)), path, lambda: load_recipe(path))
    assert all(isinstance(found, Settings) for found in settings)
    values = json.loads(json.dumps(FEW))
    outcomes((changed(values, rng) for _ in range(MUTANTS)), path, lambda: load_recipe(path))


def test_the_check_of_a_damaged_card_gives_no_traceback(tmp_path):
    card, path, rng = card_of(PAIR), tmp_path / "README.md", random.Random(0)
    content = card.encode()

    def read() -> list[str]:
        check_files(tmp_path, ["README.md"])
        return discrepancies(path.read_bytes().decode(), card)

    # A card may be reworded; only its numbers must be right.
    for wrong in outcomes((damaged(content[:4000], rng) + content[4000:] for _ in range(MUTANTS)), path, read):
        assert all("\n" not in line for line in wrong)


def test_a_damaged_checkpoint_is_refused_or_the_same(tmp_path):
    identity = {"seed": 1}
    saved = Checkpoints(tmp_path, identity, 1)
    saved.save(3, {"train_state": {"step": 3}, "weights": torch.arange(20.0)})
    (path,) = (tmp_path / "state").glob("step-*.pt")
    rng, content = random.Random(0), path.read_bytes()

    def read() -> dict:
        found: list[dict] = []
        said: list[str] = []
        try:
            Checkpoints(tmp_path, identity, 1).load(found.append, said.append)
        finally:
            assert all("\n" not in line for line in said)
        return found[0]

    for found in outcomes((damaged(content, rng) for _ in range(MUTANTS)), path, read):
        assert found["train_state"] == {"step": 3}
        assert torch.equal(found["weights"], torch.arange(20.0))


def test_damaged_weights_are_refused_or_of_the_right_form(tmp_path):
    tensors = {"conv.weight": torch.zeros(2, 3), "fc.weight": torch.zeros(4)}
    content, path = safetensors.torch.save(tensors, {"avg_size": "3"}), tmp_path / "model.safetensors"
    rng = random.Random(0)

    def read() -> dict:
        check_files(tmp_path, [path.name])
        return safetensors.torch.load_file(path)

    for found in outcomes((damaged(content, rng) for _ in range(MUTANTS)), path, read):
        assert all(isinstance(tensor, torch.Tensor) for tensor in found.values())
