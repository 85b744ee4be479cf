"""What robustness costs in clean accuracy: the paper's Section 5.2."""

from __future__ import annotations

from timm_pushpull.utils.errors import InputError


def clean_error_reduction(clean: float, baseline_clean: float) -> float:
    """R_E (Eq. 11): the part of the baseline's clean error that a model saves; negative where it errs more.

    Raises:
        InputError: The baseline has no clean error.
    """
    return _reduction(clean, baseline_clean, "clean error")


def mce_reduction(mce: float, baseline_mce: float) -> float:
    """R_mCE (Eq. 12): the part of the baseline's absolute mCE that a model saves; negative where it errs more.

    Raises:
        InputError: The baseline has no corruption error.
    """
    return _reduction(mce, baseline_mce, "mCE")


def net_error_reduction(
    clean: float, mce: float, baseline_clean: float, baseline_mce: float, beta: float | None = None
) -> float:
    """R_net (Eq. 13): half of R_E plus `beta` times R_mCE; above 0 the model makes the better trade than the baseline.

    Args:
        beta: Weight of the mCE. 1 weighs both alike; by default `baseline_mce / baseline_clean`, how much harder the
            baseline finds corrupted images.

    Raises:
        InputError: The baseline has no clean or no corruption error.
    """
    saved_clean, saved_mce = clean_error_reduction(clean, baseline_clean), mce_reduction(mce, baseline_mce)
    beta = baseline_mce / baseline_clean if beta is None else beta
    return (saved_clean + beta * saved_mce) / 2


def mce_without_gain(clean: float, baseline_clean: float, baseline_mce: float, beta: float) -> float:
    """The mCE at which a model with this clean error has an R_net (Eq. 13) of 0; a line through the baseline."""
    return baseline_mce - baseline_mce / (beta * baseline_clean) * (clean - baseline_clean)


def _reduction(error: float, baseline: float, name: str) -> float:
    if baseline <= 0:
        raise InputError(f"the baseline's {name} is {baseline}; a reduction is relative to it, so it must be above 0")
    return (baseline - error) / baseline
