"""Generated sets that were interrupted: killed runs, shards, full disks, and what is made anew."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path
from unittest.mock import MagicMock

import pytest

from support.generated import FORMATS, content, make, start
from support.processes import assert_one_clear_line
from timm_pushpull import InputError, cli
from timm_pushpull.data.corrupted.folder import OutputFolder
from timm_pushpull.utils.locks import only_process


@pytest.mark.parametrize("format", FORMATS)
def test_two_shards_at_once_make_the_same_set_as_one_run(tmp_path, image_folder, format):
    make(image_folder, tmp_path / "one", format=format)
    for attempt in range(3):
        output = tmp_path / f"shards{attempt}"
        processes = [start(image_folder, output, format=format, shard=(number, 2)) for number in (1, 2)]
        for process in processes:
            process.join(60)
            assert process.exitcode == 0
        assert content(output) == content(tmp_path / "one")


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_second_process_is_refused(tmp_path, image_folder, run_inside, overwrite):
    def second(*options: str):
        options += ("--format", "npy", "--size", "32", *["--overwrite"] * overwrite)
        return run_inside(cli.main, "timm-pushpull", "corrupt", image_folder, tmp_path / "out", *options)

    make(image_folder, tmp_path / "out", format="npy", shard=(1, 2))
    before = content(tmp_path / "out")
    with only_process(tmp_path / "out"):
        assert_one_clear_line(second(), "another process is working on", "out")
    with only_process(tmp_path / "out", "shard-1-of-2"):
        assert_one_clear_line(second(), "another process is working on", "out")
        if not overwrite:
            assert_one_clear_line(second("--shard", "1/2"), "another process is working on", "out")
    assert content(tmp_path / "out") == before
    with only_process(tmp_path / "out", "shard-1-of-2"):
        assert make(image_folder, tmp_path / "out", format="npy", shard=(2, 2)).manifest
    assert not list(tmp_path.glob(".*.lock"))


@pytest.mark.parametrize(("format", "first"), [("npy", 3), ("imagefolder", 9), ("parquet", 9)])
def test_a_run_that_is_killed_again_and_again_ends_with_the_same_bytes(tmp_path, image_folder, format, first):
    """Every process dies before some rename: among files, among records, while completing."""
    make(image_folder, tmp_path / "one", format=format, chunk=1)
    output, kills = tmp_path / "out", 0
    for attempt in range(40):
        process = start(image_folder, output, format=format, chunk=1, die_at=first + attempt % 4)
        process.join(60)
        if process.exitcode == 0:
            break
        assert process.exitcode == -signal.SIGKILL
        assert not (output / "manifest.json").exists() or not (output / ".work").exists()
        kills += 1
    assert kills >= 2
    assert process.exitcode == 0
    assert content(output) == content(tmp_path / "one")


def test_a_run_killed_at_any_moment_ends_with_the_same_bytes(tmp_path, image_folder):
    options = {"format": "npy", "severities": (1, 2, 3, 4, 5), "chunk": 1, "size": 96}
    make(image_folder, tmp_path / "one", **options)
    moments, kills = random.Random(0), 0
    for _ in range(5):
        process = start(image_folder, tmp_path / "out", **options)
        while process.is_alive() and not (tmp_path / "out" / ".work" / "scan.json").exists():
            time.sleep(0.001)
        time.sleep(moments.uniform(0, 0.05))
        process.kill()
        process.join()
        kills += process.exitcode != 0
    assert kills
    make(image_folder, tmp_path / "out", **options)
    assert content(tmp_path / "out") == content(tmp_path / "one")


def test_only_what_is_missing_is_made_anew(tmp_path, image_folder):
    process = start(image_folder, tmp_path / "out", format="imagefolder", chunk=5, die_at=40)
    process.join(60)
    first = tmp_path / "out" / "contrast" / "1" / "dark" / "0.png"
    before = first.stat().st_mtime_ns
    make(image_folder, tmp_path / "out", format="imagefolder", chunk=5)
    assert first.stat().st_mtime_ns == before


def flip(path):
    content = bytearray(path.read_bytes())
    content[140] ^= 1  # of the first image in an array
    path.write_bytes(content)


DAMAGE = {
    "flipped bit": flip,
    "cut in half": lambda path: os.truncate(path, path.stat().st_size // 2),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "lost": Path.unlink,
    "a pipe": lambda path: (path.unlink(), os.mkfifo(path)),
}
FILES = {
    "npy": ".contrast.npy.partial",
    "imagefolder": "contrast/4/dark/1.png",
    "parquet": "contrast/severity_4-0000?-*",
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("format", FORMATS)
def test_damaged_images_of_recorded_chunks_are_made_anew(tmp_path, image_folder, format, damage):
    make(image_folder, tmp_path / "one", format=format)
    make(image_folder, tmp_path / "out", format=format, shard=(1, 2))
    path = min((tmp_path / "out").glob(FILES[format]))
    DAMAGE[damage](path)
    if (format, damage) == ("npy", "a pipe"):  # all chunks are in this file
        with pytest.raises(InputError, match="not a regular file"):
            make(image_folder, tmp_path / "out", format=format)
        path.unlink()
    assert make(image_folder, tmp_path / "out", format=format, shard=(2, 2)).missing
    make(image_folder, tmp_path / "out", format=format)
    assert content(tmp_path / "out") == content(tmp_path / "one")


def test_an_array_that_is_damaged_after_all_chunks_are_made_anew_too(tmp_path, image_folder, monkeypatch):
    """A run dies between the renames at the end, and one of the arrays that have their names is damaged."""
    make(image_folder, tmp_path / "one", format="npy")
    monkeypatch.setattr(OutputFolder, "finish", MagicMock(side_effect=KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        make(image_folder, tmp_path / "out", format="npy")
    monkeypatch.undo()
    flip(tmp_path / "out" / "contrast.npy")
    make(image_folder, tmp_path / "out", format="npy")
    assert content(tmp_path / "out") == content(tmp_path / "one")


def test_a_finished_set_is_left_alone(tmp_path, image_folder):
    first = make(image_folder, tmp_path / "out", format="npy")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    again = make(image_folder, tmp_path / "out", format="npy")
    assert again.before
    assert again.manifest == first.manifest
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()} == before


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("finished", [True, False])
def test_overwrite_starts_anew(tmp_path, image_folder, format, finished):
    make(image_folder, tmp_path / "one", format="npy", seed=6)
    make(image_folder, tmp_path / "out", format=format, shard=(1, 1 if finished else 2))
    make(image_folder, tmp_path / "out", format="npy", seed=6, overwrite=True)
    assert content(tmp_path / "out") == content(tmp_path / "one")


@pytest.mark.parametrize(("format", "limit"), [("npy", 20_000), ("imagefolder", 2500), ("parquet", 4000)])
def test_a_full_disk_is_one_line_and_the_command_goes_on_later(tmp_path, image_folder, format, limit):
    """Files cannot grow beyond a limit, which the system reports as it does a full disk."""
    process = start(image_folder, tmp_path / "out", format=format, file_limit=limit)
    process.join(60)
    assert process.exitcode == 2
    error = (tmp_path / "out.error").read_text()
    assert "file too large" in error
    assert "run the same command again" in error
    assert str(tmp_path / "out") in error
    left = [name for name in content(tmp_path / "out") if not name.startswith(".")]
    assert not any(name.endswith((".npy", ".parquet", "manifest.json")) for name in left)
    make(image_folder, tmp_path / "out", format=format)
    make(image_folder, tmp_path / "one", format=format)
    assert content(tmp_path / "out") == content(tmp_path / "one")
