"""What downloads and listings ask for: info, tree, paths-info, resolve, objects."""

from __future__ import annotations

import hashlib
from urllib.parse import parse_qs

from .answers import Answer, Call, Refused
from .blobs import blob_oid, is_lfs, pointer, remote_oid, sha256
from .cards import front_matter
from .repository import Commit, Repository


def _card(commit: Commit) -> dict:
    try:
        data = front_matter(commit.files.get("README.md", b"").decode(errors="replace"))
    except ValueError:
        data = None
    return data if isinstance(data, dict) else {}


def _about(repo: Repository, commit: Commit, blobs: bool = False) -> dict:
    card = _card(commit)
    tags = card.get("tags") or []
    return {
        "_id": hashlib.sha1(repo.id.encode()).hexdigest()[:24],
        "id": repo.id,
        "modelId" if repo.kind == "model" else "key": repo.id,
        "author": repo.namespace,
        "sha": commit.oid,
        "createdAt": repo.date,
        "lastModified": commit.date,
        "private": repo.private,
        "gated": repo.gated,
        "disabled": False,
        "downloads": 0,
        "likes": 0,
        "tags": tags if isinstance(tags, list) else [tags],
        **{key: card[key] for key in ("library_name", "pipeline_tag", "model-index") if key in card},
        "cardData": card or None,
        "usedStorage": sum(map(len, commit.files.values())),
        "siblings": [{"rfilename": p, **(_blob(p, d) if blobs else {})} for p, d in sorted(commit.files.items())],
    }


def _blob(path: str, data: bytes) -> dict:
    lfs = {"sha256": sha256(data), "size": len(data), "pointerSize": len(pointer(data))}
    return {"size": len(data), "blobId": blob_oid(path, data), **({"lfs": lfs} if is_lfs(path, len(data)) else {})}


def listing(call: Call) -> Answer:
    kind, search = call.parts["kind"].rstrip("s"), call.asked("search").lower()
    found = []
    for repo in call.hub.repositories.values():
        seen = not repo.private or (call.account and call.account.owns(repo.namespace))
        if repo.kind == kind and seen and search in repo.id.lower() and call.asked("author") in ("", repo.namespace):
            about = _about(repo, repo.at("main"))
            if set(call.query.get("filter", [])) <= {*about["tags"], about.get("library_name")}:
                found.append(about)
    return Answer(found[: int(call.asked("limit") or len(found))])


def info(call: Call) -> Answer:
    repo = call.repository()
    about = _about(repo, repo.at(call.parts.get("revision", "main")), call.asked("blobs").lower() in ("1", "true"))
    if expand := call.query.get("expand"):
        about = {key: value for key, value in about.items() if key in ("_id", "id", *expand)}
    return Answer(about)


def access(call: Call) -> Answer:
    call.readable()
    return Answer({})


def _file(path: str, data: bytes, commit: Commit | None) -> dict:
    entry = {"type": "file", "path": path, "size": len(data), "oid": blob_oid(path, data)}
    if is_lfs(path, len(data)):
        entry["lfs"] = {"oid": sha256(data), "size": len(data), "pointerSize": len(pointer(data))}
    return entry | _expanded(commit)


def _folder(path: str, commit: Commit | None) -> dict:
    return {"type": "directory", "path": path, "size": 0, "oid": _tree_oid(path)} | _expanded(commit)


def _expanded(commit: Commit | None) -> dict:
    last = commit and {"id": commit.oid, "title": commit.title, "date": commit.date}
    return {"lastCommit": last} if last else {}


def _tree_oid(path: str) -> str:
    return hashlib.sha1(path.encode()).hexdigest()


def _entries(commit: Commit, expand: bool) -> dict[str, dict]:
    """Every file and folder of a commit by its path."""
    last = commit if expand else None
    entries = {}
    for path, data in sorted(commit.files.items()):
        parts = path.split("/")
        for depth in range(1, len(parts)):
            folder = "/".join(parts[:depth])
            if folder:  # a hostile absolute path has one without a name
                entries.setdefault(folder, _folder(folder, last))
        entries[path] = _file(path, data, last)
    return entries


def tree(call: Call) -> Answer:
    commit = call.repository().at(call.parts["revision"])
    entries = _entries(commit, call.asked("expand").lower() in ("1", "true"))
    root = (call.parts.get("path") or "").strip("/")
    if root and entries.get(root, {}).get("type") != "directory":
        message = f'{root} does not exist on "{call.parts["revision"]}"'
        raise Refused(404, message, "EntryNotFound", headers={"X-Repo-Commit": commit.oid})
    start = f"{root}/" if root else ""
    inside = [entry for path, entry in entries.items() if path.startswith(start)]
    if call.asked("recursive").lower() not in ("1", "true"):
        inside = [entry for entry in inside if "/" not in entry["path"][len(start) :]]
    return Answer(inside)


def paths(call: Call) -> Answer:
    commit = call.repository().at(call.parts["revision"])
    asked = call.json() if "json" in call.headers.get("Content-Type", "") else parse_qs(call.body.decode())
    expand = str(asked.get("expand", "")).lower() not in ("", "false", "['false']")
    entries, wanted = _entries(commit, expand), asked.get("paths", [])
    return Answer([entries[p.strip("/")] for p in wanted if p.strip("/") in entries])


def resolve(call: Call) -> Answer:
    repo, path = call.readable(), call.parts["path"]
    commit = repo.at(call.parts["revision"])
    data, headers = commit.files.get(path), {"X-Repo-Commit": commit.oid}
    if data is None:
        raise Refused(404, "Entry not found", "EntryNotFound", headers=headers)
    headers["ETag"] = f'"{remote_oid(path, data)}"'
    if not is_lfs(path, len(data)):
        return Answer(data, headers={**headers, "Accept-Ranges": "bytes"})
    headers |= {"X-Linked-ETag": headers["ETag"], "X-Linked-Size": str(len(data))}
    return Answer(b"", 302, {**headers, "Location": f"{call.hub.files}/objects/{sha256(data)}"})


def download(call: Call) -> Answer:
    data = call.hub.objects.get(call.parts["oid"])
    if data is None:
        raise Refused(404, "no such object")
    return Answer(data, headers={"ETag": f'"{call.parts["oid"]}"', "Accept-Ranges": "bytes"})
