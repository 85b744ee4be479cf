"""Train and measure everything in train/queue.yaml, one job per core.

examples:
  python train/run_queue.py --datasets FILE       # start the queue, or resume it
  python train/run_queue.py                       # list the jobs and what is done

FILE is a YAML mapping from the dataset ids of the recipes to folders, such as `uoft-cs/cifar10: /data/cifar10`; a
dataset that it does not name is loaded from the Hub. Each job is a process with one thread, pinned to a core, because
two such runs process more images/s than one with two threads. Jobs resume from their last checkpoint. A job that fails
is reported, and the others continue.

Run the queue in its own clone, so that editing does not disturb it, and with `nice`, so that it takes only the time
that others leave. It writes runs and logs to --runs, and results of studies beside their plans.
`python train/release.py --stage NAME` makes a release of a finished run.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import IO, Any, TypeVar

import yaml

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # see train/__init__.py

from timm_pushpull import cli
from timm_pushpull.hub.contents import read_file
from timm_pushpull.utils import provenance
from timm_pushpull.utils.errors import InputError, Interrupted, unknown
from timm_pushpull.utils.files import check_name, make_folder, open_plain, remove_temporary, write_file
from timm_pushpull.utils.locks import lock_file
from timm_pushpull.utils.text import say
from timm_pushpull.utils.yaml_text import load_yaml
from train.command_line import training_command
from train.release import PlannedRelease, load_planned
from train.run_folder import RESULTS, TRAINING
from train.study_plan import Study

PLAN = Path(__file__).resolve().parent / "queue.yaml"
_WAIT = 1.0  # seconds between two looks for a job whose predecessors are done
#: glibc otherwise gives large freed tensors back to the kernel, which clears them again in each step: 22 of 243 ms in
#: the network of train/studies/cifar10 (fp32, batches of 64, one thread of an AMD EPYC), and 1 ms with these.
_KEEP_FREED_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(1 << 30), "MALLOC_TRIM_THRESHOLD_": str((1 << 31) - 1)}
Content = TypeVar("Content", dict, list)


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
    parser = cli.Parser(
        prog="run_queue.py",
        description=__doc__,
    )
    parser.add_argument(
        "--datasets",
        type=Path,
        metavar="FILE",
        help="YAML mapping from dataset ids to folders (default: list the jobs only)",
    )
    parser.add_argument(
        "--plan", type=Path, default=PLAN, help="list of releases and studies (default: train/queue.yaml)"
    )
    parser.add_argument(
        "--runs", type=Path, default=Path("runs/queue"), help="folder of the runs (default: %(default)s)"
    )
    parser.add_argument("--workers", type=int, help="jobs at a time (default: one per core)")
    options = parser.parse_args()
    datasets = read_datasets(options.datasets) if options.datasets else {}
    jobs = plan_jobs(options.plan, options.runs, datasets)
    if options.datasets is None:
        for job in jobs:
            say(f"{'done' if job.done else 'open':8}{job.name}")
        return
    cores = available_cores()
    if options.workers is not None and not 1 <= options.workers <= len(cores):
        raise InputError(f"--workers is {options.workers}; use 1 to {len(cores)}, the number of cores")
    make_folder(options.runs)
    with lock_file(options.runs / "queue.lock") as lock:
        if not lock:
            raise InputError(f"another queue is working in {str(options.runs)!r}; stop it, or choose another --runs")
        queue = Queue(jobs, options.runs)
        failed = queue.run(cores[: options.workers])
    if queue.signal is not None:
        raise Interrupted(queue.signal, f"stopped; go on with: {provenance.command_to_run()}")
    if failed:
        raise InputError(f"failed: {', '.join(failed)}; see their logs in {str(options.runs)!r}")


def read_datasets(path: Path) -> dict[str, str]:
    """The folders of datasets by their ids.

    Raises:
        InputError: The file cannot be read or is no mapping, or a folder does not exist.
    """
    folders = _read_yaml(path, dict)
    for dataset, folder in folders.items():
        if not isinstance(folder, str) or not Path(folder).is_dir():
            raise InputError(f"{str(path)!r} names the folder {folder!r} for {dataset}, which does not exist")
    return folders


def _read_yaml(path: Path, kind: type[Content]) -> Content:
    try:
        content = load_yaml(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{str(path)!r} cannot be read: {error}") from error
    if not isinstance(content, kind):
        raise InputError(f"{str(path)!r} holds no {kind.__name__}")
    return content


def plan_jobs(plan: Path, runs: Path, datasets: Mapping[str, str]) -> list[Job]:
    """The jobs of a plan, in order; releases.yaml and the folder studies lie beside it.

    Raises:
        InputError: An entry that is neither a release nor a study, or an unknown release, study or row.
    """
    planned = load_planned(plan.parent / "releases.yaml")
    jobs: dict[str, Job] = {}
    for entry in _read_yaml(plan, list):
        match entry:
            case {"release": str(name)} if name in planned:
                found = _release_jobs(planned[name], runs / "releases", datasets)
            case {"release": str(name)}:
                raise unknown("release", name, planned)
            case {"study": str(name)}:
                study = Study.load(plan.parent / "studies" / check_name(name, f"a study of {plan}"))
                found = _study_jobs(study, entry.get("rows"), runs / "studies", datasets)
            case _:
                raise InputError(f"{str(plan)!r} holds {entry!r}; give `release: NAME` or `study: NAME`")
        for job in found:
            jobs.setdefault(job.name, job)  # a study may be named again, for its other rows
    return list(jobs.values())


def _at(dataset: str, datasets: Mapping[str, str]) -> dict[str, Any]:
    """The change of a recipe's dataset, where its folder is known."""
    return {"dataset": datasets[dataset]} if dataset in datasets else {}


