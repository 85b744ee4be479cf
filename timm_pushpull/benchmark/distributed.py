"""Several processes that share a measurement."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


def _identity(counts: Tensor) -> Tensor:
    return counts


@dataclass(frozen=True)
class Distributed:
    """The place of this process among those that share a measurement; by default it works alone.

    Attributes:
        rank: Number of this process, from 0; process 0 writes the progress log.
        world_size: Number of processes.
        all_reduce: Sums an int64 tensor over all processes, as `Accelerator.reduce` does, and returns the sum.

    Examples:
        >>> Distributed(rank=1, world_size=3).shard(0, 8).tolist()
        [1, 4, 7]
    """

    rank: int = 0
    world_size: int = 1
    all_reduce: Callable[[Tensor], Tensor] = _identity

    @property
    def is_main(self) -> bool:
        """Whether this is process 0."""
        return self.rank == 0

    def shard(self, start: int, stop: int) -> np.ndarray:
        """The positions in [start, stop) that this process takes: every `world_size`-th, int64."""
        return np.arange(start + self.rank, stop, self.world_size)

    def sum(self, values: np.ndarray, device: torch.device | str) -> np.ndarray:
        """The sum of an int64 array over all processes."""
        if values.size == 0:
            return values
        return self.all_reduce(torch.from_numpy(values).to(device)).cpu().numpy()
