"""Read the inhibition strengths from a checkpoint without building the network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open

from timm_pushpull.figures.alpha import bin_edges
from timm_pushpull.figures.report.groups import Entry
from timm_pushpull.utils.files import sha256
from timm_pushpull.utils.hub_client import WEIGHTS

_BIN_WIDTHS = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
_MAX_BINS = 32


@dataclass(frozen=True)
class CheckpointAlpha:
    """The `alpha` of the push-pull layers in a checkpoint.

    Attributes:
        alpha: One value per channel of all layers, float64 of shape (channels,); empty if there are none.
        problem: Why they could not be read; None if they could.
    """

    alpha: np.ndarray
    problem: str | None = None


def read_alpha(entry: Entry) -> CheckpointAlpha:
    """Read the inhibition strengths from the checkpoint next to the results of a model."""
    nothing = np.empty(0)
    if _has_no_unit(entry.name):
        return CheckpointAlpha(nothing)
    if entry.path is None:
        return CheckpointAlpha(nothing, "only results are known")
    folder = entry.path if entry.path.is_dir() else entry.path.parent
    checkpoint = folder / WEIGHTS
    if not checkpoint.is_file():
        return CheckpointAlpha(nothing, f"no {WEIGHTS} next to the results")
    if sha256(checkpoint) != entry.results.weights_sha256:
        return CheckpointAlpha(nothing, f"the {WEIGHTS} next to the results is not the one that was measured")
    try:
        alpha = _load_alpha(checkpoint)
    except SafetensorError:
        return CheckpointAlpha(nothing, f"the {WEIGHTS} next to the results cannot be read")
    if not np.isfinite(alpha).all():
        return CheckpointAlpha(nothing, "some of its alpha are not finite")
    return CheckpointAlpha(alpha)


def shared_bin_edges(alphas: Sequence[np.ndarray]) -> list[float]:
    """Edges of bins that cover the alpha of all models, and 0 and 1 for scale."""
    low, high = (float(end(0.0, 1.0, *(end(alpha) for alpha in alphas))) for end in (min, max))
    return [round(float(edge), 6) for edge in bin_edges(low, high, _BIN_WIDTHS, _MAX_BINS)]


def _has_no_unit(model: str) -> bool:
    """Whether a model is a registered one without push-pull units, so that its checkpoint need not be at hand."""
    from timm.models import is_model

    architecture = model.split(" [")[0]  # `load_groups` tells models of one name apart
    return "pushpull" not in architecture and is_model(architecture)


def _load_alpha(checkpoint: Path) -> np.ndarray:
    with safe_open(checkpoint, "pt") as file:  # through torch, because NumPy has no bfloat16
        known = set(file.keys())
        # Of units, which are convolutions: other layers have an alpha, too.
        weights = {name: f"{name.removesuffix('alpha')}weight" for name in sorted(known) if name.endswith(".alpha")}
        names = [name for name, w in weights.items() if w in known and len(file.get_slice(w).get_shape()) == 4]
        return np.concatenate([np.empty(0), *(file.get_tensor(name).double().flatten().numpy() for name in names)])
