"""Pull requests: discussions, merge."""

from __future__ import annotations

import hashlib

from .answers import Answer, Call, Refused
from .repository import PullRequest, Repository, now


def open_pull_request(
    repo: Repository, title: str, author: str, base: str, start: str, description: str = "", status: str = "open"
) -> PullRequest:
    pull = PullRequest(max(repo.pulls, default=0) + 1, title, author, base, start, start, status)
    repo.pulls[pull.number] = pull
    _happened(pull, "comment", author, _text(description))
    return pull


def _text(text: str) -> dict:
    latest = {"raw": text, "html": text, "updatedAt": now()}
    return {"edited": False, "hidden": False, "latest": latest, "history": []}


def _happened(pull: PullRequest, what: str, author: str, data: dict) -> dict:
    number = hashlib.sha1(f"{pull.number} {len(pull.events)}".encode()).hexdigest()[:24]
    event = {"id": number, "type": what, "createdAt": now(), "author": {"name": author}, "data": data}
    pull.events.append(event)
    return event


def _pull(call: Call) -> tuple[Repository, PullRequest]:
    repo = call.repository()
    pull = repo.pulls.get(int(call.parts["number"]))
    if pull is None:
        raise Refused(404, f"Discussion {call.parts['number']} not found")
    return repo, pull


def _summary(repo: Repository, pull: PullRequest) -> dict:
    return {
        "num": pull.number,
        "title": pull.title,
        "status": pull.status,
        "author": {"name": pull.author},
        "createdAt": pull.date,
        "isPullRequest": True,
        "repo": {"name": repo.id, "type": repo.kind},
    }


def listing(call: Call) -> Answer:
    repo = call.repository()
    found = [_summary(repo, pull) for _, pull in sorted(repo.pulls.items(), reverse=True)]
    if author := call.asked("author"):
        found = [pull for pull in found if pull["author"]["name"] == author]
    if status := call.asked("status"):
        found = [pull for pull in found if (pull["status"] in ("open", "draft")) == (status == "open")]
    found = [] if call.asked("type") == "discussion" else found
    return Answer({"discussions": found, "count": len(found), "start": 0})


def get(call: Call) -> Answer:
    repo, pull = _pull(call)
    commits = [commit for commit in repo.log(pull.oid) if commit.oid not in {c.oid for c in repo.log(pull.start)}]
    events = [
        {
            "id": commit.oid[:24],
            "type": "commit",
            "createdAt": commit.date,
            "author": {"name": commit.author},
            "data": {"subject": commit.title, "oid": commit.oid},
        }
        for commit in reversed(commits)
    ]
    changes = {"base": f"refs/heads/{pull.base}", **({"mergeCommitId": pull.merged} if pull.merged else {})}
    more = {"events": pull.events + events, "changes": changes, "filesWithConflicts": _conflicts(repo, pull)}
    return Answer({**_summary(repo, pull), **more, "diff": ""})


def create(call: Call) -> Answer:
    repo, asked, account = call.repository(), call.json(), call.writer()
    if not asked.get("pullRequest"):
        raise Refused(501, "the test's Hub has pull requests, but no plain discussions")
    text, start = asked.get("description", ""), repo.head()
    pull = open_pull_request(repo, asked["title"], account.name, "main", start, text, "draft")
    return Answer({"num": pull.number, "pullRequest": True, "url": f"{call.hub.url(repo)}/discussions/{pull.number}"})


def comment(call: Call) -> Answer:
    _, pull = _pull(call)
    return Answer({"newMessage": _happened(pull, "comment", call.writer().name, _text(call.json()["comment"]))})


def set_status(call: Call) -> Answer:
    _, pull = _pull(call)
    account = call.writer()
    if account.name != pull.author:
        call.own_repository()
    if pull.status == "merged":
        raise Refused(400, "This pull request has been merged")
    pull.status = call.json()["status"]
    return Answer({"newStatus": _happened(pull, "status-change", account.name, {"status": pull.status})})


def _differences(old: dict[str, bytes], new: dict[str, bytes]) -> dict[str, bytes | None]:
    return {path: new.get(path) for path in {*old, *new} if old.get(path) != new.get(path)}


def _conflicts(repo: Repository, pull: PullRequest) -> list[str]:
    if pull.status == "merged" or pull.base not in repo.branches:
        return []
    start = repo.files(pull.start)
    theirs, ours = _differences(start, repo.files(pull.base)), _differences(start, repo.files(pull.oid))
    return sorted(path for path in theirs.keys() & ours.keys() if theirs[path] != ours[path])


def merge(call: Call) -> Answer:
    call.own_repository()
    repo, pull = _pull(call)
    if pull.status != "open":
        raise Refused(400, f"This pull request is {pull.status}")
    if found := _conflicts(repo, pull):
        raise Refused(409, f"This pull request has conflicts: {', '.join(found)}")
    changes, author = _differences(repo.files(pull.start), repo.files(pull.oid)), call.writer().name
    new = repo.commit(changes, f"{pull.title} (#{pull.number})", revision=pull.base, author=author)
    pull.status, pull.merged = "merged", new.oid
    _happened(pull, "status-change", author, {"status": "merged"})
    return Answer({"success": True})
