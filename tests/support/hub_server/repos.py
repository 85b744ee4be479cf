"""Accounts and repositories as a whole: whoami, create, delete, settings; and the check of a card."""

from __future__ import annotations

import re

from .answers import Answer, Call, Refused
from .blobs import GITATTRIBUTES
from .cards import errors, front_matter


def whoami(call: Call) -> Answer:
    if call.account is None:
        raise Refused(401, "Invalid username or password.")
    me = call.account
    return Answer(
        {
            "type": "user",
            "id": me.name,
            "name": me.name,
            "fullname": me.name,
            "orgs": [{"type": "org", "id": name, "name": name, "roleInOrg": "write"} for name in me.orgs],
            "auth": {"type": "access_token", "accessToken": {"displayName": "test", "role": me.role}},
        }
    )


def create(call: Call) -> Answer:
    asked = call.json()
    kind, name = asked.get("type") or "model", asked.get("name") or ""
    account = call.writer()
    namespace = asked.get("organization") or account.name
    call.owner(namespace, f"create a {kind}")
    full = f"{namespace}/{name}"
    if not re.fullmatch(r"[\w.-]{1,96}", name, re.ASCII) or "--" in name or ".." in name or name[-1] in ".-":
        raise Refused(400, f"Invalid name: {name!r}")
    if found := call.hub.find(full, kind):
        raise Refused(409, f"You already created this {kind} repo: {full}", url=call.hub.url(found))
    private = asked.get("visibility") == "private" or asked.get("private") is True
    repo = call.hub.add(full, {".gitattributes": GITATTRIBUTES}, private=private, kind=kind)
    return Answer({"url": call.hub.url(repo), "name": full, "id": full})


def delete(call: Call) -> Answer:
    asked = call.json()
    account = call.writer()
    call.parts = {
        "kind": f"{asked.get('type') or 'model'}s",
        "repo": f"{asked.get('organization') or account.name}/{asked.get('name')}",
    }
    call.hub.remove(call.own_repository())
    return Answer(b"OK")


def settings(call: Call) -> Answer:
    repo, asked = call.own_repository(), call.json()
    if "gated" in asked:
        if asked["gated"] not in ("auto", "manual", False):
            raise Refused(400, '"gated" must be one of "auto", "manual", false')
        repo.gated = asked["gated"]
    if "visibility" in asked or "private" in asked:
        repo.private = asked.get("visibility", "private" if asked.get("private") else "public") == "private"
    return Answer({"private": repo.private, "gated": repo.gated})


def validate(call: Call) -> Answer:
    content = str(call.json().get("content", ""))
    found = errors(content)
    if not found and front_matter(content) is None:
        return Answer({"errors": [], "warnings": [{"message": "empty or missing yaml metadata in repo card"}]})
    answer = {"errors": [{"message": message} for message in found], "warnings": []}
    if not found:
        return Answer(answer)
    raise Refused(400, "Invalid metadata in README.md", **answer)
