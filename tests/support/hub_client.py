"""How the tests of the tests' Hub ask it, by the real client."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path

import pytest
from huggingface_hub import HfApi, hf_hub_download
from huggingface_hub.errors import HfHubHTTPError

from support.hub_server import TOKEN, Hub

CARD = b"---\nlibrary_name: timm\ntags: [image-classification]\nlicense: mit\n---\n# x\n"
WEIGHTS = bytes(range(256)) * 16
FILES = {"README.md": CARD, "config.json": b"{}", "model.safetensors": WEIGHTS, "data/a.txt": b"a"}
X = "me/x"


def client(hub: Hub, token: str | bool = TOKEN) -> HfApi:
    return HfApi(endpoint=hub.endpoint, token=token)


def download(hub: Hub, cache: Path, name: str = "model.safetensors", **more) -> bytes:
    more = {"repo_id": X, "token": TOKEN, "endpoint": hub.endpoint, "cache_dir": cache, **more}
    return Path(hf_hub_download(filename=name, **more)).read_bytes()


@contextmanager
def refused(status: int, error: type[HfHubHTTPError] = HfHubHTTPError):
    with pytest.raises(error) as caught:
        yield caught
    assert caught.value.response.status_code == status


def write_files(folder: Path) -> Path:
    for name, content in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder
