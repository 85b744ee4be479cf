"""The tests' Hub against the real client: what it asks of the real one, it must be answered here."""

from __future__ import annotations

import hashlib
import urllib.request
from pathlib import Path

import pytest
from huggingface_hub import CommitOperationAdd, HfApi, snapshot_download
from huggingface_hub.errors import (
    BadRequestError,
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from support.hub_client import CARD, FILES, WEIGHTS, X, client, download, refused, write_files
from support.hub_server import OTHER_TOKEN, READ_TOKEN, TOKEN, Hub


@pytest.fixture
def api(hub) -> HfApi:
    return client(hub)


def test_start_and_stop():
    with Hub() as hub:
        hub.add(X)
        assert client(hub).repo_exists(X)
    with Hub(port=hub.port) as again:
        assert again.endpoint == hub.endpoint
        assert not client(again).repo_exists(X)


def test_create(hub, api):
    url = api.create_repo(X, private=True)
    assert (url, hub[X].private, set(hub[X].files())) == (f"{hub.endpoint}/{X}", True, {".gitattributes"})
    assert api.create_repo(X, exist_ok=True).repo_id == X
    with refused(409):
        api.create_repo(X)
    for name in ("you/x", "me/a..b"):
        with pytest.raises((HfHubHTTPError, ValueError)):
            api.create_repo(name)
    with refused(401):
        client(hub, False).create_repo("me/y")
    with refused(403):
        client(hub, READ_TOKEN).create_repo("me/y")
    assert api.create_repo("lab/d", repo_type="dataset") == f"{hub.endpoint}/datasets/lab/d"
    assert "datasets/lab/d" in hub
    assert api.whoami()["auth"]["accessToken"]["role"] == "write"
    api.delete_repo(X)
    assert X not in hub
    with refused(404, RepositoryNotFoundError):
        api.delete_repo(X)


def test_upload_and_again(hub, api, tmp_path):
    folder = write_files(tmp_path)
    hub.add(X)
    info = api.upload_folder(repo_id=X, folder_path=folder, commit_message="all", commit_description="why")
    assert hub[X].files() == FILES
    assert (hub[X].head(), hub[X].log()[0].title, hub[X].log()[0].description) == (info.oid, "all", "why")
    assert info.commit_url == f"{hub.endpoint}/{X}/commit/{info.oid}"
    assert [(r.authorized, r.host.split(":")[0]) for r in hub.asked("upload")] == [(False, "localhost")]
    assert api.upload_folder(repo_id=X, folder_path=folder).oid == info.oid
    assert len(hub[X].log()) == 2
    api.upload_file(repo_id=X, path_in_repo="copy.bin", path_or_fileobj=WEIGHTS)
    assert len(hub.asked("upload")) == 1  # the object was there
    api.delete_folder("data", X)
    api.delete_file("copy.bin", X)
    assert set(hub[X].files()) == set(FILES) - {"data/a.txt"}
    with refused(404, EntryNotFoundError):
        api.delete_file("copy.bin", X)


def test_listings(hub, api):
    hub.add(X, FILES)
    info = api.model_info(X, files_metadata=True)
    assert (info.sha, info.library_name, info.card_data.license, info.gated) == (hub[X].head(), "timm", "mit", False)
    blobs = {file.rfilename: file for file in info.siblings}
    assert blobs["model.safetensors"].lfs.sha256 == hashlib.sha256(WEIGHTS).hexdigest()
    assert blobs["config.json"].blob_id == "9e26dfeeb6e641a33dae4961196235bdb965b21b"  # git hash-object
    assert sorted(api.list_repo_files(X)) == sorted(FILES)
    assert {entry.path for entry in api.list_repo_tree(X)} == {"README.md", "config.json", "model.safetensors", "data"}
    assert [entry.path for entry in api.list_repo_tree(X, "data")] == ["data/a.txt"]
    assert [entry.path for entry in api.get_paths_info(X, ["data", "config.json", "no"])] == ["data", "config.json"]
    assert api.file_exists(X, "config.json")
    assert not api.file_exists(X, "no")
    assert api.revision_exists(X, "main")
    assert not api.revision_exists(X, "no")
    assert api.repo_exists(X)
    assert not api.repo_exists("me/no")
    assert [model.id for model in api.list_models(author="me", filter="timm")] == [X]


def test_downloads(hub, tmp_path):
    first = hub.add(X, FILES).head()
    hub[X].commit({"config.json": b"[]", "model.safetensors": b"new"})
    hub[X].tags["v1"] = first
    assert (download(hub, tmp_path), download(hub, tmp_path, "config.json")) == (b"new", b"[]")
    for revision in ("v1", first, first[:7]):
        assert download(hub, tmp_path, revision=revision) == WEIGHTS
    snapshot = Path(snapshot_download(X, endpoint=hub.endpoint, token=TOKEN, cache_dir=tmp_path, revision="v1"))
    assert {str(p.relative_to(snapshot)): p.read_bytes() for p in snapshot.rglob("*") if p.is_file()} == FILES
    assert not any(request.authorized for request in hub.asked("download"))
    with refused(404, EntryNotFoundError):
        download(hub, tmp_path, "no")
    with refused(404, RevisionNotFoundError):
        download(hub, tmp_path, revision="no")
    part = urllib.request.Request(f"{hub.endpoint}/{X}/resolve/v1/model.safetensors", headers={"Range": "bytes=5-9"})
    with urllib.request.urlopen(part) as answer:
        assert (answer.status, answer.read(), answer.headers["Content-Range"]) == (206, WEIGHTS[5:10], "bytes 5-9/4096")


def test_cards(hub, api):
    hub.add(X)
    bad = (b"---\na: [\n---\n", b"---\na: 1\na: 2\n---\n", b"---\n- a\n---\n", b"---\nmodel-index: [{}]\n---\n")
    for card in bad:
        with pytest.raises(ValueError, match="Invalid metadata"):
            api.upload_file(repo_id=X, path_in_repo="README.md", path_or_fileobj=card)
    with pytest.warns(UserWarning, match="empty or missing"):
        api.upload_file(repo_id=X, path_in_repo="README.md", path_or_fileobj=b"no metadata")
    api.upload_file(repo_id=X, path_in_repo="README.md", path_or_fileobj=CARD)
    assert len(hub[X].log()) == 3


def test_names(hub, api):
    repo = hub.add(X, {"main.py": b""})
    api.create_tag(X, tag="v/1", revision="main")
    api.create_branch(X, branch="dev/a", revision="v/1")
    new = api.upload_file(repo_id=X, path_in_repo="a", path_or_fileobj=b"a", revision="dev/a").oid
    assert (repo.tags, repo.branches) == ({"v/1": repo.head()}, {"main": repo.head(), "dev/a": new})
    for create in (lambda: api.create_tag(X, tag="v/1"), lambda: api.create_branch(X, branch="dev/a")):
        with refused(409):
            create()
    refs = api.list_repo_refs(X)
    assert [(ref.name, ref.target_commit) for ref in refs.branches + refs.tags][1:] == [
        ("dev/a", new),
        ("v/1", repo.head()),
    ]
    assert [commit.commit_id for commit in api.list_repo_commits(X, revision="dev/a")] == [new, repo.head()]
    api.super_squash_history(X, branch="dev/a")
    assert [set(commit.files) for commit in repo.log("dev/a")] == [{"main.py", "a"}]
    api.delete_tag(X, tag="v/1")
    api.delete_branch(X, branch="dev/a")
    assert (repo.tags, set(repo.branches)) == ({}, {"main"})
    with refused(404, RevisionNotFoundError):
        api.upload_file(repo_id=X, path_in_repo="a", path_or_fileobj=b"a", revision="dev/a")


def test_pull_requests(hub, api, tmp_path):
    repo, you = hub.add(X, FILES), client(hub, OTHER_TOKEN)
    base = repo.head()
    send = {"repo_id": X, "path_in_repo": "model.safetensors", "create_pr": True}
    pull = you.upload_file(path_or_fileobj=b"better", **send)
    assert (pull.pr_num, pull.pr_revision, repo.pulls[1].status, repo.head()) == (1, "refs/pr/1", "open", base)
    you.upload_file(repo_id=X, path_in_repo="more", path_or_fileobj=b"", revision="refs/pr/1")
    assert download(hub, tmp_path, revision="refs/pr/1") == b"better"
    assert [ref.name for ref in api.list_repo_refs(X, include_pull_requests=True).pull_requests] == ["refs/pr/1"]
    details = api.get_discussion_details(X, 1)
    assert (details.status, details.target_branch, details.conflicting_files) == ("open", "refs/heads/main", [])
    assert [event.type for event in details.events] == ["comment", "commit", "commit"]
    api.comment_discussion(X, 1, "thanks")
    with refused(403):
        you.merge_pull_request(X, 1)
    you.upload_file(path_or_fileobj=b"other", **send)
    api.merge_pull_request(X, 1)
    assert (repo.pulls[1].status, repo.pulls[1].merged) == ("merged", repo.head())
    assert repo.files() == {**FILES, "model.safetensors": b"better", "more": b""}
    with refused(409):  # the second changes the same file
        api.merge_pull_request(X, 2)
    api.change_discussion_status(X, 2, "closed")
    assert [(pull.num, pull.status) for pull in api.get_repo_discussions(X)] == [(2, "closed"), (1, "merged")]


def test_stale_parent(hub, api):
    repo = hub.add(X)
    old = repo.head()
    hub.before("commit", lambda: repo.commit({"theirs": b""}))
    with refused(412):
        api.upload_file(repo_id=X, path_in_repo="a", path_or_fileobj=b"a", parent_commit=old)
    assert set(repo.files()) == {"theirs"}
    api.upload_file(repo_id=X, path_in_repo="a", path_or_fileobj=b"a", parent_commit=repo.head())
    assert len(repo.log()) == 3


def test_access(hub, api, tmp_path):
    hub.add(X, FILES, private=True)
    for token, status in ((OTHER_TOKEN, 404), (False, 401)):
        for ask in (lambda t=token: client(hub, t).model_info(X), lambda t=token: download(hub, tmp_path, token=t)):
            with refused(status, RepositoryNotFoundError):
                ask()
    with refused(401) as bad:
        client(hub, "hf_bad").model_info(X)
    assert "Invalid credentials" in str(bad.value)
    assert not isinstance(bad.value, RepositoryNotFoundError)
    with refused(403):
        client(hub, READ_TOKEN).upload_file(repo_id=X, path_in_repo="a", path_or_fileobj=b"a")
    api.update_repo_settings(X, private=False, gated="manual")
    assert (hub[X].private, hub[X].gated, api.model_info(X).gated) == (False, "manual", "manual")
    for token, status in ((OTHER_TOKEN, 403), (False, 401)):
        assert client(hub, token).model_info(X).gated == "manual"
        with refused(status, GatedRepoError):
            download(hub, tmp_path, token=token)
    assert download(hub, tmp_path) == WEIGHTS
    hub[X].readers.add("you")
    assert download(hub, tmp_path / "new", token=OTHER_TOKEN) == WEIGHTS
    with refused(403):
        client(hub, OTHER_TOKEN).update_repo_settings(X, gated=False)


def test_hostile_names(hub, api):
    hub.add(X, {"../out": b"", "/etc/passwd": b"", "a\\b": b""})
    assert set(api.list_repo_files(X)) == {"../out", "/etc/passwd", "a\\b"}
    for path in ("../a", "/a", "a\\b", "a//b", "", "a/../b"):
        operation = CommitOperationAdd("a", b"evil")
        operation.path_in_repo = path  # the client refuses some of them itself
        with refused(400, BadRequestError):
            api.create_commit(X, [operation], commit_message="hostile")
    assert len(hub[X].log()) == 1


def test_collections(hub, api):
    hub.add(X)
    made = api.create_collection("Push-pull", namespace="lab", description="all of them")
    assert api.create_collection("Push-pull", namespace="lab", exists_ok=True).slug == made.slug
    api.add_collection_item(made.slug, X, "model", note="best")
    with refused(409):
        api.add_collection_item(made.slug, X, "model")
    with refused(404):
        api.add_collection_item(made.slug, "me/no", "model")
    with refused(403):
        client(hub, OTHER_TOKEN).add_collection_item(made.slug, X, "model")
    assert [(i.item_id, i.item_type, i.note) for i in api.get_collection(made.slug).items] == [(X, "model", "best")]
    assert [found.slug for found in api.list_collections(owner="lab", item=f"models/{X}")] == [made.slug]
    assert [item["id"] for item in hub.collections[made.slug].items] == [X]
