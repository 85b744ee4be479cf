"""Measuring in threads that stand for processes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)


def as_processes(processes: int, work: Callable) -> list:
    """What `work` gives in each of several processes, as threads that add up like processes do."""
    barrier, shared, lock = threading.Barrier(processes), [], threading.Lock()

    def add_up(counts: torch.Tensor) -> torch.Tensor:
        with lock:
            shared.append(counts.clone())
        barrier.wait()
        total = sum(shared[-processes:])
        if barrier.wait() == 0:
            shared.clear()
        barrier.wait()
        return total

    with ThreadPoolExecutor(processes) as threads:
        return list(threads.map(lambda rank: work(rank=rank, processes=processes, add_up=add_up), range(processes)))
