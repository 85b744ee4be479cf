"""Two processes on one run folder or results file, and what killed ones leave there."""

from __future__ import annotations

import time

import pytest

from support.example_run import write_run
from support.example_training import folder_arguments, start
from support.image_folder import make_image_folder
from support.processes import assert_one_clear_line
from timm_pushpull import cli
from timm_pushpull.utils import locks
from timm_pushpull.utils.errors import InputError
from timm_pushpull.utils.locks import lock_file, only_process
from train import train

pytestmark = pytest.mark.skipif(locks.fcntl is None, reason="needs file locks")


def test_a_second_training_is_refused_until_the_first_is_killed(tmp_path):
    run = tmp_path / "run"
    (first,) = start(run, 1)
    with first:
        end = time.monotonic() + 300
        while not list(run.glob("state/step-*.pt")):
            assert first.is_running()
            assert time.monotonic() < end
            time.sleep(0.05)
        (second,) = start(run, 1, "--resume")
        with second:
            assert_one_clear_line(second.wait(), "another process is working on", str(run), "stop it")
        assert first.is_running()
    lock = tmp_path / ".run.lock"
    assert lock.exists()  # the first was killed
    with only_process(run):
        assert lock.exists()
    assert not lock.exists()


def test_a_second_benchmark_is_refused(tmp_path, image_folder, run_inside):
    output = tmp_path / "results.json"
    write_run(tmp_path / "model")
    options = ["--model", f"local-dir:{tmp_path / 'model'}", "--dataset", image_folder, "--limit", "2"]
    options += ["--corruptions", "fog", "--preset", "cifar10-c", "--output", output]
    with only_process(output):
        process = run_inside(cli.main, "timm-pushpull", "benchmark", *options)
    assert_one_clear_line(process, "another process is working on", "results.json")


def test_a_lock_that_was_removed_meanwhile_is_not_taken(tmp_path, monkeypatch):
    """Its holder removes the file between its opening and its locking by another process."""
    path, opened = tmp_path / "lock", []
    open_plain = locks.open_plain

    def open_and_lose(*arguments):
        opened.append(open_plain(*arguments))
        if len(opened) == 1:
            path.unlink()
        return opened[-1]

    monkeypatch.setattr(locks, "open_plain", open_and_lose)
    with lock_file(path) as lock:
        assert lock
        assert path.exists()
        with lock_file(path) as other:
            assert other is None


def test_without_locks_every_process_works(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "fcntl", None)
    with only_process(tmp_path / "run"), only_process(tmp_path / "run"):
        pass


def test_one_at_a_time_works_on_a_place_that_has_two_paths(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "run")
    refused = pytest.raises(InputError, match="another process is working on")
    with only_process(tmp_path / "run"), refused, only_process(tmp_path / "link"):
        pass
    with only_process(tmp_path / "link"):
        pass


def test_parts_are_worked_on_side_by_side(tmp_path):
    place = tmp_path / "set"
    with only_process(place, "a"):
        with only_process(place, "b"):
            for part in ("a", None):
                with pytest.raises(InputError, match="another process is working on"), only_process(place, part):
                    pass
        with pytest.raises(InputError, match="another process is working on"), only_process(place):
            pass
    assert not list(tmp_path.iterdir())
    with only_process(place), pytest.raises(InputError), only_process(place, "a"):
        pass
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("more", [[], ["--resume"]])
def test_a_run_that_ends_while_another_one_starts_is_kept(tmp_path, run_inside, monkeypatch, more):
    """Both have looked at the folder; the second gets the lock when the first has finished."""
    dataset, run = make_image_folder(tmp_path / "images"), tmp_path / "run"
    if more:
        run.mkdir()
        (run / "recipe.yaml").touch()
    print_start = train.print_start

    def finish_meanwhile(*arguments, **options):
        print_start(*arguments, **options)
        run.mkdir(exist_ok=True)
        for name in ("recipe.yaml", "training.json"):
            (run / name).touch()

    monkeypatch.setattr(train, "print_start", finish_meanwhile)
    process = run_inside(train.main, *folder_arguments(dataset, run, epochs=1), "--skip-benchmark", *more)
    assert_one_clear_line(process, "run the same command again" if more else "already holds a run")
    assert (run / "training.json").exists()


def test_what_killed_processes_have_not_completed_is_removed(tmp_path, run_inside):
    dataset, run = make_image_folder(tmp_path / "images"), tmp_path / "run"
    stale = [run / f".recipe.yaml.{'0a' * 8}.tmp", run / "state" / f".step-00000003.pt.{'0a' * 8}.tmp"]
    stale.append(run / "state" / ".step-00000003.tmp")  # of an older version
    others = [run / ".mine.tmp"]

    def plant() -> None:
        (run / "state").mkdir(parents=True, exist_ok=True)
        for path in stale:
            path.touch()

    plant()
    for path in stale[1:]:
        path.unlink()
    (run / "state").rmdir()
    command = [*folder_arguments(dataset, run, epochs=1), "--skip-benchmark", "--resume"]
    process = run_inside(train.main, *command)  # killed before it had written its recipe
    assert process.returncode == 0, process.stderr
    assert not any(path.exists() for path in stale)
    plant()
    others[0].touch()
    assert run_inside(train.main, *command).returncode == 0
    assert not any(path.exists() for path in stale)
    assert others[0].exists()
    assert not (tmp_path / ".run.lock").exists()
