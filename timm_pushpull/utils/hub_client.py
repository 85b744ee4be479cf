"""The Hugging Face Hub: verified downloads, and errors of one line."""

from __future__ import annotations

import hashlib
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub import constants, get_token, hf_hub_download, try_to_load_from_cache
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import logging as hub_logging

from timm_pushpull.utils.errors import InputError, one_line, redacted
from timm_pushpull.utils.files import sha256

WEIGHTS = "model.safetensors"

_STATUS = {
    401: "the Hub does not accept the token; run `hf auth login` again or mend HF_TOKEN",
    403: "the token may not write there; use a token with write access and a namespace of yours",
    404: "the Hub does not know this namespace or repository",
    409: "it exists there already",
    412: "somebody else has changed the repository meanwhile; look at it and run the command again",
    429: "the Hub asks for fewer requests; wait some minutes and run the command again",
}


@contextmanager
def quiet_hub() -> Iterator[None]:
    """Silence the Hub client's log of every retry and its warnings; if all retries fail, the error says so once."""
    logger = hub_logging.get_logger("huggingface_hub")
    level = logger.level
    logger.setLevel("ERROR")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


@contextmanager
def clear_errors(what: str, endpoint: str | None = None) -> Iterator[None]:
    """Convert errors of huggingface_hub, the network and the file system to an InputError `cannot WHAT: reason`."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # the HTTP library, and so its classes, depends on huggingface_hub's version
        raise InputError(f"cannot {what}: {redacted(_reason(error, endpoint), get_token())}") from error


def _reason(error: Exception, endpoint: str | None) -> str:
    endpoint = endpoint or constants.ENDPOINT
    cause = error.__cause__
    # An upload's thread failed; or it was `whoami`, whose own class of errors depends on the version.
    if isinstance(cause, HfHubHTTPError) or (isinstance(error, RuntimeError) and isinstance(cause, Exception)):
        return _reason(cause, endpoint)
    if isinstance(error, LocalEntryNotFoundError):  # a subclass of EntryNotFoundError
        return _not_cached_reason(cause, endpoint)
    if isinstance(error, GatedRepoError):
        return "the repository is gated; ask for access on its page, then set HF_TOKEN or run `hf auth login`"
    if isinstance(error, RevisionNotFoundError):
        return "the repository has no such revision"
    if isinstance(error, RepositoryNotFoundError) and "Invalid credentials" not in (error.server_message or ""):
        return (
            "there is no such repository, or it is private; check the name, or set HF_TOKEN or run `hf auth login` "
            "with a token that may see it"
        )
    if isinstance(error, EntryNotFoundError):
        return "the repository does not hold that file"
    if isinstance(error, HfHubHTTPError):
        return _http_reason(error)
    if isinstance(error, ValueError):  # an invalid repository id
        return one_line(error)
    if isinstance(error, OSError) and "onsistency check" in str(error):
        return "the download broke off; run it again"
    if isinstance(error, OSError) and error.errno:
        return f"{error.strerror} ({error.filename})" if error.filename else str(error.strerror)
    return f"{endpoint} is out of reach or broke off ({one_line(error)}); try again"


def _not_cached_reason(cause: BaseException | None, endpoint: str) -> str:
    if constants.HF_HUB_OFFLINE:
        return "it is not in the cache, and HF_HUB_OFFLINE forbids to look on the Hub"
    return f"it is not in the cache, and {endpoint} is out of reach" + (f" ({one_line(cause)})" if cause else "")


def _http_reason(error: HfHubHTTPError) -> str:
    status = error.response.status_code if error.response is not None else None
    if status in _STATUS:
        return _STATUS[status]
    message = f" ({one_line(Exception(error.server_message))})" if error.server_message else ""
    if status and status >= 500:
        return f"the Hub failed with status {status}{message}; try again later"
    return f"the Hub answered with status {status}{message}"


def download(
    repo_id: str,
    filename: str = WEIGHTS,
    *,
    revision: str | None = None,
    cache_dir: Path | str | None = None,
    endpoint: str | None = None,
    token: str | None = None,
) -> Path:
    """A file of a model repository, from the cache or downloaded.

    The hash of a new download is compared with the one that the Hub lists. huggingface_hub compares sizes only and
    would keep a damaged file in the cache.

    Args:
        repo_id: `NAMESPACE/NAME`.
        filename: Path of the file in the repository.
        revision: Branch, tag or commit; None for the default branch.
        cache_dir, endpoint, token: As in `hf_hub_download`.

    Raises:
        InputError: There is no such repository, revision or file, the Hub is unreachable, or the download is damaged.
    """
    with clear_errors(f"load {filename} of {repo_id}{f'@{revision}' if revision else ''}", endpoint):
        known = try_to_load_from_cache(repo_id, filename, cache_dir, revision)
        path = Path(
            hf_hub_download(repo_id, filename, revision=revision, cache_dir=cache_dir, endpoint=endpoint, token=token)
        )
    if str(path) != known and not _has_listed_hash(path.resolve()):
        blob = path.resolve()
        if blob.parent in [folder / "blobs" for folder in path.parent.resolve().parents]:  # never outside the cache
            blob.unlink(missing_ok=True)
        path.unlink(missing_ok=True)
        raise InputError(f"{filename} of {repo_id} was damaged on the way and is not kept; run the command again")
    return path


def _has_listed_hash(blob: Path) -> bool:
    """Whether a file of the cache has the hash that it is named after."""
    if re.fullmatch("[0-9a-f]{64}", blob.name):
        return sha256(blob) == blob.name
    if re.fullmatch("[0-9a-f]{40}", blob.name):
        return git_hash(blob.read_bytes()) == blob.name
    return True  # a cache without symbolic links, as on Windows


def git_hash(content: bytes) -> str:
    """The hash of a small file in Git, and so in the Hub's listing."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def split_revision(repo_id: str) -> tuple[str, str | None]:
    """Split timm's `NAMESPACE/NAME@REVISION` into repository id and revision; None without a revision."""
    name, _, revision = repo_id.partition("@")
    return name, revision or None
