"""From what is to be uploaded to the commit: preupload, Git LFS, commit."""

from __future__ import annotations

import base64
import binascii
import json

from .answers import Answer, Call, Refused
from .blobs import is_lfs, remote_oid, sha256
from .cards import errors
from .pulls import open_pull_request
from .repository import Repository


def _revision(call: Call, repo: Repository, making_pull: bool) -> str:
    """Where to commit: a branch or a pull request, by somebody who may. Anybody may open a pull request."""
    revision = call.parts["revision"]
    is_pull = revision.startswith("refs/pr/")
    if not (is_pull or revision.removeprefix("refs/heads/") in repo.branches) or (making_pull and is_pull):
        raise Refused(404, f"Invalid rev id: {revision}", "RevisionNotFound")
    repo.at(revision)
    account = call.writer()
    if not making_pull and not (is_pull and repo.pulls[int(revision[8:])].author == account.name):
        call.own_repository()
    return revision


def preupload(call: Call) -> Answer:
    repo = call.repository()
    files = repo.files(_revision(call, repo, call.asked("create_pr") == "1"))
    answers = []
    for file in call.json()["files"]:
        path, size = file["path"], file["size"]
        answer = {"path": path, "uploadMode": "lfs" if is_lfs(path, size) else "regular", "shouldIgnore": False}
        if path in files:
            answer["oid"] = remote_oid(path, files[path])
        answers.append(answer)
    return Answer({"files": answers})


def batch(call: Call) -> Answer:
    repo, asked = call.repository(), call.json()
    call.writer()
    if asked.get("ref") and not asked["ref"]["name"].startswith("refs/pr/"):
        call.own_repository()
    if asked.get("operation") != "upload":
        raise Refused(400, "only uploads here")
    web = f"{call.hub.url(repo)}.git/info/lfs"
    objects = []
    for wanted in asked["objects"]:
        answer = {"oid": wanted["oid"], "size": wanted["size"]}
        if wanted["oid"] not in call.hub.objects:
            upload = _upload_action(call, wanted["oid"], wanted["size"])
            answer["actions"] = {"upload": upload, "verify": {"href": f"{web}/verify"}}
        objects.append(answer)
    return Answer({"transfer": "basic", "objects": objects}, headers={"Content-Type": "application/vnd.git-lfs+json"})


def _upload_action(call: Call, oid: str, size: int) -> dict:
    """One PUT, or from `hub.part_size` on one for each part and a POST that says that these were all."""
    url, part = f"{call.hub.files}/objects/{oid}", call.hub.part_size
    if not part or size <= part:
        return {"href": url}
    parts = {f"{number:05}": f"{url}/{number}" for number in range(1, -(-size // part) + 1)}
    return {"href": url, "header": {"chunk_size": str(part), **parts}}


def store(call: Call) -> Answer:
    oid, number = call.parts["oid"], call.parts.get("number")
    if number is None:
        _store(call, oid, call.body)
    else:
        call.hub.uploading[oid, int(number)] = call.body
    return Answer(headers={"ETag": f'"{sha256(call.body)}"'})


def complete(call: Call) -> Answer:
    oid, numbers = call.parts["oid"], [part["partNumber"] for part in call.json()["parts"]]
    if any((oid, number) not in call.hub.uploading for number in numbers):
        raise Refused(400, "a part is missing")
    _store(call, oid, b"".join(call.hub.uploading[oid, number] for number in sorted(numbers)))
    return Answer({})


def _store(call: Call, oid: str, data: bytes) -> None:
    if sha256(data) != oid:
        raise Refused(400, "The SHA256 you specified does not match what was uploaded")
    call.hub.objects[oid] = data


def verify(call: Call) -> Answer:
    call.repository()
    call.writer()
    asked = call.json()
    if len(call.hub.objects.get(asked.get("oid"), b"")) != asked.get("size"):
        raise Refused(404, "Object not found or of another size")
    return Answer({})


def commit(call: Call) -> Answer:
    repo, making_pull = call.repository(), call.asked("create_pr") == "1"
    revision = _revision(call, repo, making_pull)
    lines = [json.loads(line) for line in call.body.splitlines() if line.strip()]
    header = next((line["value"] for line in lines if line["key"] == "header"), {})
    title, description = header.get("summary"), header.get("description") or ""
    if not title:
        raise Refused(400, "the commit needs a summary")
    parent, author = header.get("parentCommit"), call.writer().name
    if making_pull:
        start = repo.at(parent) if parent else repo.at(revision)
        changes = _changes(call, start.files, lines)
        pull = open_pull_request(repo, title, author, revision, start.oid, description)
        new = repo.commit(changes, title, description, revision=f"refs/pr/{pull.number}", author=author)
    else:
        changes = _changes(call, repo.files(revision), lines)
        new = repo.commit(changes, title, description, revision=revision, author=author, parent=parent)
    answer = {"success": True, "commitOid": new.oid, "commitUrl": f"{call.hub.url(repo)}/commit/{new.oid}"}
    if making_pull:
        answer["pullRequestUrl"] = f"{call.hub.url(repo)}/discussions/{pull.number}"
    return Answer({**answer, "hookOutput": ""})


def _changes(call: Call, files: dict[str, bytes], lines: list[dict]) -> dict[str, bytes | None]:
    """What the lines of a commit do to these files, None for a file deleted."""
    changes: dict[str, bytes | None] = {}
    for line in lines:
        key, value = line["key"], line["value"]
        if key == "header":
            continue
        path = _checked(value["path"].removesuffix("/") if key == "deletedFolder" else value["path"])
        if key == "file":
            changes[path] = _decoded(value, path)
        elif key == "lfsFile":
            if value["oid"] not in call.hub.objects:
                message = "Your push was rejected because an LFS pointer pointed to a file that does not exist"
                raise Refused(400, f"{message}: {path}")
            changes[path] = call.hub.objects[value["oid"]]
        elif key in ("deletedFile", "deletedFolder"):
            gone = [name for name in files if name == path or (key != "deletedFile" and name.startswith(f"{path}/"))]
            if not gone:
                raise Refused(404, f'A file with the name "{path}" does not exist', "EntryNotFound")
            changes.update(dict.fromkeys(gone))
        else:
            raise Refused(400, f"Unknown operation {key!r}")
    card = changes.get("README.md")
    if card is not None and (found := errors(card.decode(errors="replace"))):
        raise Refused(400, f"Invalid metadata in README.md: {'; '.join(found)}")
    return changes


def _checked(path: str) -> str:
    if "\\" in path or {"", ".", "..", ".git"} & set(path.split("/")):
        raise Refused(400, f"Invalid path in repo: {path!r}")
    return path


def _decoded(value: dict, path: str) -> bytes:
    try:
        data = value["content"].encode()
        data = base64.b64decode(data, validate=True) if value.get("encoding") == "base64" else data
    except (binascii.Error, ValueError) as error:
        raise Refused(400, f"content of {path} is not base64") from error
    if is_lfs("", len(data)):
        raise Refused(400, f"{path} is over 10 MB and must be uploaded through Git LFS")
    return data
