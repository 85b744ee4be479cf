"""A repository as the Hub keeps it: commits of whole trees, and the names that point to them."""

from __future__ import annotations

import hashlib
import itertools
from dataclasses import dataclass, field
from datetime import datetime, timezone

from .answers import Refused
from .blobs import blob_oid, is_lfs, sha256

_counter = itertools.count()


def now() -> str:
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


@dataclass(frozen=True)
class Commit:
    oid: str
    parent: str | None
    title: str
    description: str
    author: str
    files: dict[str, bytes] = field(repr=False)
    date: str = field(default_factory=now)


@dataclass
class PullRequest:
    number: int
    title: str
    author: str
    base: str  # a branch
    start: str  # where it left the branch
    oid: str
    status: str = "open"  # draft, open, merged, closed
    merged: str | None = None  # the commit on the branch
    events: list[dict] = field(default_factory=list)
    date: str = field(default_factory=now)


@dataclass
class Repository:
    id: str
    kind: str = "model"
    private: bool = False
    gated: bool | str = False
    objects: dict[str, bytes] = field(default_factory=dict, repr=False)  # of the Hub, by sha256
    commits: dict[str, Commit] = field(default_factory=dict, repr=False)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    pulls: dict[int, PullRequest] = field(default_factory=dict)
    readers: set[str] = field(default_factory=set)  # accounts let in while it is gated
    date: str = field(default_factory=now)

    @property
    def namespace(self) -> str:
        return self.id.split("/")[0]

    def files(self, revision: str = "main") -> dict[str, bytes]:
        return dict(self.at(revision).files)

    def head(self, revision: str = "main") -> str:
        return self.at(revision).oid

    def log(self, revision: str = "main") -> list[Commit]:
        """Newest first."""
        commits = [self.at(revision)]
        while commits[-1].parent:
            commits.append(self.commits[commits[-1].parent])
        return commits

    def at(self, revision: str) -> Commit:
        name = revision.removeprefix("refs/heads/").removeprefix("refs/tags/")
        oid = self._tip(revision) or self.tags.get(name) or self._unshortened(name)
        if oid is None:
            raise Refused(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return self.commits[oid]

    def commit(
        self,
        changes: dict[str, bytes | None],
        title: str = "a commit",
        description: str = "",
        *,
        revision: str = "main",
        author: str = "me",
        parent: str | None = None,
    ) -> Commit:
        """On top of a branch or a pull request (`refs/pr/N`); None deletes a file. `parent` must be its head, if given.

        Any name goes: a test plays a hostile Hub so. What clients send is checked before, in uploads.py.
        """
        tip = self._tip(revision)
        if tip is None and (self.commits or revision != "main"):
            raise Refused(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        if parent is not None and not (tip and len(parent) >= 7 and tip.startswith(parent)):
            raise Refused(412, "A commit has happened since. Please refresh and try again.")
        files = {**(self.commits[tip].files if tip else {}), **changes}
        commit = self.record({k: v for k, v in files.items() if v is not None}, tip, title, description, author)
        self.move(revision, commit.oid)
        return commit

    def record(self, files: dict[str, bytes], parent: str | None, title: str, description: str, author: str) -> Commit:
        """A commit that no name points to yet."""
        self.objects.update({sha256(data): data for path, data in files.items() if is_lfs(path, len(data))})
        tree = [(path, blob_oid(path, files[path])) for path in sorted(files)]
        oid = hashlib.sha1(repr((self.id, parent, title, tree, next(_counter))).encode()).hexdigest()
        self.commits[oid] = Commit(oid, parent, title, description, author, files)
        return self.commits[oid]

    def move(self, revision: str, oid: str) -> None:
        if revision.startswith("refs/pr/"):
            self.pulls[int(revision[8:])].oid = oid
        else:
            self.branches[revision.removeprefix("refs/heads/")] = oid

    def _tip(self, revision: str) -> str | None:
        """The head of what a commit can go to."""
        if revision.startswith("refs/pr/"):
            number = revision[8:]
            pull = self.pulls.get(int(number)) if number.isdigit() else None
            return pull and pull.oid
        return self.branches.get(revision.removeprefix("refs/heads/"))

    def _unshortened(self, oid: str) -> str | None:
        found = [full for full in self.commits if len(oid) >= 7 and full.startswith(oid)]
        return found[0] if len(found) == 1 else None
