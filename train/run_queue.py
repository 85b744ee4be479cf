"""Train and measure everything in train/queue.yaml, one job per core.

python train/run_queue.py --datasets FILE       # start, or go on after a kill
python train/run_queue.py                       # list the jobs and what is done

FILE is a YAML mapping from the dataset ids of the recipes to folders, such as `uoft-cs/cifar10: /data/cifar10`; a
dataset that it does not name is loaded from the Hub. Each job is a process with one thread, pinned to a core:
two trainings side by side make more images/s than one with two threads. Jobs resume from their last checkpoint. A job
that fails is reported, and the others go on.

Run the queue in a clone of its own, so that editing does not disturb it. It writes runs and logs below --runs, and
results of studies beside their plans. `python hub/stage.py` makes a release of a finished run.
"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import yaml

from command import training
from run_folder import RESULTS, TRAINING
from settings import RECIPES, load_recipe
from study import HERE, Study
from timm_pushpull import cli
from timm_pushpull.utils.errors import InputError, unknown
from timm_pushpull.utils.files import make_folder

PLAN = HERE / "queue.yaml"
RELEASES = HERE / "releases.yaml"
_WAIT = 5.0  # seconds between two looks for a job whose predecessors are done


@dataclass(frozen=True)
class Job:
    """A process to run.

    Attributes:
        command: What it runs.
        makes: Files of which any says that the job is done.
        needs: Files that must exist before it can start.
        save: Where `makes` is copied from in the end, if the command writes it elsewhere.
    """

    name: str
    command: list[str]
    makes: tuple[Path, ...]
    needs: tuple[Path, ...] = ()
    save: Path | None = None

    @property
    def done(self) -> bool:
        return any(path.exists() for path in self.makes)

    @property
    def ready(self) -> bool:
        return all(path.exists() for path in self.needs)


def main() -> None:
    parser = cli.Parser(prog="run_queue.py", description=__doc__.partition("\n")[0])
    parser.add_argument("--datasets", type=Path, metavar="FILE", help="YAML mapping from dataset ids to folders")
    parser.add_argument("--plan", type=Path, default=PLAN, help="list of releases and studies")
    parser.add_argument("--runs", type=Path, default=Path("runs/queue"), help="folder of the runs")
    parser.add_argument("--workers", type=int, help="jobs at a time (default: one per core)")
    options = parser.parse_args()
    datasets = _read(options.datasets, dict) if options.datasets else {}
    jobs = plan_jobs(options.plan, options.runs, datasets)
    if options.datasets is None:
        for job in jobs:
            print(f"{'done' if job.done else 'open':8}{job.name}")
        return
    for folder in datasets.values():
        if not Path(folder).exists():
            raise InputError(f"{options.datasets} names the folder {folder!r}, which does not exist")
    cores = sorted(os.sched_getaffinity(0))
    if options.workers is not None and not 1 <= options.workers <= len(cores):
        raise InputError(f"--workers is {options.workers}; use 1 to {len(cores)}, the number of cores")
    queue = Queue(jobs, make_folder(options.runs))
    with queue.lock("queue") as alone:
        if not alone:
            raise InputError(f"another queue is working in {str(options.runs)!r}; stop it, or choose another --runs")
        failed = queue.run(cores[: options.workers])
    if failed:
        raise InputError(f"failed: {', '.join(failed)}; see their logs in {str(options.runs)!r}")


def _read(path: Path, kind: type) -> dict | list:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{str(path)!r} cannot be read: {error}") from error
    if not isinstance(content, kind):
        raise InputError(f"{str(path)!r} holds no {kind.__name__}")
    return content


def plan_jobs(plan: Path, runs: Path, datasets: Mapping[str, str]) -> list[Job]:
    """The jobs of a plan, in order.

    Raises:
        InputError: An entry that is neither a release nor a study, or an unknown release.
    """
    planned = _read(RELEASES, dict)
    jobs = {}
    for entry in _read(plan, list):
        match entry:
            case {"release": name} if name in planned:
                found = _release(name, planned[name], runs / "releases", datasets)
            case {"release": name}:
                raise unknown("release", name, planned)
            case {"study": name}:
                found = _study(Study.load(HERE / "studies" / name), entry.get("rows"), runs / "studies", datasets)
            case _:
                raise InputError(f"{str(plan)!r} holds {entry!r}; give `release: NAME` or `study: NAME`")
        for job in found:
            jobs.setdefault(job.name, job)  # a study may be named again, for its other rows
    return list(jobs.values())


def _dataset(recipe: str, datasets: Mapping[str, str]) -> dict[str, str]:
    dataset = load_recipe(RECIPES / f"{recipe}.yaml").dataset
    return {"dataset": str(datasets[dataset])} if dataset in datasets else {}


def _release(name: str, plan: Mapping, runs: Path, datasets: Mapping[str, str]) -> Iterator[Job]:
    """Training and measuring are two jobs: a network can be trained before its baseline has been measured."""
    run, baseline = runs / name, plan.get("baseline")
    settings = {"half_weights": True, **plan.get("settings", {}), **_dataset(plan["recipe"], datasets)}
    command = training(plan["recipe"], name.split(".")[0], run, settings)
    yield Job(f"train {name}", [*command, "--skip-benchmark"], (run / TRAINING, run / RESULTS))
    needs = [run / TRAINING, *([runs / baseline / RESULTS] if baseline else [])]
    if baseline:
        command = [*command, "--baseline", str(runs / baseline)]
    yield Job(f"measure {name}", command, (run / RESULTS,), tuple(needs))


def _study(study: Study, rows: list[str] | None, runs: Path, datasets: Mapping[str, str]) -> Iterator[Job]:
    for row, seed in study.trainings():
        if rows and row.name not in rows:
            continue
        run = runs / study.folder.name / f"{row.name}.{seed}"
        settings = {"seed": seed, **row.settings, **_dataset(study.recipe, datasets)}
        command = training(study.recipe, row.model, run, settings)
        yield Job(f"study {study.folder.name} {row.name}.{seed}", command, (study.file(row, seed),), (), run / RESULTS)


class Queue:
    """Works jobs off, one per core, in order; each is locked while it runs, also against other queues."""

    def __init__(self, jobs: list[Job], runs: Path) -> None:
        self.jobs, self.runs = jobs, runs
        self._choice = threading.Lock()
        self._taken: set[str] = set()
        self._failed: list[str] = []
        self._running: dict[str, subprocess.Popen] = {}
        self._stop = threading.Event()

    def run(self, cores: list[int]) -> list[str]:
        """Work off everything, on these cores; returns the names of jobs that failed, or could not start for them."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self.stop())
        workers = [threading.Thread(target=self._work, args=(core,)) for core in cores]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        blocked = [] if self._stop.is_set() else [job.name for job in self._open() if job.name not in self._failed]
        return self._failed + blocked

    def stop(self) -> None:
        """End the running jobs; each resumes from its last checkpoint when the queue is started again."""
        self._stop.set()
        for process in list(self._running.values()):
            os.killpg(process.pid, signal.SIGTERM)

    def _open(self) -> list[Job]:
        return [job for job in self.jobs if not job.done]

    def _work(self, core: int) -> None:
        while not self._stop.is_set():
            with self._choice:
                waiting = [job for job in self._open() if job.name not in self._taken]
                job = next((job for job in waiting if job.ready), None)
                if job:
                    self._taken.add(job.name)
            if job:
                self._do(job, core)
            elif not waiting or not self._running:  # nothing that runs can make another job ready
                return
            else:
                self._stop.wait(_WAIT)

    def _do(self, job: Job, core: int) -> None:
        with self.lock(job.name) as lock:
            if not lock:
                return
            started = time.monotonic()
            print(f"core {core}: {job.name}", flush=True)
            with open(self._path(job.name, "log"), "ab") as log:
                process = subprocess.Popen(
                    job.command,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    stdin=subprocess.DEVNULL,
                    env={**os.environ, "OMP_NUM_THREADS": "1"},
                    start_new_session=True,
                    pass_fds=[lock.fileno()],  # a child that outlives a killed queue keeps its lock
                )
                os.sched_setaffinity(process.pid, {core})  # inherited by what it starts
                self._running[job.name] = process
                code = process.wait()
                del self._running[job.name]
            minutes = (time.monotonic() - started) / 60
            if self._stop.is_set():
                print(f"core {core}: {job.name} stopped after {minutes:.0f} min", flush=True)
            elif code == 0:
                if job.save:
                    job.makes[0].write_bytes(job.save.read_bytes())
                print(f"core {core}: {job.name} done in {minutes:.0f} min", flush=True)
            else:
                self._failed.append(job.name)
                print(f"core {core}: {job.name} failed with exit code {code} after {minutes:.0f} min", flush=True)

    def _path(self, name: str, kind: str) -> Path:
        return self.runs / f"{name.replace(' ', '-')}.{kind}"

    def lock(self, name: str) -> _Lock:
        return _Lock(self._path(name, "lock"))


class _Lock:
    """A lock file that is free again when its holders are dead; the context is None where another holds it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> IO | None:
        self._file = open(self.path, "a")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._file.close()
            return None
        return self._file

    def __exit__(self, *_: object) -> None:
        self._file.close()


if __name__ == "__main__":
    cli.run(main, "run_queue.py")
