"""Publishing: upload to a branch, download and compare, then commit to main and tag."""

from __future__ import annotations

import hashlib
import io
import re
import secrets
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import torch
from huggingface_hub import (
    CommitInfo,
    CommitOperationAdd,
    CommitOperationCopy,
    CommitOperationDelete,
    HfApi,
    ModelInfo,
    constants,
    get_token,
)
from huggingface_hub.errors import RepositoryNotFoundError
from huggingface_hub.hf_api import RepoFile

from timm_pushpull.hub.release import CARD, FILES, Release
from timm_pushpull.hub.verification import load_each_way, logits
from timm_pushpull.models.weights import CONFIG
from timm_pushpull.utils.errors import InputError
from timm_pushpull.utils.hub_client import clear_errors, download, git_hash

_VERSION = re.compile(r"v(\d+)")
_SLUG = re.compile(r"[\w.-]+/[\w.-]+-[0-9a-f]{24}")  # of a collection
#: Of a new collection; the Hub takes 150 characters.
_DESCRIPTION = "timm networks with a push-pull unit (PushPull-Net, ICPR 2024), and their errors under 75 corruptions"


@dataclass(frozen=True)
class Published:
    """The outcome of publishing.

    Attributes:
        url: Page of the repository, the commit or the pull request.
        commit: Hash of the commit.
        tag: Name of the version; None for a pull request.
        changed: Names of the files that were new, had changed or were removed.
    """

    url: str
    commit: str
    tag: str | None
    changed: tuple[str, ...]


def check_access(
    repo_ids: Sequence[str],
    *,
    private: bool = False,
    create_pr: bool = False,
    collection: str | None = None,
    endpoint: str | None = None,
) -> None:
    """Check that a later `publish` of these repositories has a token with the rights it needs; changes nothing.

    It spares the verification of releases that the Hub will not take. What a fine-grained token may do is not known
    before `publish`.

    Args:
        repo_ids: NAMESPACE/NAME of each repository.
        private, create_pr, collection, endpoint: As in `publish`.

    Raises:
        InputError: No token, no network, the token may not write to a namespace, a repository is public although it
            should be private, or there is no such collection.
    """
    endpoint, _, api = _connect(endpoint)
    with clear_errors(f"publish {', '.join(repo_ids)}", endpoint):
        user = api.whoami()
        _check_collection(api, collection)
    role = user.get("auth", {}).get("accessToken", {}).get("role")
    if role == "read":
        raise InputError(f"the token of {user['name']} may only read; use one with write access")
    namespaces = [user["name"], *(org["name"] for org in user.get("orgs", ()) if org.get("roleInOrg") != "read")]
    for repo_id in repo_ids:
        if role == "write" and repo_id.split("/")[0] not in namespaces and not create_pr:
            raise InputError(f"cannot publish {repo_id}: the token may write to {', '.join(namespaces)} only")
        if private:
            with clear_errors(f"publish {repo_id}", endpoint), suppress(RepositoryNotFoundError):
                _check_private(repo_id, api.model_info(repo_id))


def publish(
    release: Release,
    repo_id: str,
    *,
    private: bool = False,
    create_pr: bool = False,
    collection: str | None = None,
    endpoint: str | None = None,
    log: Callable[[str], None] = print,
) -> Published:
    """Publish a release, or a newer version of it, on the Hub.

    1. Commit the files to a new branch.
    2. Download them into an empty cache. They must be the same bytes and give the same logits.
    3. Commit them to main, provided that main has not changed meanwhile, and tag the commit `v1`, `v2`, ...

    If a step before the commit to main fails, main stays as it was. The branch is always removed. If no file has
    changed, nothing is uploaded. Files of an earlier version that this one lacks, such as its plot, are removed; files
    that are not a release's are left alone.

    Args:
        repo_id: NAMESPACE/NAME; created if it does not exist.
        private: Create it as a private repository. Otherwise the namespace's default decides.
        create_pr: Open a pull request instead of committing to main. Its files are downloaded and compared too.
        collection: Slug of a collection to add the model to, or the title of one; a missing one is created.
        endpoint: URL of the Hub; by default that of HF_ENDPOINT, or the public one.
        log: Called with a line for each step.

    Raises:
        InputError: No token, no network, the Hub refuses, main has changed meanwhile, or the downloaded files or
            logits differ.
    """
    endpoint, token, api = _connect(endpoint)
    with clear_errors(f"publish {repo_id}", endpoint):
        _check_collection(api, collection)  # a wrong one is reported before anything is uploaded
        url = api.create_repo(repo_id, private=private or None, exist_ok=True)
        info = api.model_info(repo_id)
        if private:
            _check_private(repo_id, info)
        head = str(info.sha)  # every repository has a first commit
        content = release.read()
        content[CARD] = release.card_for(repo_id).encode()
        listed = _listed(api, repo_id, head)
        added = {name: data for name, data in content.items() if listed.get(name) not in _hashes(data)}
        removed = [name for name in FILES if name in listed and name not in content]
        changed = (*added, *removed)
        message = f"{release.name}, by timm-pushpull"
        if not changed:
            commit, page = head, str(url)
            log(f"{repo_id} already holds these files; nothing to upload")
            if create_pr:
                return Published(page, commit, None, changed)
        elif create_pr:
            made = _commit(api, repo_id, added, removed, message, head, create_pr=True)
            _check_download(repo_id, made.oid, content, release, endpoint, token)
            return Published(str(made.pr_url), made.oid, None, changed)
        else:
            with _branch(api, repo_id, head) as branch:
                for verb, names in (("uploading", added), ("removing", removed)):
                    if names:
                        log(f"{verb} {', '.join(names)}")
                made = _commit(api, repo_id, added, removed, message, head, revision=branch)
                _check_download(repo_id, made.oid, content, release, endpoint, token)
                log("downloaded again: same files, same logits")
                made = _commit(api, repo_id, added, removed, message, head)
            commit, page = made.oid, made.commit_url
    with clear_errors(f"tag {repo_id}, whose files are published ({page})", endpoint):
        tag = _tag(api, repo_id, commit)
    if collection:
        with clear_errors(f"add {repo_id}@{tag}, which is published ({page}), to a collection", endpoint):
            _add_to_collection(api, repo_id, collection)
    return Published(page, commit, tag, changed)


