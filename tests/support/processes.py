"""The project's commands in processes of their own, as users run them."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import runpy
import shlex
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from support.paths import ROOT

#: Read by libraries when they are imported: a process that begins with imported libraries would not notice them.
_READ_AT_IMPORT = ("HF_", "OMP_", "NUMBA_", "PYTHON", "MKL_", "TIMM_PUSHPULL_FUSED")
_LIBRARIES = ["accelerate", "datasets", "numba", "sklearn.datasets", "timm"]
_LIBRARIES += ["timm_pushpull.benchmark", "timm_pushpull.data.corrupted"]

#: A server that has imported the libraries, and run nothing, forks the processes: each begins five seconds further on.
#: There is one server, whose list is that of the last who set it.
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(_LIBRARIES)


def run_command(
    *arguments: str | Path, cwd: Path = ROOT, timeout: float = 1200, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a script (`train/train.py ...`), a module (`-m ...`) or code (`-c ...`) to its end."""
    with Command(*arguments, cwd=cwd, **environment) as command:
        return command.wait(timeout)


class Command:
    """A running script, module (`-m`) or code (`-c`); killed with SIGKILL when its context is left."""

    def __init__(self, *arguments: str | Path, cwd: Path = ROOT, **environment: str) -> None:
        self.arguments = [str(argument) for argument in arguments]
        self._folder = tempfile.TemporaryDirectory()
        outputs = [os.path.join(self._folder.name, name) for name in ("stdout", "stderr")]
        fresh = self.arguments[0] == "-c" or any(name.startswith(_READ_AT_IMPORT) for name in environment)
        environment = {**os.environ, **environment}
        if fresh:
            with open(outputs[0], "w") as out, open(outputs[1], "w") as err:
                self._process = subprocess.Popen(
                    [sys.executable, *self.arguments], cwd=cwd, stdout=out, stderr=err, env=environment
                )
        else:
            self._process = SERVER.Process(target=_run, args=(self.arguments, str(cwd), environment, outputs))
            self._process.start()

    def __enter__(self) -> Command:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.kill()
        self._folder.cleanup()

    def kill(self) -> None:
        """SIGKILL, if it still runs."""
        self._process.kill()
        self._join(None)

    def is_running(self) -> bool:
        return self._process.poll() is None if isinstance(self._process, subprocess.Popen) else self._process.is_alive()

    def wait(self, timeout: float = 1200) -> subprocess.CompletedProcess[str]:
        self._join(timeout)
        out, err = ((Path(self._folder.name) / name).read_text() for name in ("stdout", "stderr"))
        if self.is_running():
            raise TimeoutError(f"{self.arguments} ran longer than {timeout} s: {err[-2000:]}")
        code = self._process.returncode if isinstance(self._process, subprocess.Popen) else self._process.exitcode
        return subprocess.CompletedProcess(self.arguments, code, out, err)

    def _join(self, timeout: float | None) -> None:
        if isinstance(self._process, subprocess.Popen):
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout)
        else:
            self._process.join(timeout)


def options(settings: Mapping[str, object]) -> list[str]:
    """Settings as a command line takes them; a list is several values of one option."""
    given = [(f"--{name}", *(value if isinstance(value, list) else [value])) for name, value in settings.items()]
    return [str(part) for option in given for part in option]


def wait_until(condition: Callable[[], object], seconds: float = 300) -> None:
    """Wait until a condition holds; an assertion fails if it does not in this time."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)


def free_port() -> str:
    """A port of loopback that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


def launch(processes: int, *arguments: str | Path, **environment: str) -> list[Command]:
    """The processes of one distributed run, with what torchrun and `accelerate launch` tell each of them."""
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
    counts = {"WORLD_SIZE": str(processes), "LOCAL_WORLD_SIZE": str(processes)}
    return [
        Command(*arguments, RANK=str(rank), LOCAL_RANK=str(rank), **address, **counts, **environment)
        for rank in range(processes)
    ]


def wait_for_all(commands: list[Command]) -> subprocess.CompletedProcess[str]:
    """The end of a run's main process; all have ended well."""
    ends = [command.wait() for command in commands]
    assert [end.returncode for end in ends] == [0] * len(ends), ends[0].stderr
    for command in commands:
        command.close()
    return ends[0]


def run_on_small_disk(disk: Path, *arguments: str | Path) -> tuple[subprocess.CompletedProcess[str], set[str]]:
    """Run a script with an empty disk of 64 KiB mounted at `disk`, and list the files that it leaves there.

    The disk is mounted in a namespace of the process: no privileges are needed where the kernel allows that to users.
    """
    disk.mkdir()
    namespace = ["unshare", "--user", "--map-root-user", "--mount"]
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(disk)]
    try:
        subprocess.run([*namespace, *mount], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs user namespaces to mount a small disk")
    script = f'{shlex.join(mount)} && {{ "$@"; code=$?; cd {shlex.quote(str(disk))} && find . -type f; exit $code; }}'
    process = subprocess.run(
        [*namespace, "sh", "-c", script, "sh", sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True
    )
    return process, {line.removeprefix("./") for line in process.stdout.splitlines() if line.startswith("./")}


def assert_one_clear_line(process: subprocess.CompletedProcess[str], *words: str) -> None:
    """Exit code 2, and on stderr nothing but one line with these words (and progress bars)."""
    lines = [
        line
        for line in process.stderr.replace("\r", "\n").splitlines()
        if line.strip() and "%|" not in line and "examples/s" not in line
    ]
    assert process.returncode == 2, process.stderr
    assert len(lines) == 1, process.stderr
    assert ": error: " in lines[0]
    for word in words:
        assert word in lines[0]


def _run(arguments: list[str], cwd: str, environment: dict[str, str], outputs: list[str]) -> None:
    for number, path in enumerate(outputs, start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), number)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    try:
        if arguments[0] == "-m":
            sys.path.insert(0, cwd)
            sys.argv = arguments[1:]
            runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
        else:
            sys.path.insert(0, str(Path(arguments[0]).resolve().parent))
            sys.argv = arguments
            runpy.run_path(arguments[0], run_name="__main__")
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
