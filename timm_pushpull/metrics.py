"""The paper's robustness metrics: pure functions on tables of errors.

A table of errors maps a corruption's name to its errors at severities 1 to 5, fractions in [0, 1]; None stands for a
severity that was not measured, and means are then taken over the others.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean, stdev

from timm_pushpull.corruptions import CORRUPTIONS
from timm_pushpull.errors import InputError

Errors = Mapping[str, Sequence[float | None]]

# AlexNet's mean error per corruption on ImageNet-C, the denominator of the original mCE; the values that AugMix's
# published code takes from hendrycks/robustness.
ALEXNET_ERRORS = dict(
    zip(
        CORRUPTIONS,
        (
            0.886428,
            0.894468,
            0.922640,
            0.819880,
            0.826268,
            0.785948,
            0.798360,
            0.866816,
            0.826572,
            0.819324,
            0.564592,
            0.853204,
            0.646056,
            0.717840,
            0.606500,
        ),
        strict=True,
    )
)

# Section 5.3, after Yin et al. 2019.
_LOW = ("frost", "fog", "brightness", "contrast")
_MID = ("glass_blur", "motion_blur", "zoom_blur", "snow", "elastic_transform")
FREQUENCIES = {"low": _LOW, "mid": _MID, "high": tuple(c for c in CORRUPTIONS if c not in _LOW + _MID)}


def mean_error(errors: Sequence[float | None]) -> float:
    """Mean over the severities that were measured."""
    return fmean(error for error in errors if error is not None)


def mean_corruption_error(errors: Errors) -> float:
    """Absolute mCE (Eq. 9): the mean over corruptions of the mean error over severities.

    Raises:
        InputError: An empty table, or an error outside [0, 1].
    """
    _check(errors)
    return fmean(mean_error(row) for row in errors.values())


def relative_corruption_errors(errors: Errors, baseline: Errors) -> dict[str, float]:
    """Per corruption, the sum of errors over the baseline's sum (the terms of Eq. 10), in the order of `errors`.

    Raises:
        InputError: The two tables were not measured on the same cells; the baseline has no error on a corruption.
    """
    _check(errors)
    _check(baseline)
    relative = {}
    for corruption, row in errors.items():
        other = baseline.get(corruption, ())
        if [e is None for e in row] != [e is None for e in other]:
            raise InputError(
                f"the baseline was not measured on the same severities of {corruption}; measure both alike"
            )
        if mean_error(other) == 0:
            raise InputError(f"the baseline's error on {corruption} is 0, so nothing can be relative to it")
        relative[corruption] = mean_error(row) / mean_error(other)
    return relative


def mean_relative_corruption_error(errors: Errors, baseline: Errors) -> float:
    """mrCE (Eq. 10): the mean over corruptions of the errors relative to the baseline's; 1 is the baseline."""
    return fmean(relative_corruption_errors(errors, baseline).values())


def alexnet_normalised_mce(errors: Errors) -> float:
    """The mCE of Hendrycks and Dietterich 2019, relative to AlexNet; for ImageNet-C only. 1 is AlexNet.

    Raises:
        InputError: A corruption that AlexNet's errors are not known for.
    """
    _check(errors)
    for corruption in errors:
        if corruption not in ALEXNET_ERRORS:
            raise InputError(f"AlexNet's error on {corruption!r} is not known; normalise over the 15 test corruptions")
    return fmean(mean_error(row) / ALEXNET_ERRORS[corruption] for corruption, row in errors.items())


def net_error_reduction(
    clean: float, mce: float, baseline_clean: float, baseline_mce: float, beta: float | None = None
) -> float:
    """R_net (Eq. 11 to 13): the mean of the relative reductions of clean error and, weighted by `beta`, mCE.

    Args:
        beta: Weight of the mCE; by default `baseline_mce / baseline_clean`.

    Raises:
        InputError: The baseline has no clean or no corruption error.
    """
    if baseline_clean <= 0 or baseline_mce <= 0:
        raise InputError(
            f"the baseline's errors are {baseline_clean} (clean) and {baseline_mce} (mCE); R_net needs both above 0"
        )
    beta = baseline_mce / baseline_clean if beta is None else beta
    return ((baseline_clean - clean) / baseline_clean + beta * (baseline_mce - mce) / baseline_mce) / 2


def by_frequency(values: Mapping[str, float]) -> dict[str, tuple[float, float]]:
    """Mean and sample standard deviation of per-corruption values in the frequency groups of Table 4.

    Groups without a value are left out; one value has a deviation of 0.
    """
    groups = {}
    for group, members in FREQUENCIES.items():
        chosen = [values[corruption] for corruption in members if corruption in values]
        if chosen:
            groups[group] = (fmean(chosen), stdev(chosen) if len(chosen) > 1 else 0.0)
    return groups


def _check(errors: Errors) -> None:
    if not errors:
        raise InputError("the table of errors is empty; measure at least one corruption")
    for corruption, row in errors.items():
        if len(row) != 5:
            raise InputError(f"{corruption} has {len(row)} errors; give five, one per severity")
        if all(error is None for error in row):
            raise InputError(f"{corruption} was not measured at any severity")
        for error in row:
            if error is not None and not (math.isfinite(error) and 0 <= error <= 1):
                raise InputError(f"{corruption} has an error of {error}; errors are fractions from 0 to 1")
