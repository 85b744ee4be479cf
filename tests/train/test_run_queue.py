"""The queue: jobs in real processes, one per core, and what is left of them when it is killed."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from support.paths import ROOT
from support.processes import Command, assert_one_clear_line, wait_until
from timm_pushpull.benchmark.results import Results
from timm_pushpull.utils.locks import lock_file
from train import run_queue
from train.command_line import parse
from train.run_queue import PLAN, Job, available_cores, plan_jobs

QUEUE = ROOT / "train" / "run_queue.py"
#: Runs the jobs of a file on so many cores and prints the names of those that failed.
DRIVER = """\
import json, sys
from pathlib import Path
from train.run_queue import Job, Queue, available_cores
folder, cores = Path(sys.argv[1]), int(sys.argv[2])
jobs = []
for job in json.loads((folder / "jobs.json").read_text()):
    makes, needs = ([folder / name for name in job[key]] for key in ("makes", "needs"))
    jobs.append(Job(job["name"], job["command"], tuple(makes), tuple(needs)))
print("failed:", Queue(jobs, folder).run(available_cores()[:cores]))
"""
#: Notes that it has started, where and with how many threads; waits until it may end; writes what it makes.
JOB = """\
import os, sys, time
from pathlib import Path
name, wait_for, code = sys.argv[1:]
cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
with open(f"{name}.started", "a") as file:
    file.write(f"{os.getpid()} {cores} {os.environ['OMP_NUM_THREADS']} {time.monotonic()}\\n")
end = time.monotonic() + 600  # not for ever, should the test fail
while wait_for and not os.path.exists(wait_for) and time.monotonic() < end:
    time.sleep(0.02)
if int(code):
    sys.exit(int(code))
Path(f"{name}.made").write_text(str(time.monotonic()))
"""


def job(folder: Path, name: str, needs: tuple[str, ...] = (), wait_for: str = "", code: int = 0) -> dict:
    """A job that ends once the file `wait_for` exists, where that is given, and makes NAME.made if its code is 0."""
    script = f"import os; os.chdir({str(folder)!r})\n{JOB}"
    command = [sys.executable, "-c", script, name, wait_for, str(code)]
    return {"name": name, "command": command, "makes": [f"{name}.made"], "needs": [f"{need}.made" for need in needs]}


def start(folder: Path, jobs: list[dict], cores: int = 1, niceness: int = 0) -> Command:
    """Start a queue of these jobs."""
    (folder / "jobs.json").write_text(json.dumps(jobs))
    (folder / "driver.py").write_text(f"import os; os.nice({niceness})\n{DRIVER}")
    return Command(folder / "driver.py", folder, str(cores))


def starts(folder: Path, name: str) -> list[list[str]]:
    """Process, cores, threads and time of every start of a job."""
    path = folder / f"{name}.started"
    return [line.rsplit(" ", 2) for line in path.read_text().splitlines()] if path.exists() else []


def process_of(folder: Path, name: str) -> int:
    return int(starts(folder, name)[-1][0].split()[0])


def handles(process: int, number: signal.Signals) -> bool:
    """Whether a process has a handler of its own for a signal."""
    caught = re.search(r"^SigCgt:\s*(\w+)", Path(f"/proc/{process}/status").read_text(), re.MULTILINE)
    return bool(int(caught[1], 16) >> (number - 1) & 1)


def autogroup(process: int | str) -> str:
    """The session that a process is scheduled in, and its niceness; nothing where processes are not grouped so."""
    try:
        return Path(f"/proc/{process}/autogroup").read_text()
    except OSError:
        return ""


def sets_niceness() -> bool:
    """Whether processes are grouped by session here, and the niceness of a session may be set."""
    try:
        Path("/proc/self/autogroup").write_text(autogroup("self").split()[-1])
    except BlockingIOError:  # not again within 0.1 s
        return True
    except (OSError, IndexError):
        return False
    return True


def is_running(process: int) -> bool:
    """Whether a process runs that nobody may have waited for."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_a_failing_job_stops_only_those_that_need_it(tmp_path):
    jobs = [job(tmp_path, "bad", code=3), job(tmp_path, "blocked", needs=("bad",)), job(tmp_path, "good")]
    with start(tmp_path, jobs) as queue:
        end = queue.wait()
    assert end.returncode == 0, end.stderr
    assert "failed: ['bad', 'blocked']" in end.stdout
    assert "bad failed with exit code 3" in end.stdout
    assert (tmp_path / "good.made").exists()
    assert not starts(tmp_path, "blocked")


