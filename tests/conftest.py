"""Fixtures of all tests."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import support.cores  # noqa: F401  # first: before torch is loaded
from support.hostile import tree
from support.hub_server import TOKEN, Hub
from support.image_folder import make_image_folder
from support.loopback import HOME, HUB
from support.processes import run_command
from timm_pushpull import cli

#: Questions that clients ask and take no for an answer to.
OPTIONAL = ("/api/agent-harnesses",)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Seed torch by the test before its fixtures, so that its random networks are the same in each run."""
    import torch  # not above: `support.cores` comes before it

    torch.manual_seed(zlib.crc32(item.nodeid.encode()))


def pytest_unconfigure() -> None:
    shutil.rmtree(HOME, ignore_errors=True)


@pytest.fixture
def hub(monkeypatch, tmp_path) -> Iterator[Hub]:
    """The Hub on loopback, empty, with a token of its account `me` in HF_TOKEN and nothing in the cache."""
    from huggingface_hub import constants

    HUB.reset()
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    yield HUB
    HUB.heal()
    assert [request for request in HUB.unknown if not any(path in str(request) for path in OPTIONAL)] == []


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A file with noise of 60 x 50 px."""
    pixels = np.random.default_rng(0).integers(0, 256, (50, 60, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


@pytest.fixture
def victim(tmp_path) -> Path:
    """A folder of somebody else beside what the tests write."""
    folder = tmp_path / "victim"
    for name in ("1/dark/0.png", "chunk-00000.json", "step-00000001.pt", "file", "id"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("precious")
    (folder / "file").chmod(0o640)
    return folder


@pytest.fixture
def unharmed(victim):
    """The victim is what it was, after the test."""
    before = tree(victim)
    yield
    assert tree(victim) == before


@pytest.fixture
def image_folder(tmp_path: Path) -> Path:
    """An image folder with two classes that differ in brightness, 24 training and 10 test images of several sizes."""
    return make_image_folder(tmp_path / "photos")


@pytest.fixture
def datasets_cache(tmp_path, monkeypatch) -> None:
    """`datasets` keeps what it prepares in a folder of the test's own."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.fixture
def run_inside(monkeypatch, capfd) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a script's `main` as its command does, but in this process, which spares the imports."""

    def run(main: Callable[[], None], name: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as end:
            cli.run(main, name)
        return subprocess.CompletedProcess(arguments, end.value.code, *capfd.readouterr())

    return run


@pytest.fixture
def start_quickly(monkeypatch) -> Callable[[ModuleType], None]:
    """Let a script's module start its commands in processes that spare the imports."""

    def wait(command: list[str]) -> int:
        process = run_command(*command[1:])
        print(process.stdout)
        print(process.stderr, file=sys.stderr)
        return process.returncode

    def popen(command: list[str]) -> nullcontext[SimpleNamespace]:
        return nullcontext(SimpleNamespace(wait=lambda: wait(command)))

    return lambda module: monkeypatch.setattr(module, "subprocess", SimpleNamespace(Popen=popen))
