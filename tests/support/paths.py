"""Folders of the checkout, and of the developers' workplace beside it."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
#: Outputs of the original implementations, tests/golden/README.md says how they were made.
GOLDEN_FOLDER = ROOT / "tests" / "golden"
_SHARED = ROOT.parent / "shared"


#: Weights are in the repository only: they are too large for a source distribution.
needs_releases = pytest.mark.skipif(
    not (ROOT / "hub" / "releases").is_dir(), reason="needs hub/releases of a clone of the repository"
)


def is_our_workplace(folder: Path) -> bool:
    """Whether a folder is the one with the real data: its design page names the unit. Any other `../shared` is not."""
    page = folder / "design.md"
    return page.is_file() and "PushPullConv2d" in page.read_text(encoding="utf-8", errors="replace")


def shared_path(name: str, folder: Path = _SHARED) -> Path:
    """A file or folder of the workplace, such as `data/cifar10`; skips the test where it is missing."""
    path = folder / name
    if not is_our_workplace(folder) or not path.exists():
        pytest.skip(f"needs the project's ../shared/{name}")
    return path
