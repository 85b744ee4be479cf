"""Names of commits and their history: branches, tags, refs, commits."""

from __future__ import annotations

from .answers import Answer, Call, Refused


def listing(call: Call) -> Answer:
    repo = call.repository()
    answer = {
        "branches": [{"name": n, "ref": f"refs/heads/{n}", "targetCommit": o} for n, o in repo.branches.items()],
        "converts": [],
        "tags": [{"name": n, "ref": f"refs/tags/{n}", "targetCommit": o} for n, o in repo.tags.items()],
    }
    if call.asked("include_prs"):
        pulls = [(f"refs/pr/{number}", pull.oid) for number, pull in repo.pulls.items()]
        answer["pullRequests"] = [{"name": ref, "ref": ref, "targetCommit": oid} for ref, oid in pulls]
    return Answer(answer)


def log(call: Call) -> Answer:
    commits = [
        {"id": c.oid, "title": c.title, "message": c.description, "date": c.date, "authors": [{"user": c.author}]}
        for c in call.repository().log(call.parts["revision"])
    ]
    return Answer(commits, headers={"X-Total-Count": str(len(commits))})


def create_tag(call: Call) -> Answer:
    repo, name = call.own_repository(), call.json().get("tag")
    if not name:
        raise Refused(400, '"tag" is required')
    oid = repo.head(call.parts["revision"])
    if name in repo.tags:
        raise Refused(409, f"Tag reference exists already: refs/tags/{name}")
    repo.tags[name] = oid
    return Answer({"name": name, "ref": f"refs/tags/{name}", "targetCommit": oid})


def delete_tag(call: Call) -> Answer:
    _delete(call.own_repository().tags, call.parts["name"])
    return Answer({})


def create_branch(call: Call) -> Answer:
    repo, name = call.own_repository(), call.parts["name"]
    oid = repo.head(call.json().get("startingPoint") or "main")
    if name in repo.branches:
        raise Refused(409, f"Reference already exists: refs/heads/{name}")
    if name.startswith("refs/"):
        raise Refused(400, f"Invalid branch name {name}")
    repo.branches[name] = oid
    return Answer({"ref": f"refs/heads/{name}", "targetCommit": oid})


def delete_branch(call: Call) -> Answer:
    repo, name = call.own_repository(), call.parts["name"]
    if name == "main":
        raise Refused(403, "Cannot delete main")
    _delete(repo.branches, name)
    return Answer({})


def squash(call: Call) -> Answer:
    repo, name = call.own_repository(), call.parts["name"]
    if name not in repo.branches:
        raise Refused(404, f"Invalid rev id: {name}", "RevisionNotFound")
    title = call.json().get("message") or f"Super-squash branch '{name}' using huggingface_hub"
    repo.move(name, repo.record(repo.files(name), None, title, "", call.writer().name).oid)
    return Answer({})


def _delete(names: dict[str, str], name: str) -> None:
    if name not in names:
        raise Refused(404, f"Invalid rev id: {name}", "RevisionNotFound")
    del names[name]
