"""Names and links in the files of others: nothing outside the folder that a user gave is removed or written to."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import constants

from support.generated import FORMATS, make
from support.hostile import NAMES, TEXTS, tree
from support.processes import assert_one_clear_line
from timm_pushpull import InputError, cli
from timm_pushpull.benchmark import ProgressLog, Results
from timm_pushpull.data import open_corrupted
from timm_pushpull.data.corrupted.imagefolder import ImageFolderWriter
from timm_pushpull.data.corrupted.parquet import ParquetWriter
from timm_pushpull.utils import files, hub_client
from timm_pushpull.utils.json_text import with_checksum

pytestmark = pytest.mark.usefixtures("unharmed")

# Names


@NAMES
def test_hostile_names_are_no_file_names(name, tmp_path):
    with pytest.raises(InputError, match="is not a plain file name"):
        files.check_name(name, "a row")


@pytest.mark.parametrize("name", ["fog", "resnet18_cifar.cifar10", "1", ".hidden", "a b", "..a", "Straße", "x" * 255])
def test_plain_names_pass(name):
    assert files.check_name(name, "a row") == name


@pytest.mark.parametrize("name", sorted({*TEXTS, "\ud800"} - {"a/b", "fog/", "./fog"}), ids=ascii)
def test_nothing_is_written_or_removed_by_a_hostile_name(name, tmp_path):
    """Not even where a caller forgets to check it."""
    folder = tmp_path / "set"
    folder.mkdir()
    before = sorted(tmp_path.iterdir())
    path = f"{folder}/{name}" if name != "/abs" else name  # as text: a Path would hide a part of it
    with pytest.raises(InputError):
        files.write_file(path, "x", within=folder)
    with pytest.raises(InputError):
        files.remove(path, within=folder)
    with pytest.raises(InputError):
        files.make_folder(path, within=folder)
    assert sorted(tmp_path.iterdir()) == before
    assert not list(folder.iterdir())


# Links


@pytest.mark.parametrize("place", ["link", "a/link", "link/x", "a/link/x"])
@pytest.mark.parametrize("target", ["victim", "victim/file", "missing"])
def test_links_are_not_followed(place, target, tmp_path):
    folder = tmp_path / "set"
    link = folder / place.removesuffix("/x")
    link.parent.mkdir(parents=True)
    link.symlink_to(tmp_path / target)
    within = place.endswith("/x")
    for act in (
        lambda: files.make_folder(folder / place, within=folder),
        lambda: files.open_plain(folder / place) if not within else files.check_within(folder / place, folder),
        lambda: files.open_plain(link, "r+b", create=True),
        lambda: files.open_plain(link, "ab"),
        lambda: files.open_plain(link, "xb"),
        lambda: files.read_plain(link, 100),
        lambda: files.copy_file(link, folder / "copy"),
        lambda: files.copy_file(folder / "original", link),
        lambda: files.copy_files(link.parent, folder, ["link"]),
    ):
        (folder / "original").write_text("x")
        with pytest.raises(InputError, match="is a symbolic link"):
            act()
    if within:
        for act in (files.remove, lambda path, within: files.write_file(path, "x", within=within)):
            with pytest.raises(InputError, match="is a symbolic link"):
                act(folder / place, within=folder)
        return
    assert link.is_symlink()
    files.write_file(link, "mine", within=folder)
    assert not link.is_symlink()
    assert link.read_text() == "mine"
    link.unlink()
    link.symlink_to(tmp_path / target)
    files.remove(link, within=folder)
    assert not os.path.lexists(link)
    assert not (tmp_path / "missing").exists()


def test_a_link_made_between_the_check_and_the_opening_is_not_followed(tmp_path, victim, monkeypatch):
    (tmp_path / "link").symlink_to(victim / "file")
    monkeypatch.setattr(files, "refuse_link", lambda path: None)
    for mode in ("rb", "r+b", "ab"):
        with pytest.raises(InputError, match="is not a regular file"):
            files.open_plain(tmp_path / "link", mode)
    with pytest.raises(FileExistsError):
        files.open_plain(tmp_path / "link", "xb")


def test_pipes_and_devices_are_not_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", "/dev/zero"):
        for mode in ("rb", "r+b", "ab"):
            with pytest.raises(InputError, match="is not a regular file"):
                files.open_plain(path, mode)


def test_no_file_takes_the_place_of_a_pipe_or_a_device(tmp_path):
    """Renaming would: as root, `--output /dev/null` would replace the device."""
    pipe, link = tmp_path / "pipe", tmp_path / "null"
    os.mkfifo(pipe)
    link.symlink_to(os.devnull)
    before = sorted(tmp_path.iterdir())
    for path in (pipe, link):
        for write in (files.check_output, lambda path: files.write_file(path, "x")):
            with pytest.raises(InputError, match="is a pipe or a device; give a file"):
                write(path)
    assert pipe.is_fifo()
    assert link.is_symlink()
    assert sorted(tmp_path.iterdir()) == before


def test_pipes_in_folders_of_others_are_not_waited_for(tmp_path, image_folder):
    (tmp_path / "run").mkdir()
    os.mkfifo(tmp_path / "run" / "results.json")
    with pytest.raises(InputError, match=r"results\.json' is not a file; replace it"):
        Results.load(tmp_path / "run")
    for name in ("labels.npy", "contrast.npy"):
        make(image_folder, tmp_path / "set", format="npy", overwrite=True)
        (tmp_path / "set" / name).unlink()
        os.mkfifo(tmp_path / "set" / name)
        with pytest.raises(InputError, match=f"{name}' is not a file; restore it"):
            open_corrupted(tmp_path / "set")


def test_a_removed_folder_s_links_keep_their_targets(tmp_path, victim):
    (tmp_path / "set" / "fog").mkdir(parents=True)
    (tmp_path / "set" / "fog" / "link").symlink_to(victim)
    files.remove(tmp_path / "set" / "fog", within=tmp_path / "set")
    assert not list((tmp_path / "set").iterdir())


@pytest.mark.parametrize("place", ["new", ".new.old"])
def test_a_new_folder_replaces_links(place, tmp_path, victim):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / place).symlink_to(victim)
    if place != "new":
        (tmp_path / "in" / "new").mkdir()
    for _ in range(2):
        with files.new_folder(tmp_path / "in" / "new") as folder:
            (folder / "x").write_text("x")
    assert [path.name for path in (tmp_path / "in").iterdir()] == ["new"]
    assert not (tmp_path / "in" / "new").is_symlink()


def test_a_new_folder_removes_what_killed_processes_have_left_and_puts_back_what_they_moved(tmp_path):
    place = tmp_path / "in"
    stale, others = place / ".new.ab12_cd3.tmp", [place / ".new.mine.tmp", place / ".newer.ab12_cd3.tmp"]
    for folder in (stale, *others, place / ".new.old"):
        folder.mkdir(parents=True)
    (place / ".new.old" / "kept").touch()
    with pytest.raises(KeyboardInterrupt), files.new_folder(place / "new"):
        raise KeyboardInterrupt
    assert (place / "new" / "kept").exists()
    assert sorted(place.iterdir()) == sorted([*others, place / "new"])


def test_what_killed_processes_have_left_of_a_file_is_removed(tmp_path):
    place = tmp_path / "in"
    place.mkdir()
    stale, others = place / f".x.json.{'0a' * 8}.tmp", [place / ".x.json.mine.tmp", place / "x.json"]
    for path in (stale, *others):
        path.touch()
    files.remove_temporary(place / "x.json")
    assert sorted(place.iterdir()) == sorted(others)


def test_writing_a_file_removes_what_was_left_of_it_hours_ago(tmp_path):
    """A younger one may be that of a process at work."""
    place = tmp_path / "in"
    place.mkdir()
    old, young = place / f".x.html.{'0a' * 8}.tmp", place / f".x.html.{'0b' * 8}.tmp"
    for path in (old, young):
        path.touch()
    os.utime(old, (time.time() - 4000,) * 2)
    files.write_file(place / "x.html", "x")
    assert sorted(place.iterdir()) == sorted([young, place / "x.html"])


def test_temporary_files_are_new_unpredictable_and_on_the_disk_before_they_are_renamed(tmp_path, monkeypatch):
    done, opened, sync, replace = [], [], os.fsync, os.replace
    system_open = os.open

    def noting_open(path, flags, *more, **named):
        opened.append((str(path), flags))
        return system_open(path, flags, *more, **named)

    monkeypatch.setattr(os, "open", noting_open)
    monkeypatch.setattr(os, "fsync", lambda number: (done.append("fsync"), sync(number)))
    monkeypatch.setattr(os, "replace", lambda *paths: (done.append(str(paths[0])), replace(*paths)))
    for _ in range(2):
        files.write_file(tmp_path / "file", "x")
    assert done[0] == done[2] == "fsync"
    assert done[1] != done[3]
    assert re.fullmatch(r"\.file\.[0-9a-f]{16}\.tmp", Path(done[1]).name)
    assert [path for path, _ in opened] == [done[1], done[3]]
    assert all(flags & os.O_EXCL and flags & os.O_NOFOLLOW for _, flags in opened)
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["file"]


def test_a_temporary_file_that_cannot_be_written_is_gone_and_one_of_others_is_not(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "replace", lambda *paths: (_ for _ in ()).throw(PermissionError(13, "no")))
    with pytest.raises(InputError, match="permission denied"):
        files.write_file(tmp_path / "file", "x")
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == []
    (tmp_path / "taken").write_text("another process")
    with pytest.raises(FileExistsError):
        files.replace_file(tmp_path / "file", b"x", tmp_path / "taken")
    assert (tmp_path / "taken").read_text() == "another process"


# Corrupted sets


def corrupt(run_inside, source: Path, output: Path, *more: str):
    given = ("corrupt", source, output, "--format", "npy", "--corruptions", "contrast", "--severities", "1")
    return run_inside(lambda: cli.main([*map(str, given), *more]), "timm-pushpull corrupt")


@NAMES
@pytest.mark.parametrize("place", ["manifest.json", ".work/job.json"])
def test_a_set_s_words_are_no_paths_to_remove(name, place, tmp_path, image_folder, run_inside):
    settings = {"rows_sha256": "x", "corruptions": ["contrast", name]}
    (tmp_path / "set" / ".work").mkdir(parents=True)
    content = settings if place == "manifest.json" else {"settings": settings, "origin": {}}
    (tmp_path / "set" / place).write_text(json.dumps(content))
    before = tree(tmp_path / "set")
    for more in ((), ("--overwrite",)):
        assert_one_clear_line(corrupt(run_inside, image_folder, tmp_path / "set", *more), "corruptions")
        assert tree(tmp_path / "set") == before


@pytest.mark.parametrize(
    "settings",
    [
        *({}, {"corruptions": []}, {"corruptions": "../victim"}, {"corruptions": {"../victim": 1}}),
        *({"corruptions": ["fog"], "severities": severities} for severities in (["../victim"], [True], [1.0], 1, [])),
    ],
    ids=str,
)
def test_a_set_of_the_wrong_form_is_refused(settings, tmp_path, image_folder, run_inside):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "manifest.json").write_text(json.dumps({"rows_sha256": "x", **settings}))
    assert_one_clear_line(corrupt(run_inside, image_folder, tmp_path / "set", "--overwrite"), "does not describe")
    with pytest.raises(InputError, match="does not describe"):
        open_corrupted(tmp_path / "set")


@NAMES
@pytest.mark.parametrize("format", FORMATS)
def test_a_reader_opens_no_path_that_a_manifest_gives(name, format, tmp_path, image_folder):
    array = io.BytesIO()
    np.save(array, np.zeros((5, 1, 1, 3), np.uint8))
    (tmp_path / "set").mkdir()
    (tmp_path / "outside.npy").write_bytes(array.getvalue())
    manifest = {"rows_sha256": "x", "format": format, "corruptions": [name], "severities": [1]}
    (tmp_path / "set" / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(InputError, match="does not describe a corrupted set"):
        open_corrupted(tmp_path / "set")


def test_overwriting_removes_the_set_and_no_target_of_its_links(tmp_path, image_folder, victim):
    make(image_folder, tmp_path / "set", format="imagefolder")
    folder = tmp_path / "set"
    shutil.rmtree(folder / "contrast")
    (folder / "contrast").symlink_to(victim)
    (folder / "gaussian_noise" / "1" / "link").symlink_to(victim)
    (folder / "labels.npy").symlink_to(victim / "file")
    (folder / "contrast.npy").symlink_to(victim / "file")
    (folder / ".contrast.npy.partial").symlink_to(victim / "file")
    assert make(image_folder, folder, format="imagefolder", overwrite=True).manifest
    assert not any(path.is_symlink() for path in folder.rglob("*"))


@pytest.mark.parametrize(
    ("format", "place", "target"),
    [
        *((format, ".work", "victim") for format in FORMATS),
        ("imagefolder", "contrast", "victim"),
        ("imagefolder", "contrast/1", "victim"),
        ("imagefolder", "contrast/1/dark", "victim"),
        ("imagefolder", "contrast/1/dark", "missing"),
        ("parquet", "contrast", "victim"),
        ("npy", ".contrast.npy.partial", "victim/file"),
        ("npy", ".contrast.npy.partial", "missing"),
        ("npy", "contrast.npy", "victim/file"),
    ],
)
def test_a_set_is_not_written_through_links(format, place, target, tmp_path, image_folder):
    folder = tmp_path / "set"
    assert make(image_folder, folder, format=format, shard=(1, 2)).missing
    if place == ".work":
        shutil.move(folder / ".work", tmp_path / "moved")
    elif (folder / place).is_dir():
        shutil.rmtree(folder / place)
    else:
        (folder / place).unlink(missing_ok=True)
    (folder / place).symlink_to(tmp_path / target)
    with pytest.raises(InputError, match="is a symbolic link"):
        make(image_folder, folder, format=format, shard=(2, 2))
    if place == ".work":
        with pytest.raises(InputError, match="is a symbolic link"):
            make(image_folder, folder, format=format, overwrite=True)
    assert not (tmp_path / "missing").exists()


@pytest.mark.parametrize(("format", "writer"), [("imagefolder", ImageFolderWriter), ("parquet", ParquetWriter)])
def test_a_link_made_after_a_set_s_folders_is_not_followed(format, writer, tmp_path, image_folder, monkeypatch):
    def begin(self) -> None:
        (tmp_path / "set" / "contrast").symlink_to(tmp_path / "victim")

    monkeypatch.setattr(writer, "begin", begin)
    with pytest.raises(InputError, match="is a symbolic link"):
        make(image_folder, tmp_path / "set", format=format)


def test_links_at_the_names_of_a_set_s_last_files_are_refused_or_replaced(tmp_path, image_folder):
    folder = tmp_path / "set"
    make(image_folder, folder, format="npy", shard=(1, 2))
    for name, target in (("manifest.json", "missing"), ("labels.npy", "victim/file")):
        (folder / name).symlink_to(tmp_path / target)
    with pytest.raises(InputError, match=r"manifest.json.*is a symbolic link"):
        make(image_folder, folder, format="npy", shard=(2, 2))
    (folder / "manifest.json").unlink()
    assert make(image_folder, folder, format="npy", shard=(2, 2)).manifest
    assert not (folder / "labels.npy").is_symlink()
    assert not (tmp_path / "missing").exists()


def test_what_a_job_says_of_its_origin_replaces_nothing_else_in_the_manifest(tmp_path, image_folder):
    make(image_folder, tmp_path / "set", format="parquet", shard=(1, 2))
    job = tmp_path / "set" / ".work" / "job.json"
    content = json.loads(job.read_text())
    content["origin"] |= {"corruptions": ["../victim"], "commit": "of the first"}
    job.write_text(json.dumps(with_checksum(content)))
    manifest = make(image_folder, tmp_path / "set", format="parquet", shard=(2, 2)).manifest
    assert manifest["corruptions"] == ["contrast", "gaussian_noise"]
    assert manifest["commit"] == "of the first"


def test_a_set_may_be_reached_through_a_link(tmp_path, image_folder):
    """The folder itself is the user's choice, such as a link to a larger disk."""
    (tmp_path / "disk").mkdir()
    (tmp_path / "set").symlink_to(tmp_path / "disk")
    assert make(image_folder, tmp_path / "set", format="npy").manifest
    assert make(image_folder, tmp_path / "set", format="npy", overwrite=True).manifest
    assert (tmp_path / "disk" / "manifest.json").is_file()


