"""SIGTERM and SIGINT: a training saves a checkpoint and goes on from it, other commands keep what they have."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from support.example_training import assert_same, folder_arguments, read_checkpoint, start
from support.image_folder import make_image_folder
from support.paths import ROOT
from support.processes import Command, wait_for_all, wait_until
from train import train
from train.log import LogWindow
from train.signals import StopRequest
from train.trainer import Trainer

#: No checkpoint but those of the signals and the end.
RARELY = {"limit": 60, "batch-size": 2, "save-minutes": 100}
STEPS = 60  # 2 epochs


def said(command: Command, stream: str = "stderr") -> str:
    path = Path(command._folder.name) / stream
    return path.read_text() if path.exists() else ""


@pytest.mark.parametrize(("owner", "name", "steps"), [(Trainer, "train_step", 2), (train, "validate", 3)])
def test_a_signal_changes_nothing_but_when_the_run_ends(tmp_path, run_inside, monkeypatch, owner, name, steps):
    """A run stops after the second step of three, or after the first test, and says so before."""
    dataset, whole, run = make_image_folder(tmp_path / "images"), tmp_path / "whole", tmp_path / "run"
    more, function = ["--skip-benchmark", "--save-minutes", "100"], getattr(owner, name)

    def with_signal(trainer, second, *others):
        if second == 1 or name == "validate":
            os.kill(os.getpid(), signal.SIGTERM)
        return function(trainer, second, *others)

    assert run_inside(train.main, *folder_arguments(dataset, whole), *more).returncode == 0
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, with_signal)
        patch.setattr(LogWindow, "__init__", of_20_steps)
        process = run_inside(train.main, *folder_arguments(dataset, run), *more)
    assert process.returncode == 143, process.stderr
    answer, *_, last = process.stderr.splitlines()
    assert answer.startswith("train.py: stopping after the current steps or test, with a checkpoint; a second signal")
    assert f"train.py: stopped in epoch {1 + steps // 3}, step {steps % 3}; resume with: " in last
    assert [path.name for path in (run / "state").iterdir()] == [f"step-{steps:08d}.pt"]
    monkeypatch.setattr(LogWindow, "SECONDS", 0)  # other windows, the same sums
    assert run_inside(train.main, *folder_arguments(dataset, run), *more, "--resume").returncode == 0
    assert_same(read_checkpoint(run, 6), read_checkpoint(whole, 6))
    assert (run / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    assert (run / "log.csv").read_text() == (whole / "log.csv").read_text()


def of_20_steps(window: LogWindow, accelerator: object) -> None:
    ORIGINAL(window, accelerator)
    window._size = window._proposed = 20


ORIGINAL = LogWindow.__init__


def test_processes_agree_on_windows_of_five_seconds(monkeypatch):
    now, theirs = [0.0], [0, 1]  # the clock; what the other process says: stop, steps

    def reduce(sums: torch.Tensor) -> torch.Tensor:
        other = torch.zeros_like(sums)
        other[-1] = torch.tensor(theirs)
        return sums + other

    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    window = LogWindow(SimpleNamespace(device=torch.device("cpu"), num_processes=2, reduce=reduce))

    def steps(seconds: float) -> int:
        """Steps of a window, of so many seconds each."""
        for count in range(1, 100):
            now[0] += seconds
            window.add(torch.tensor(float(count)), torch.tensor(1.0), 8, 0.1)
            if window.is_full():
                found, total, stops = window.reduce()
                assert [step.loss for step in found] == [float(number) for number in range(1, count + 1)]
                assert (total, stops) == (pytest.approx(count * seconds), bool(theirs[0]))
                return count
        return 0

    assert [steps(1), steps(1)] == [1, 1]  # the pace is not known, then only here
    theirs[1] = 6
    assert [steps(0.01), steps(0.01)] == [3, 5]  # the means of 1 and 5, of 5 and 6, rounded down
    theirs[1] = 20
    assert [steps(0.01), steps(60), steps(60)] == [13, 20, 20]
    theirs[:] = [1, 1]
    assert [steps(60), steps(60)] == [10, 1]


@pytest.mark.slow
@pytest.mark.parametrize(("processes", "number"), [(1, signal.SIGTERM), (2, signal.SIGINT)])
def test_a_training_that_is_told_to_stop_goes_on_to_the_same_weights(tmp_path, processes, number):
    whole, run = tmp_path / "whole", tmp_path / "run"
    uninterrupted = start(whole, processes, "--skip-benchmark", **RARELY)
    commands = start(run, processes, "--skip-benchmark", **RARELY)
    wait_until(lambda: "epoch 1/2" in said(commands[0], "stdout") or not commands[0].is_running())
    os.kill(commands[-1]._process.pid, number)  # one of several: all end
    ends = [command.wait(300) for command in commands]
    for command in commands:
        command.close()
    codes = [end.returncode for end in ends]
    assert codes[-1] == 128 + number, ends[-1].stderr
    assert all(code in (128 + signal.SIGTERM, 128 + number) for code in codes)
    last = ends[0].stderr.strip().splitlines()[-1]
    assert last.startswith("train.py: stopped in epoch ")
    launched = "" if len(commands) > 1 else "python "
    assert f"; resume with: {launched}{ROOT / 'train' / 'train.py'} " in last
    assert last.endswith(" --resume")
    assert "Traceback" not in ends[0].stderr
    (checkpoint,) = (run / "state").glob("*")
    assert 0 < int(checkpoint.stem.removeprefix("step-")) < STEPS
    assert not (run / "model.safetensors").exists()
    (resumed, *others) = start(run, processes, "--skip-benchmark", "--resume", **RARELY)
    assert "resumed in epoch" in wait_for_all([resumed, *others]).stdout
    wait_for_all(uninterrupted)
    assert_same(read_checkpoint(run, STEPS), read_checkpoint(whole, STEPS))
    for name in ("model.safetensors", "log.csv"):
        assert (run / name).read_bytes() == (whole / name).read_bytes(), name


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("place", ["save_weights", "run_benchmark"])
def test_a_signal_after_the_last_step_says_how_to_resume(
    tmp_path, run_inside, monkeypatch, default_signals, place, number
):
    dataset, run = make_image_folder(tmp_path / "images"), tmp_path / "run"
    function = getattr(train, place)

    def with_signal(*arguments):
        os.kill(os.getpid(), number)
        time.sleep(0.5)  # another thread may get it first
        return function(*arguments)

    monkeypatch.setattr(train, place, with_signal)
    process = run_inside(train.main, *folder_arguments(dataset, run, epochs=1))
    assert process.returncode == 128 + number, process.stderr
    assert "train.py: stopped; resume with: " in process.stderr.splitlines()[-1]
    assert process.stderr.splitlines()[-1].endswith(" --resume")
    assert (run / "training.json").exists()


def test_a_second_signal_ends_at_once_and_a_repeated_one_does_not(monkeypatch, capfd):
    killed, request = [], StopRequest(says_so=True)
    monkeypatch.setattr(os, "kill", lambda *_: killed.append(1))
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    request.handle(signal.SIGINT, None)
    request.handle(signal.SIGTERM, None)  # the launcher passes it on
    assert (request.signal, killed) == (signal.SIGINT, [])
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 10)
    request.handle(signal.SIGINT, None)
    assert killed == [1]
    assert capfd.readouterr().err.count("a second signal stops it at once") == 1


@pytest.fixture
def default_signals():
    """As in a new process: servers of other tests leave a handler of their own, and nohup or & ignore SIGINT."""
    handlers = {signal.SIGTERM: signal.SIG_DFL, signal.SIGINT: signal.default_int_handler}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_sigterm_ends_a_command_in_order(run_inside, default_signals):
    undone = []

    def command() -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(10)
        finally:
            undone.append(1)

    process = run_inside(command, "name")
    assert (process.returncode, process.stderr, undone) == (143, "name: terminated\n", [1])
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


#: What `release.py --measure` starts: it waits until it is told to end, and notes that it was.
MEASURING = """\
import signal, sys, time
from pathlib import Path
signal.signal(signal.SIGTERM, lambda *_: (Path("ended").touch(), sys.exit(143)))
Path("began").touch()
time.sleep(60)
"""
MEASURE = """\
import sys
from pathlib import Path
from timm_pushpull import cli
from train import release
plan = release.load_planned()["resnet18.imagenette"]
Path("run").mkdir()
Path("run/training.json").touch()  # as of a measurement that is resumed
release.training_command = lambda *_: [sys.executable, "measuring.py"]
release._PATIENCE = 0.1  # for a measurement that the terminal has interrupted too
cli.run(lambda: release.measure(plan, Path("run"), Path("releases"), None, []), "release.py")
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_measurement_of_a_release_is_ended_with_its_command(tmp_path, default_signals, number, code):
    (tmp_path / "measuring.py").write_text(MEASURING)
    (tmp_path / "measure.py").write_text(MEASURE)
    with Command(tmp_path / "measure.py", cwd=tmp_path) as command:
        wait_until((tmp_path / "began").exists)
        os.kill(command._process.pid, number)
        assert command.wait().returncode == code
    assert (tmp_path / "ended").exists()


