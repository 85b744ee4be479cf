"""A release onto the Hub: uploaded beside what is current, pulled back, compared, and only then made current."""

from __future__ import annotations

import hashlib
import io
import re
import secrets
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import torch
from huggingface_hub import CommitInfo, CommitOperationAdd, HfApi, constants, get_token
from huggingface_hub.hf_api import RepoFile

from timm_pushpull.hub.folder import CARD, Release
from timm_pushpull.hub.verification import loaded, logits
from timm_pushpull.models.weights import CONFIG
from timm_pushpull.utils.errors import InputError
from timm_pushpull.utils.hub_client import clear_errors, download, git_hash

_VERSION = re.compile(r"v(\d+)")


@dataclass(frozen=True)
class Published:
    """What publishing came to.

    Attributes:
        url: Of the repository's page, the commit or the pull request.
        commit: Its hash.
        tag: The version's name; None for a pull request.
        uploaded: Names of the files that were new or other than on the Hub.
    """

    url: str
    commit: str
    tag: str | None
    uploaded: tuple[str, ...]


def publish(
    release: Release,
    repo_id: str,
    *,
    private: bool = False,
    create_pr: bool = False,
    collection: str | None = None,
    endpoint: str | None = None,
    say: Callable[[str], None] = print,
) -> Published:
    """Bring a release onto the Hub, or a newer version of it.

    The files go to a branch of their own first, in one commit. What can be pulled from there into an empty cache must
    be those files, byte by byte, and give the same logits; then one commit makes them current, on the version that was
    current at the beginning and no other, and a tag `v1`, `v2`, ... names them. Whatever fails, the version before
    stays current and the branch is removed. Where nothing is new nothing is uploaded. Other files that the repository
    holds are left alone.

    Args:
        repo_id: NAMESPACE/NAME; created where it does not exist.
        private: Create it as a private one.
        create_pr: Leave the files in a pull request, pulled back and compared too, for somebody else to merge.
        collection: Slug of a collection to add the model to, or the title of one, created in the same namespace.
        endpoint: The Hub's address; by default HF_ENDPOINT's or the public one.

    Raises:
        InputError: No token, no network, the Hub refuses, somebody else publishes at the same time, or what comes back
            is not what was sent.
    """
    endpoint = (endpoint or constants.ENDPOINT).rstrip("/")
    token = get_token()
    if token is None:
        raise InputError("there is no Hub token; run `hf auth login` or set HF_TOKEN")
    api = HfApi(endpoint, token, library_name="timm-pushpull")
    with clear_errors(f"publish {repo_id}", endpoint):
        url = api.create_repo(repo_id, private=private, exist_ok=True)
        info = api.repo_info(repo_id)
        if private and not info.private:
            raise InputError(f"{repo_id} is public already; leave --private out, or make it private in its settings")
        head = info.sha
        content = {name: (release.path / name).read_bytes() for name in release.files}
        content[CARD] = release.card_for(repo_id).encode()
        listed = _listed(api, repo_id, head)
        changed = tuple(name for name, data in content.items() if listed.get(name) not in _hashes(data))
        additions = {name: content[name] for name in changed}
        message = f"{release.name}, by timm-pushpull"
        if not changed:
            commit, page = head, str(url)
            say(f"{repo_id} holds these files; nothing to upload")
        elif create_pr:
            made = _commit(api, repo_id, additions, message, head, create_pr=True)
            _pull_back(repo_id, made.oid, content, release, endpoint, token)
            return Published(made.pr_url, made.oid, None, changed)
        else:
            with _branch(api, repo_id, head) as branch:
                say(f"uploading {', '.join(changed)}")
                made = _commit(api, repo_id, additions, message, head, revision=branch)
                _pull_back(repo_id, made.oid, content, release, endpoint, token)
                say("pulled back: the same files, the same logits")
                made = _commit(api, repo_id, additions, message, head)
            commit, page = made.oid, made.commit_url
        tag = _tag(api, repo_id, commit)
        if collection:
            _collect(api, repo_id, collection)
    return Published(page, commit, tag, changed)


def _listed(api: HfApi, repo_id: str, revision: str) -> dict[str, str]:
    """The repository's files and the hashes it lists them under."""
    entries = api.list_repo_tree(repo_id, recursive=True, revision=revision)
    return {
        entry.path: entry.lfs.sha256 if entry.lfs else entry.blob_id for entry in entries if isinstance(entry, RepoFile)
    }


def _hashes(content: bytes) -> tuple[str, str]:
    """Under which the Hub may list a file: as a large one or as a small one."""
    return hashlib.sha256(content).hexdigest(), git_hash(content)


def _commit(
    api: HfApi, repo_id: str, files: dict[str, bytes], message: str, parent: str, **options: object
) -> CommitInfo:
    additions = [CommitOperationAdd(name, io.BytesIO(content)) for name, content in files.items()]
    return api.create_commit(repo_id, additions, commit_message=message, parent_commit=parent, **options)


@contextmanager
def _branch(api: HfApi, repo_id: str, start: str) -> Iterator[str]:
    """A branch of a name of its own, removed in the end."""
    name = f"publish-{secrets.token_hex(4)}"
    api.create_branch(repo_id, branch=name, revision=start)
    try:
        yield name
    finally:
        with suppress(Exception):  # what broke before has to be said, not this
            api.delete_branch(repo_id, branch=name)


def _pull_back(
    repo_id: str, commit: str, content: dict[str, bytes], release: Release, endpoint: str, token: str
) -> None:
    """Load a commit as a stranger's machine would, with an empty cache, and compare it with the release.

    Raises:
        InputError: A file or a logit differs.
    """
    with tempfile.TemporaryDirectory() as cache:
        where = {"revision": commit, "cache_dir": cache, "endpoint": endpoint, "token": token}
        found = {name: download(repo_id, name, **where) for name in content}
        for name, data in content.items():
            if found[name].read_bytes() != data:
                raise InputError(f"{repo_id} gives back another {name} than was sent; the version before stays current")
        (_, sent), (_, pulled) = next(loaded(release.path, release)), next(loaded(found[CONFIG].parent, release))
        if not torch.equal(logits(sent, release), logits(pulled, release)):
            raise InputError(f"{repo_id} gives back a model with other logits; the version before stays current")


def _tag(api: HfApi, repo_id: str, commit: str) -> str:
    """The version's tag, the next free of v1, v2, ... where this commit has none."""
    tags = {tag.name: tag.target_commit for tag in api.list_repo_refs(repo_id).tags if _VERSION.fullmatch(tag.name)}
    for name, target in tags.items():
        if target == commit:
            return name
    name = f"v{1 + max((int(_VERSION.fullmatch(name)[1]) for name in tags), default=0)}"
    api.create_tag(repo_id, tag=name, revision=commit)
    return name


def _collect(api: HfApi, repo_id: str, collection: str) -> None:
    """Add the repository to a collection, given by slug or by title."""
    if "/" not in collection:
        namespace = repo_id.split("/")[0]
        collection = api.create_collection(collection, namespace=namespace, exists_ok=True).slug
    api.add_collection_item(collection, repo_id, "model", exists_ok=True)