def _connect(endpoint: str | None) -> tuple[str, str, HfApi]:
    """The URL of the Hub, the user's token, and the client for them."""
    endpoint = (endpoint or constants.ENDPOINT).rstrip("/")
    token = get_token()
    if token is None:
        raise InputError("no Hub token found; run `hf auth login` or set HF_TOKEN")
    return endpoint, token, HfApi(endpoint, token, library_name="timm-pushpull")


def _check_collection(api: HfApi, collection: str | None) -> None:
    """Ask for a collection that is given by its slug; one that is given by its title may be new."""
    if collection and _SLUG.fullmatch(collection):
        api.get_collection(collection)


def _check_private(repo_id: str, info: ModelInfo) -> None:
    if not info.private:
        raise InputError(f"{repo_id} is already public; leave --private out, or make it private in its settings")


def _listed(api: HfApi, repo_id: str, revision: str) -> dict[str, str]:
    """The files of a repository, and the hash under which each is listed."""
    entries = api.list_repo_tree(repo_id, recursive=True, revision=revision)
    return {
        entry.path: entry.lfs.sha256 if entry.lfs else entry.blob_id for entry in entries if isinstance(entry, RepoFile)
    }


def _hashes(content: bytes) -> tuple[str, str]:
    """The hashes under which the Hub may list a file: SHA-256 with Git LFS, Git's own without."""
    return hashlib.sha256(content).hexdigest(), git_hash(content)


def _commit(
    api: HfApi,
    repo_id: str,
    files: dict[str, bytes],
    removed: list[str],
    message: str,
    parent: str,
    *,
    revision: str | None = None,
    create_pr: bool = False,
) -> CommitInfo:
    operations: list[CommitOperationAdd | CommitOperationCopy | CommitOperationDelete] = [
        *(CommitOperationAdd(name, io.BytesIO(content)) for name, content in files.items()),
        *map(CommitOperationDelete, removed),
    ]
    return api.create_commit(
        repo_id, operations, commit_message=message, parent_commit=parent, revision=revision, create_pr=create_pr
    )


@contextmanager
def _branch(api: HfApi, repo_id: str, start: str) -> Iterator[str]:
    """A new branch with a random name; removed at the end."""
    name = f"publish-{secrets.token_hex(4)}"
    api.create_branch(repo_id, branch=name, revision=start)
    try:
        yield name
    finally:
        with suppress(Exception):  # the error before this one matters more
            api.delete_branch(repo_id, branch=name)


def _check_download(
    repo_id: str, commit: str, content: dict[str, bytes], release: Release, endpoint: str, token: str
) -> None:
    """Download a commit into an empty cache and compare it with the release.

    Raises:
        InputError: A file or a logit differs.
    """
    with tempfile.TemporaryDirectory() as cache:
        where = {"revision": commit, "cache_dir": cache, "endpoint": endpoint, "token": token}
        found = {name: download(repo_id, name, **where) for name in content}
        for name, data in content.items():
            if found[name].read_bytes() != data:
                raise InputError(f"{repo_id} returns a {name} that differs from the uploaded one; main was not changed")
        (_, sent), (_, pulled) = (
            next(load_each_way(release.path, release)),
            next(load_each_way(found[CONFIG].parent, release)),
        )
        if not torch.equal(logits(sent, release), logits(pulled, release)):
            raise InputError(f"{repo_id} returns a model with other logits; main was not changed")


def _tag(api: HfApi, repo_id: str, commit: str) -> str:
    """The commit's version tag; a commit without one gets the next of v1, v2, ..."""
    newest = 0
    for tag in api.list_repo_refs(repo_id).tags:
        if version := _VERSION.fullmatch(tag.name):
            if tag.target_commit == commit:
                return tag.name
            newest = max(newest, int(version[1]))
    name = f"v{newest + 1}"
    api.create_tag(repo_id, tag=name, revision=commit)
    return name


def _add_to_collection(api: HfApi, repo_id: str, collection: str) -> None:
    """Add the repository to a collection, given by its slug or title."""
    if not _SLUG.fullmatch(collection):
        namespace = repo_id.split("/")[0]
        found = api.create_collection(collection, namespace=namespace, description=_DESCRIPTION, exists_ok=True)
        collection = found.slug
    api.add_collection_item(collection, repo_id, "model", exists_ok=True)
