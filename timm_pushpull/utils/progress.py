"""Progress bars on a terminal, and a line now and then in a file."""

from __future__ import annotations

import math
import sys
from typing import Any

from tqdm import tqdm

_LINE_SECONDS = 300
_LINE_FORMAT = "{desc}: {n_fmt} of {total_fmt} {unit}, {elapsed} elapsed, {remaining} left{postfix}"


class _Lines(tqdm):
    """Progress as whole lines, one every five minutes, and none at the end."""

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        print(self, file=self.fp, flush=True)

    @classmethod
    def write(cls, s: str, file: Any = None, end: str = "\n", nolock: bool = False) -> None:
        print(s, file=file, end=end, flush=True)

    def close(self) -> None:
        self.delay = math.inf  # no last line, and nothing to clear
        super().close()


def progress_bar(total: int, name: str, unit: str, *, show: bool = True, **options: Any) -> tqdm:
    """A tqdm bar where stderr is a terminal; elsewhere a line every five minutes."""
    shared = {"total": total, "desc": name, "unit": unit, "disable": not show, "smoothing": 0.05, **options}
    if sys.stderr.isatty():
        return tqdm(mininterval=0.1, **shared)
    seconds = _LINE_SECONDS
    return _Lines(mininterval=seconds, maxinterval=seconds, delay=seconds, bar_format=_LINE_FORMAT, **shared)