@pytest.mark.skipif(len(available_cores()) < 2, reason="needs two cores")
def test_a_job_waits_for_its_baseline_and_each_has_a_core_and_a_thread(tmp_path):
    jobs = [
        job(tmp_path, "unit", needs=("plain",)),
        job(tmp_path, "plain", wait_for="go"),
        job(tmp_path, "other", wait_for="go"),
    ]
    with start(tmp_path, jobs, cores=2) as queue:
        wait_until(lambda: starts(tmp_path, "plain") and starts(tmp_path, "other"))
        assert not starts(tmp_path, "unit")
        (tmp_path / "go").touch()
        end = queue.wait()
    assert "failed: []" in end.stdout, end.stderr
    (plain,), (other,), (unit,) = (starts(tmp_path, name) for name in ("plain", "other", "unit"))
    assert float(unit[2]) >= float((tmp_path / "plain.made").read_text())
    assert {plain[1], other[1], unit[1]} == {"1"}
    if sys.platform == "linux":
        cores = [line[0].split(" ", 1)[1] for line in (plain, other)]
        assert sorted(cores) == [f"[{core}]" for core in available_cores()[:2]]


@pytest.mark.skipif(not sets_niceness(), reason="needs a kernel that schedules by session")
def test_a_job_s_session_has_the_niceness_of_its_queue(tmp_path):
    with start(tmp_path, [job(tmp_path, "long", wait_for="go")], niceness=7) as queue:
        wait_until(lambda: starts(tmp_path, "long"))
        expected = f" nice {min(os.nice(0) + 7, 19)}\n"
        wait_until(lambda: autogroup(process_of(tmp_path, "long")).endswith(expected), seconds=10)
        (tmp_path / "go").touch()
        queue.wait()


def test_what_outlives_a_killed_queue_is_waited_for_and_not_started_again(tmp_path):
    jobs = [job(tmp_path, "long", wait_for="go"), job(tmp_path, "next", needs=("long",))]
    with start(tmp_path, jobs) as queue:
        wait_until(lambda: starts(tmp_path, "long"))
    assert is_running(process_of(tmp_path, "long"))  # the queue is dead, its job not
    with start(tmp_path, jobs) as queue:
        time.sleep(3)
        assert queue.is_running()
        (tmp_path / "go").touch()
        end = queue.wait()
    assert "failed: []" in end.stdout, end.stderr
    assert len(starts(tmp_path, "long")) == len(starts(tmp_path, "next")) == 1


def test_a_job_that_was_killed_with_its_queue_is_started_again(tmp_path):
    jobs = [job(tmp_path, "long", wait_for="go")]
    with start(tmp_path, jobs):
        wait_until(lambda: starts(tmp_path, "long"))
    os.kill(process_of(tmp_path, "long"), signal.SIGKILL)
    (tmp_path / "go").touch()
    with start(tmp_path, jobs) as queue:
        assert "failed: []" in queue.wait().stdout
    assert len(starts(tmp_path, "long")) == 2


@pytest.mark.parametrize("killed_before", [False, True])
def test_a_queue_that_is_told_to_stop_ends_its_jobs(tmp_path, killed_before):
    """Also those of a queue before it, which was killed."""
    jobs = [job(tmp_path, "long", wait_for="go")]
    with start(tmp_path, jobs) as queue:
        wait_until(lambda: starts(tmp_path, "long"))
        wait_until(lambda: (tmp_path / "long.lock").read_text())
        if killed_before:
            queue.kill()
            queue = start(tmp_path, jobs)
            wait_until(lambda: handles(queue._process.pid, signal.SIGTERM))
        os.kill(queue._process.pid, signal.SIGTERM)
        end = queue.wait()
    assert end.returncode == 0, end.stderr
    assert "failed: []" in end.stdout
    wait_until(lambda: not is_running(process_of(tmp_path, "long")))
    assert not (tmp_path / "long.made").exists()