def _release_jobs(plan: PlannedRelease, runs: Path, datasets: Mapping[str, str]) -> Iterator[Job]:
    """Training and measuring are two jobs: a network can be trained before its baseline has been measured."""
    run = runs / plan.name
    changes = {"half_weights": True, **plan.changes, **_at(plan.settings.dataset, datasets)}
    command = training_command(plan.recipe, plan.model, run, changes)
    yield Job(f"train {plan.name}", [*command, "--skip-benchmark"], (run / TRAINING, run / RESULTS))
    needs = [run / TRAINING]
    if plan.baseline:
        command += ["--baseline", str(runs / plan.baseline)]
        needs.append(runs / plan.baseline / RESULTS)
    yield Job(f"measure {plan.name}", command, (run / RESULTS,), tuple(needs))


def _study_jobs(study: Study, rows: list[str] | None, runs: Path, datasets: Mapping[str, str]) -> Iterator[Job]:
    if not isinstance(rows or [], list):
        raise InputError(f"rows of the study {study.folder.name} are {rows!r}; give a list of its rows")
    for name in rows or ():
        if name not in study.rows:
            raise unknown(f"row of the study {study.folder.name}", name, study.rows)
    for row, seed in study.trainings():
        if rows and row.name not in rows:
            continue
        run = runs / study.folder.name / f"{row.name}.{seed}"
        changes = {"seed": seed, **row.changes, **_at(row.settings.dataset, datasets)}
        if row.settings.dataset in datasets:
            changes.pop("dataset_config", None)  # one of the dataset on the Hub, not of its folder
        command = training_command(row.recipe, row.model, run, changes)
        yield Job(f"study {study.folder.name} {row.name}.{seed}", command, (study.file(row, seed),), (), run / RESULTS)