# Progress logs, the Hub's cache


@pytest.mark.parametrize("target", ["victim/file", "missing"])
def test_a_progress_log_is_not_written_through_a_link(target, tmp_path):
    (tmp_path / "results.json.part").symlink_to(tmp_path / target)
    with pytest.raises(InputError, match="is a symbolic link"):
        ProgressLog(tmp_path / "results.json.part", {"model": "x"})
    (tmp_path / "results.json.part").unlink()
    log = ProgressLog(tmp_path / "results.json.part", {"model": "x"})
    (tmp_path / "results.json.part").symlink_to(tmp_path / target)  # since it was opened
    with pytest.raises(InputError, match="is a symbolic link"):
        log.append(("fog", 1), 0, np.zeros(2, bool), None, 2)
    log.remove()
    assert not (tmp_path / "missing").exists()


def test_a_damaged_download_s_link_out_of_the_cache_keeps_its_target(tmp_path, monkeypatch):
    outside = tmp_path / ("0" * 64)
    outside.write_text("precious")
    snapshot = tmp_path / "cache" / "models--me--x" / "snapshots" / "1" / hub_client.WEIGHTS
    snapshot.parent.mkdir(parents=True)
    snapshot.symlink_to(outside)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(hub_client, "hf_hub_download", lambda *_, **__: str(snapshot))
    with pytest.raises(InputError, match="damaged on the way"):
        hub_client.download("me/x")
    assert outside.read_text() == "precious"
    assert not snapshot.is_symlink()
