"""The Hub as a test holds it: its state, its faults, and what was asked of it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any

from .accounts import Account, default_accounts
from .collections import Collection
from .faults import Fault, Faults
from .repository import Repository
from .routes import KINDS
from .server import Request, start


class Hub:
    """`with Hub() as hub:` serves at `hub.endpoint`."""

    def __init__(self, port: int = 0) -> None:
        self.port = port
        self.lock = threading.RLock()  # around every change, so that requests happen one after the other
        self.stopped = threading.Event()
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        with self.lock:
            self.accounts: dict[str, Account] = default_accounts()
            self.repositories: dict[str, Repository] = {}
            self.objects: dict[str, bytes] = {}  # Git LFS, by sha256
            self.uploading: dict[tuple[str, int], bytes] = {}  # parts of objects to come
            self.part_size = 0  # in bytes; larger objects are to be uploaded in parts, at 0 none
            self.collections: dict[str, Collection] = {}
            self.faults = Faults()
            self.requests: list[Request] = []
            self.unknown: list[str] = []  # requests that no route knows, and those that broke the Hub itself

    def __enter__(self) -> Hub:
        self.stopped.clear()
        self.server = start(self, self.port)
        self.port = self.server.server_port
        self.endpoint = f"http://127.0.0.1:{self.port}"
        # The client follows redirects of the same origin itself and then misses a header: files come from another.
        self.files = f"http://localhost:{self.port}"
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.stopped.set()
        self.server.shutdown()
        self.server.server_close()

    def add(
        self,
        name: str,
        files: dict[str, bytes] | None = None,
        *,
        private: bool = False,
        gated: bool | str = False,
        kind: str = "model",
        title: str = "initial commit",
    ) -> Repository:
        """Put a repository there, with these files as one commit on main. Any file name goes."""
        with self.lock:
            repo = Repository(name, kind, private, "auto" if gated is True else gated, self.objects)
            repo.commit(dict(files or {}), title, author=name.split("/")[0])
            self.repositories[_key(name, kind)] = repo
            return repo

    def __getitem__(self, key: str) -> Repository:
        return self.repositories[key]

    def __contains__(self, key: str) -> bool:
        return key in self.repositories

    def find(self, name: str, kind: str) -> Repository | None:
        return self.repositories.get(_key(name, kind))

    def remove(self, repo: Repository) -> None:
        del self.repositories[_key(repo.id, repo.kind)]

    def url(self, repo: Repository) -> str:
        return f"{self.endpoint}/{_key(repo.id, repo.kind)}"

    def fail(self, kind: str, **how: Any) -> Fault:
        """See `Fault` for how, and routes.py for the kinds."""
        if kind not in KINDS:
            raise ValueError(f"no kind {kind!r}; there are {', '.join(sorted(KINDS))}")
        fault = Fault(kind, **how)
        with self.lock:
            self.faults.append(fault)
        return fault

    def before(self, kind: str, run: Callable[[], object], *, times: int | None = 1, after: int = 0) -> Fault:
        """Call `run` before the next request of that kind is looked at: somebody else is faster."""
        return self.fail(kind, run=run, times=times, after=after)

    def heal(self) -> None:
        with self.lock:
            self.faults.clear()

    def asked(self, kind: str) -> list[Request]:
        with self.lock:
            return [request for request in self.requests if request.kind == kind]


def _key(name: str, kind: str) -> str:
    return name if kind == "model" else f"{kind}s/{name}"
