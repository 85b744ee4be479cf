"""Versions, command line and commit, which results record."""

from __future__ import annotations

import os
import platform
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from timm_pushpull.utils.errors import redacted
from timm_pushpull.utils.text import escaped

#: What may stand before a path in an argument, such as `--weights=` or `local-dir:`, and the path.
_PATH = re.compile(r"((?:.*=)?(?:[a-z-]+:)?)(.*)", re.DOTALL)


def versions() -> dict[str, str]:
    """Versions of Python and of the libraries that affect results, as far as they are installed."""
    found = {"python": platform.python_version()}
    for name in ("timm-pushpull", "torch", "timm", "numpy", "numba", "pillow", "datasets"):
        with suppress(PackageNotFoundError):  # numba comes to a new Python months later
            found[name] = version(name)
    return found


def command(arguments: Sequence[str] | None = None) -> str:
    """The command line of this process, quoted for a shell; without secrets and without the user's home folder.

    Args:
        arguments: Those to record; all by default.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    name = Path(sys.argv[0]).name
    name = "timm-pushpull" if name == "__main__.py" else name  # python -m timm_pushpull
    return escaped(redacted(shlex.join([name, *map(without_home, arguments)])))


def command_to_run(arguments: Sequence[str] | None = None) -> str:
    """A command line for the user to enter in the same folder; behind the launcher, where one started this process.

    Args:
        arguments: As in `command`.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    launched = {"LOCAL_RANK", "ACCELERATE_MIXED_PRECISION"} & set(os.environ)
    return redacted(shlex.join([*([] if launched else ["python"]), sys.argv[0], *arguments]))


def without_home(argument: str) -> str:
    """An argument whose path, if it is one below the home or the working folder, is relative; others as given.

    Where the path has nothing in common with the working folder, or is a part of the argument, `~` stands for the home
    folder.
    """
    flag, value = _PATH.fullmatch(argument).groups()  # type: ignore[union-attr]  # matches every text
    here, home = os.getcwd(), os.path.expanduser("~")
    if os.path.isabs(value) and (_is_below(value, here) or (_is_below(value, home) and _is_below(here, home))):
        return f"{flag}{os.path.relpath(value, here)}"
    if home in ("", os.sep):
        return argument
    return re.sub(rf"(^|^-\w|://|[\s=:,;'\"(\[{{]){re.escape(home)}(?![\w.-])", r"\1~", argument)


def shareable(value: Any) -> Any:
    """A setting as it may be stored or sent: its texts without secrets and without the user's home folder."""
    if isinstance(value, Mapping):
        return {key: shareable(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(map(shareable, value))
    return redacted(without_home(value)) if isinstance(value, str) else value


def _is_below(path: str, folder: str) -> bool:
    return folder != os.sep and Path(os.path.abspath(path)).is_relative_to(folder)


def commit() -> str | None:
    """Commit of the checkout that this package runs from, with `+` if files have changed; None without a checkout."""
    package = Path(__file__).resolve().parent

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(package), *arguments], capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        # An installed package may lie in the checkout of another project, which does not track this file.
        git("ls-files", "--error-unmatch", Path(__file__).name)
        return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return None