#: Stands for SLURM's commands: notes the call; `srun` runs until it is told to end.
SLURM = """\
#!/usr/bin/env bash
echo "$(basename "$0") $1 ${2-}" >> calls
case "$(basename "$0")" in
    scontrol) [ "$1" != show ] || echo localhost ;;
    scancel) touch stop ;;
    srun) while [ ! -e stop ] && [ $SECONDS -lt 600 ]; do sleep 0.05; done; exit "$CODE" ;;
esac
"""


@pytest.mark.skipif(not shutil.which("bash"), reason="needs bash")
@pytest.mark.parametrize("code", [1, 0])
def test_a_slurm_job_passes_the_signal_on_and_is_queued_again_unless_it_is_done(tmp_path, code):
    for name in ("scontrol", "scancel", "srun"):
        (tmp_path / name).write_text(SLURM)
        (tmp_path / name).chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "a"}
    job = subprocess.Popen(
        ["bash", ROOT / "train" / "clusters" / "slurm.sh"], cwd=tmp_path, env=environment | {"CODE": str(code)}
    )
    calls = tmp_path / "calls"
    wait_until(lambda: calls.exists() and "srun" in calls.read_text(), 20)
    job.send_signal(signal.SIGTERM)
    assert job.wait(20) == 0
    lines = calls.read_text().splitlines()
    assert "scancel --signal=TERM 7" in lines
    assert ("scontrol requeue 7" in lines) == (code != 0)