class Queue:
    """Runs jobs, one per core, in order.

    Each job holds a lock while it runs, which its process inherits. A process that outlives a killed queue keeps it:
    the next queue waits for such a process, on the core that it is pinned to, instead of starting the job once more.

    Attributes:
        signal: The number of the signal that has told it to stop, if one has.
    """

    def __init__(self, jobs: list[Job], runs: Path) -> None:
        self.jobs, self.runs = jobs, runs
        self._choice = threading.Lock()
        self._taken: set[str] = set()
        self._active: set[str] = set()
        self._failed: list[str] = []
        self._groups: dict[str, int] = {}
        self._stop = threading.Event()
        self.signal: int | None = None

    def run(self, cores: list[int]) -> list[str]:
        """Run everything on these cores; returns the names of jobs that failed, or could not start because of them."""
        for name in (signal.SIGTERM, signal.SIGINT):
            signal.signal(name, self._handle)
        left_over = self._left_over()
        if self._stop.is_set():  # a signal came before their groups were known
            self.stop()
        self._taken.update(job.name for job, _ in left_over)
        self._active.update(self._taken)
        workers = []
        for number, core in enumerate(cores):
            # A process on a core that is not ours any more is waited for by the first worker.
            mine = [job for job, where in left_over if where == core or (number == 0 and where not in cores)]
            workers.append(threading.Thread(target=self._work, args=(core, mine)))
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        blocked = [] if self._stop.is_set() else [job.name for job in self._open() if job.name not in self._failed]
        return self._failed + blocked

    def _handle(self, number: int, _: FrameType | None) -> None:
        self.signal = self.signal or number
        self.stop()

    def stop(self) -> None:
        """End the running jobs; each resumes from its last checkpoint when the queue is started again."""
        self._stop.set()
        for group in list(self._groups.values()):
            with suppress(ProcessLookupError):  # it has ended in the meantime
                os.killpg(group, signal.SIGTERM)

    def _open(self) -> list[Job]:
        return [job for job in self.jobs if not job.done]

    def _left_over(self) -> list[tuple[Job, int | None]]:
        """The jobs that run in processes of a queue that was killed, and the cores that they are pinned to."""
        found: list[tuple[Job, int | None]] = []
        for job in self.jobs:
            path = self._path(job.name, "lock")
            if not path.exists():
                continue
            with lock_file(path) as lock:
                if not lock:
                    core, group = _read_lock(path)
                    found.append((job, core))
                    if group:
                        self._groups[job.name] = group
        return found

    def _work(self, core: int, first: list[Job]) -> None:
        pin_thread(core)
        for job in first:
            self._do(job, core)
        while not self._stop.is_set():
            with self._choice:
                waiting = [job for job in self._open() if job.name not in self._taken]
                chosen = next((job for job in waiting if job.ready), None)
                if chosen:
                    self._taken.add(chosen.name)
                    self._active.add(chosen.name)
                elif not waiting or not self._active:  # nothing that runs can make another job ready
                    return
            if chosen:
                self._do(chosen, core)
            else:
                self._stop.wait(_WAIT)

    def _do(self, job: Job, core: int) -> None:
        try:
            with lock_file(self._path(job.name, "lock"), self._stop) as lock:
                self._groups.pop(job.name, None)  # of a process of an earlier queue: it has ended
                if lock and not job.done:
                    self._run(job, core, lock)
        except (OSError, InputError) as error:
            self._failed.append(job.name)
            say(f"core {core}: {job.name} failed: {error}")
        finally:
            with self._choice:
                self._active.discard(job.name)

    def _run(self, job: Job, core: int, lock: IO[str]) -> None:
        started = time.monotonic()
        say(f"core {core}: {job.name}")
        with open_plain(self._path(job.name, "log"), "ab") as log:
            process = subprocess.Popen(
                job.command,
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env={**_KEEP_FREED_MEMORY, **os.environ, "OMP_NUM_THREADS": "1"},
                start_new_session=True,
                pass_fds=[lock.fileno()],
            )
            self._groups[job.name] = process.pid
            keep_nice(process.pid)
            lock.truncate(0)
            lock.write(f"{core} {process.pid}\n")
            lock.flush()
            if self._stop.is_set():  # it came while the process started
                self.stop()
            code = process.wait()
            del self._groups[job.name]
        minutes = (time.monotonic() - started) / 60
        if self._stop.is_set():
            say(f"core {core}: {job.name} stopped after {minutes:.0f} min")
        elif code == 0:
            if job.save:
                remove_temporary(job.makes[0])
                write_file(job.makes[0], read_file(job.save.parent, job.save.name))
            say(f"core {core}: {job.name} done in {minutes:.0f} min")
        else:
            self._failed.append(job.name)
            say(f"core {core}: {job.name} failed with exit code {code} after {minutes:.0f} min")

    def _path(self, name: str, kind: str) -> Path:
        return self.runs / f"{name.replace(' ', '-')}.{kind}"


def _read_lock(path: Path) -> tuple[int | None, int | None]:
    """The core and the process group of the job that holds a lock, where it says so."""
    try:
        core, group = path.read_text(encoding="utf-8").split()
        return int(core), int(group)
    except ValueError:
        return None, None


def available_cores() -> list[int]:
    """The cores that this process may run on."""
    if sys.platform == "linux":
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def pin_thread(core: int) -> None:
    """Keep this thread, and the processes that it starts, on a core, where the system can do that."""
    if sys.platform == "linux":
        os.sched_setaffinity(0, {core})


def keep_nice(session: int) -> None:
    """Give a new session our niceness: where Linux groups processes by session, theirs counts only within it."""
    for _ in range(10):
        try:
            Path(f"/proc/{session}/autogroup").write_text(str(os.nice(0)))
        except BlockingIOError:  # users other than root may set one in 0.1 s
            time.sleep(0.1)
        except OSError:
            return
        else:
            return


if __name__ == "__main__":
    cli.run(main, "run_queue.py")
