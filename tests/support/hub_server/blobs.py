"""Contents: which the Hub keeps as Git LFS objects, and the hashes by which clients know them."""

from __future__ import annotations

import functools
import hashlib

LFS = (".safetensors", ".bin", ".png", ".parquet", ".pt", ".pth", ".npz", ".onnx", ".arrow", ".zip", ".gz", ".jpg")
LARGEST_REGULAR = 10 << 20

GITATTRIBUTES = "".join(f"*{suffix} filter=lfs diff=lfs merge=lfs -text\n" for suffix in LFS).encode()


def is_lfs(path: str, size: int) -> bool:
    """The client sends empty files inline whatever it is told."""
    return size > 0 and (path.endswith(LFS) or size > LARGEST_REGULAR)


@functools.lru_cache(maxsize=16)  # weights are looked at many times
def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def git_oid(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def pointer(data: bytes) -> bytes:
    """What git holds in place of an LFS object."""
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256(data)}\nsize {len(data)}\n".encode()


def blob_oid(path: str, data: bytes) -> str:
    return git_oid(pointer(data) if is_lfs(path, len(data)) else data)


def remote_oid(path: str, data: bytes) -> str:
    """The hash by which a client knows that it has nothing to upload."""
    return sha256(data) if is_lfs(path, len(data)) else git_oid(data)
