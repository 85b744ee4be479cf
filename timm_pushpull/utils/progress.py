"""Progress bars that suit both a terminal and a log file."""

from __future__ import annotations

import sys
from typing import Any

from tqdm import tqdm


def progress_bar(total: int, name: str, unit: str, *, show: bool = True, **options: Any) -> tqdm:
    """A bar with speed and time left; where stderr is no terminal, a line every half minute instead of ten a second."""
    interval = 0.1 if sys.stderr.isatty() else 30
    return tqdm(
        total=total,
        desc=name,
        unit=unit,
        disable=not show,
        mininterval=interval,
        maxinterval=interval,
        smoothing=0.05,
        **options,
    )
