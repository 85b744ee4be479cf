"""What a route is asked with (`Call`) and what it gives back (`Answer`), or raises (`Refused`)."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .accounts import Account
    from .hub import Hub
    from .repository import Repository


@dataclass
class Answer:
    content: object = b""  # bytes as they are, all else as JSON
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


class Refused(Exception):  # noqa: N818
    """An error as the Hub words it: the client tells its exceptions apart by `code`, not by the status."""

    def __init__(self, status: int, message: str, code: str = "", **more: object) -> None:
        super().__init__(message)
        self.status, self.message, self.code = status, message, code
        self.headers: dict[str, str] = more.pop("headers", {})  # type: ignore[assignment]
        self.more = more

    def answer(self) -> Answer:
        line = " ".join(self.message.split()).encode("ascii", "replace").decode()
        headers = {"X-Error-Message": line, **self.headers}
        if self.code:
            headers["X-Error-Code"] = self.code
        return Answer({"error": self.message, **self.more}, self.status, headers)


@dataclass
class Call:
    hub: Hub
    method: str
    account: Account | None
    parts: dict[str, str]  # of the path, unquoted
    query: dict[str, list[str]]
    headers: Any
    body: bytes

    def json(self) -> dict:
        try:
            content = json.loads(self.body or b"{}")
        except ValueError:
            content = None
        if not isinstance(content, dict):
            raise Refused(400, "Invalid JSON")
        return content

    def asked(self, name: str) -> str:
        return self.query.get(name, [""])[0]

    def writer(self) -> Account:
        """The account, if its token may change things at all."""
        if self.account is None:
            raise Refused(401, "Invalid username or password.")
        if self.account.role != "write":
            raise Refused(403, "Forbidden: you must use a write token to upload to a repository.")
        return self.account

    def owner(self, namespace: str, doing: str) -> Account:
        account = self.writer()
        if not account.owns(namespace):
            raise Refused(403, f'You don\'t have the rights to {doing} under the namespace "{namespace}"')
        return account

    def repository(self) -> Repository:
        """The repository of this path, which others cannot tell from a missing one while it is private."""
        kind = (self.parts.get("kind") or "models").rstrip("s")
        repo = self.hub.find(self.parts["repo"], kind)
        if repo and not (repo.private and not (self.account and self.account.owns(repo.namespace))):
            return repo
        if self.account is None:
            raise Refused(401, "Invalid username or password.", "RepoNotFound")
        raise Refused(404, "Repository not found", "RepoNotFound")

    def own_repository(self) -> Repository:
        repo = self.repository()
        account = self.writer()
        if not account.owns(repo.namespace):
            raise Refused(403, f"Forbidden: you don't have write access to {repo.id}.")
        return repo

    def readable(self) -> Repository:
        """The repository, if its files may be read: who may see a gated one may still have to ask for them."""
        repo = self.repository()
        if not repo.gated or (
            self.account and (self.account.owns(repo.namespace) or self.account.name in repo.readers)
        ):
            return repo
        if self.account is None:
            message = f"Access to {repo.kind} {repo.id} is restricted. You must have access to it and be authenticated"
            raise Refused(401, f"{message} to access it. Please log in.", "GatedRepo")
        message = f"Access to {repo.kind} {repo.id} is restricted and you are not in the authorized list."
        raise Refused(403, f"{message} Visit {self.hub.url(repo)} to ask for access.", "GatedRepo")
