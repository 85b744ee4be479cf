"""SIGTERM and SIGINT while a network trains: the first asks for a checkpoint and the end, a second ends at once."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from timm_pushpull.utils.errors import Interrupted

#: A launcher passes on what the terminal or SLURM has sent to all processes: seconds in which signals count as one.
_SAME = 2.0
_ANSWER = (
    b"train.py: stopping after the current steps or test, with a checkpoint; a second signal stops it at once, "
    b"without one\n"
)


class StopRequest:
    """Whether a signal has asked this process to stop.

    Args:
        says_so: Say on stderr that the signal has arrived.

    Attributes:
        signal: Its number; None before.
    """

    def __init__(self, says_so: bool = False) -> None:
        self.signal: int | None = None
        self._says_so = says_so
        self._time = 0.0

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Note the first signal; of a later one, the process ends."""
        if self.signal is None:
            self.signal, self._time = number, time.monotonic()
            if self._says_so:
                line = b"\n" * os.isatty(2) + _ANSWER  # below a progress bar
                with suppress(OSError):
                    os.write(2, line)  # print would fail where the signal has come in the middle of another one
        elif time.monotonic() - self._time > _SAME:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    def error(self, message: str | None = None) -> Interrupted:
        """The error to end with, here and in the other processes, which may not have got the signal."""
        return Interrupted(self.signal or signal.SIGTERM, message)


@contextmanager
def stop_on_signal(says_so: bool = False) -> Iterator[StopRequest]:
    """Turn SIGTERM and SIGINT into a request, which the training loop asks for.

    Args:
        says_so: Say on stderr that the first signal has arrived.

    Raises:
        Interrupted: A request came too late for the loop.
    """
    request = StopRequest(says_so)
    before = {number: signal.signal(number, request.handle) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if request.signal is not None:
        raise request.error()


def ignore_signals(_: int) -> None:
    """Leave the end of a data loader's worker to its main process, which still needs images for its last steps."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
