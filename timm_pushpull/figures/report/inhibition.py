"""The inhibition strengths in a checkpoint, read without building the network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open

from timm_pushpull.figures.plots.alpha import round_edges
from timm_pushpull.figures.report.groups import Entry
from timm_pushpull.utils.files import sha256
from timm_pushpull.utils.hub_client import WEIGHTS

_WIDTHS = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
_MOST_BINS = 32


@dataclass(frozen=True)
class Inhibition:
    """The `alpha` of a network's push-pull layers.

    Attributes:
        alpha: One strength per channel of all layers, float64 of shape (channels,); empty where there are none.
        missing: Why they could not be read, in words; None where they could.
    """

    alpha: np.ndarray
    missing: str | None = None


def read_inhibition(entry: Entry) -> Inhibition:
    """The inhibition strengths in the weights beside a model's results."""
    nothing = np.empty(0)
    if entry.path is None:
        return Inhibition(nothing, "only results are known")
    folder = entry.path if entry.path.is_dir() else entry.path.parent
    weights = folder / WEIGHTS
    if not weights.is_file():
        return Inhibition(nothing, f"no {WEIGHTS} lies beside the results")
    if sha256(weights) != entry.results.weights_sha256:
        return Inhibition(nothing, f"the {WEIGHTS} beside the results is not the one that was measured")
    try:
        alpha = _alphas(weights)
    except SafetensorError:
        return Inhibition(nothing, f"the {WEIGHTS} beside the results cannot be read")
    if not np.isfinite(alpha).all():
        return Inhibition(nothing, "some of its alpha are no numbers")
    return Inhibition(alpha)


def bin_edges(inhibitions: Sequence[np.ndarray]) -> list[float]:
    """Edges of bins of a round width, the same for all models, that hold every value, and 0 and 1 for a scale."""
    low, high = (float(end(0.0, 1.0, *(end(alpha) for alpha in inhibitions))) for end in (min, max))
    return [round(float(edge), 6) for edge in round_edges(low, high, _WIDTHS, _MOST_BINS)]


def _alphas(weights: Path) -> np.ndarray:
    with safe_open(weights, "pt") as file:  # NumPy has no bfloat16
        names = [name for name in file.keys() if name.endswith(".alpha")]  # noqa: SIM118
        return np.concatenate([np.empty(0), *(file.get_tensor(name).double().flatten().numpy() for name in names)])
