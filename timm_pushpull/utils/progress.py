"""Progress bars for terminals and for log files."""

from __future__ import annotations

import sys
from typing import Any

from tqdm import tqdm


def progress_bar(total: int, name: str, unit: str, *, show: bool = True, **options: Any) -> tqdm:
    """A tqdm bar. If stderr is not a terminal, it is printed every 30 s instead of every 0.1 s."""
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