RELEASES = """\
small.digits: {recipe: digits}
unit.digits: {recipe: digits, baseline: small.digits, settings: {lr: 0.05}}
"""
STUDY = """\
table: table2
recipe: digits
settings: {epochs: 1, limit: 60, batch_size: 20, benchmark_limit: 2, model_args: {channels: [16, 16, 16, 16]}}
seeds: [1]
rows:
  plain: {paper: ResNet50, model: resnet18_cifar}
  unit: {paper: ResNet50 PushPull avg3, model: resnet18_cifar_pushpull, baseline: plain}
"""


@pytest.fixture
def plan(tmp_path) -> Path:
    """A plan with what it names beside it."""
    (tmp_path / "studies" / "small").mkdir(parents=True)
    (tmp_path / "studies" / "small" / "plan.yaml").write_text(STUDY)
    (tmp_path / "releases.yaml").write_text(RELEASES)
    plan = "- study: small\n  rows: [unit]\n- release: small.digits\n- release: unit.digits\n- study: small\n"
    (tmp_path / "queue.yaml").write_text(plan)
    (tmp_path / "datasets.yaml").write_text(f"digits: {tmp_path}\n")
    return tmp_path / "queue.yaml"


def settings_of(job: Job):
    return parse(job.command[job.command.index("--recipe") :])


def test_a_plan_becomes_jobs_in_its_order(plan):
    jobs = plan_jobs(plan, Path("runs"), {"digits": "elsewhere"})
    names = ["study small unit.1", "train small.digits", "measure small.digits", "train unit.digits"]
    assert [job.name for job in jobs] == [*names, "measure unit.digits", "study small plain.1"]
    for one in jobs:
        options, settings = settings_of(one)
        assert (settings.dataset, options.resume) == ("elsewhere", True)
        assert options.skip_benchmark == one.name.startswith("train ")
        assert settings.half_weights == ("study" not in one.name)
    options, settings = settings_of(jobs[0])
    assert (settings.seed, settings.epochs, settings.limit, settings.models) == (1, 1, 60, ("resnet18_cifar_pushpull",))
    options, settings = settings_of(jobs[4])
    assert (settings.lr, options.baseline) == (0.05, Path("runs/releases/small.digits"))
    assert jobs[4].needs == tuple(
        Path("runs/releases") / name for name in ("unit.digits/training.json", "small.digits/results.json")
    )


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_dataset_config_is_left_out_where_the_dataset_is_a_folder(plan, elsewhere):
    study = plan.parent / "studies" / "small" / "plan.yaml"
    content = yaml.safe_load(study.read_text())
    name, row = next(iter(content["rows"].items()))
    row["settings"] = {**row.get("settings", {}), "dataset_config": "160px"}
    study.write_text(yaml.safe_dump(content))
    jobs = plan_jobs(plan, Path("runs"), {"digits": "elsewhere"} if elsewhere else {})
    found = [settings_of(job)[1].dataset_config for job in jobs if job.name == f"study small {name}.1"]
    assert found == [None if elsewhere else "160px"]


def test_our_own_plan_can_be_read_and_listed(run_inside):
    jobs = plan_jobs(PLAN, Path("runs/queue"), {})
    for one in jobs:
        settings_of(one)
    listed = run_inside(run_queue.main, "run_queue.py", "--runs", "runs/nowhere").stdout.splitlines()
    assert [line.split(maxsplit=1)[1] for line in listed] == [job.name for job in jobs]
    assert {line.split()[0] for line in listed} <= {"open", "done"}


