"""Collections of repositories, and their routes."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from typing import Any

from .answers import Answer, Call, Refused
from .repository import now


@dataclass
class Collection:
    slug: str
    title: str
    owner: str
    description: str = ""
    private: bool = False
    items: list[dict[str, Any]] = field(default_factory=list)  # {"_id", "id", "type", "position", "note"?}
    date: str = field(default_factory=now)


def _about(it: Collection) -> dict:
    about = {"slug": it.slug, "title": it.title, "description": it.description, "private": it.private}
    about |= {"lastUpdated": it.date, "position": 0, "theme": "blue", "upvotes": 0}
    return {**about, "owner": {"type": "user", "name": it.owner}, "items": it.items}


def _found(call: Call) -> Collection:
    found = call.hub.collections.get(call.parts["slug"])
    if found is None or (found.private and not (call.account and call.account.owns(found.owner))):
        raise Refused(404, "Collection not found")
    return found


def listing(call: Call) -> Answer:
    found = []
    for each in call.hub.collections.values():
        seen = not each.private or (call.account and call.account.owns(each.owner))
        items = {f"{item['type']}s/{item['id']}" for item in each.items}
        if seen and call.asked("owner") in ("", each.owner) and set(call.query.get("item", [])) <= items:
            found.append({key: value for key, value in _about(each).items() if key != "position"})  # of the list itself
    return Answer(found[: int(call.asked("limit") or len(found))])


def create(call: Call) -> Answer:
    asked = call.json()
    owner, title, text = asked.get("namespace") or call.writer().name, asked.get("title"), asked.get("description", "")
    call.owner(owner, "create a collection")
    if not title or len(title) > 60 or len(text) > 150:
        raise Refused(400, "title must have 1 to 60 characters and description at most 150")
    for each in call.hub.collections.values():
        if (each.owner, each.title) == (owner, title):
            raise Refused(409, "A collection of that title exists already", slug=each.slug)
    name = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
    slug = f"{owner}/{name}-{hashlib.sha1(f'{owner} {title}'.encode()).hexdigest()[:24]}"
    call.hub.collections[slug] = Collection(slug, title, owner, text, asked.get("private") is True)
    return Answer(_about(call.hub.collections[slug]))


def get(call: Call) -> Answer:
    return Answer(_about(_found(call)))


def delete(call: Call) -> Answer:
    found = _found(call)
    call.owner(found.owner, "delete a collection")
    del call.hub.collections[found.slug]
    return Answer({})


def add_item(call: Call) -> Answer:
    found, asked = _found(call), call.json()
    call.owner(found.owner, "change a collection")
    name, kind, note = asked["item"]["id"], asked["item"]["type"], asked.get("note", "")
    if len(note) > 500:
        raise Refused(400, "a note has at most 500 characters")
    if kind in ("model", "dataset", "space") and call.hub.find(name, kind) is None:
        raise Refused(404, f"{kind} {name} not found")
    if any((item["id"], item["type"]) == (name, kind) for item in found.items):
        raise Refused(409, "Item already in collection")
    number = hashlib.sha1(f"{found.slug} {kind} {name}".encode()).hexdigest()[:24]
    item = {"_id": number, "id": name, "type": kind, "position": len(found.items)}
    found.items.append({**item, "note": {"text": note, "html": note}} if note else item)
    return Answer(_about(found))


def delete_item(call: Call) -> Answer:
    found = _found(call)
    call.owner(found.owner, "change a collection")
    left = [item for item in found.items if item["_id"] != call.parts["item"]]
    if len(left) == len(found.items):
        raise Refused(404, "Item not found")
    found.items[:] = left
    return Answer({})