def test_names_of_jobs_cannot_steer_the_terminal(plan, run_inside):
    study = plan.parent / "studies" / "small" / "plan.yaml"
    row = '  "pl\\u202eain": {paper: ResNet50, model: resnet18_cifar}\n'
    study.write_text(study.read_text() + row)
    plan.write_text("- study: small\n")
    process = run_inside(run_queue.main, "run_queue.py", "--plan", plan)
    assert "\u202e" not in process.stdout
    assert r"pl\u202eain" in process.stdout


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("queue.yaml", "- release: smal.digits", ["unknown release 'smal.digits'", "'small.digits'"]),
        ("queue.yaml", "- study: smal", ["smal", "no plan.yaml"]),
        ("queue.yaml", "- {study: small, rows: [plan]}", ["unknown row of the study small 'plan'", "'plain'"]),
        ("queue.yaml", "- something", ["holds 'something'", "release: NAME"]),
        ("queue.yaml", "release: small", ["holds no list"]),
        ("queue.yaml", "- [", ["queue.yaml' cannot be read"]),
        ("datasets.yaml", "- digits", ["holds no dict"]),
        ("datasets.yaml", "{", ["datasets.yaml' cannot be read"]),
        ("datasets.yaml", "digits: /nowhere", ["the folder '/nowhere' for digits, which does not exist"]),
        ("datasets.yaml", "digits:", ["the folder None for digits"]),
        ("releases.yaml", "small.digits: {recipe: digit}", ["unknown recipe 'digit'"]),
    ],
)
def test_bad_files_are_one_line(plan, run_inside, name, content, words):
    (plan.parent / name).write_text(content)
    given = ("--plan", plan, "--datasets", plan.parent / "datasets.yaml", "--runs", plan.parent / "runs")
    assert_one_clear_line(run_inside(run_queue.main, "run_queue.py", *given), *words)
    assert not (plan.parent / "runs").exists()


def test_a_second_queue_and_too_many_workers_are_refused(plan, run_inside):
    runs = plan.parent / "runs"
    runs.mkdir()
    given = ("--plan", plan, "--datasets", plan.parent / "datasets.yaml", "--runs", runs)
    with lock_file(runs / "queue.lock") as lock:
        assert lock
        process = run_inside(run_queue.main, "run_queue.py", *given)
    assert_one_clear_line(process, "another queue is working in", "choose another --runs")
    assert_one_clear_line(run_inside(run_queue.main, "run_queue.py", *given, "--workers", "0"), "--workers is 0")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_queue_that_was_told_to_stop_says_so(plan, run_inside, monkeypatch, number):
    monkeypatch.setattr(run_queue.Queue, "_run", lambda *_: os.kill(os.getpid(), number))
    given = ("--plan", plan, "--datasets", plan.parent / "datasets.yaml", "--runs", plan.parent / "runs")
    handlers = [signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGINT)]
    try:
        process = run_inside(run_queue.main, "run_queue.py", *given, "--workers", "1")
    finally:
        signal.signal(signal.SIGTERM, handlers[0])
        signal.signal(signal.SIGINT, handlers[1])
    assert process.returncode == 128 + number
    assert "run_queue.py: stopped; go on with: python run_queue.py --plan" in process.stderr


def test_a_reader_that_has_read_enough_ends_the_list_quietly():
    command = f"set -o pipefail; {sys.executable} {QUEUE} | head -3"
    process = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True)
    assert process.stderr == ""
    assert process.returncode in (0, 141)  # 141, as SIGPIPE gives, where head ended before the list
    assert len(process.stdout.splitlines()) == 3


@pytest.mark.slow
def test_a_queue_that_is_killed_while_it_trains_ends_with_every_result(plan, tmp_path):
    """Real trainings: the first outlives the queue, the next queue takes its results and trains the second."""
    plan.write_text("- study: small\n")
    (tmp_path / "datasets.yaml").write_text("{}\n")
    runs, study = tmp_path / "runs", tmp_path / "studies" / "small"
    command = [QUEUE, "--plan", plan, "--datasets", tmp_path / "datasets.yaml", "--runs", runs, "--workers", "1"]
    log = runs / "study-small-plain.1.log"
    with Command(*command):
        wait_until(lambda: log.exists() and "resnet18_cifar" in log.read_text())  # its progress bar
    with Command(*command) as queue:
        end = queue.wait(600)
    assert end.returncode == 0, end.stderr
    for name in ("plain", "unit"):
        assert Results.load(study / f"{name}.1.json").training.epochs == 1
        text = (runs / f"study-small-{name}.1.log").read_text()
        assert text.count("epoch 1/1") == 1
        assert ("finished before" in text) == (name == "plain")
    listed = subprocess.run([sys.executable, *map(str, [QUEUE, "--plan", plan, "--runs", runs])], capture_output=True)
    assert listed.stdout.decode().split() == ["done", "study", "small", "plain.1", "done", "study", "small", "unit.1"]
