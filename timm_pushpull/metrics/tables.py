"""Means over tables of errors: absolute and relative mCE, groups of corruptions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean, stdev

from timm_pushpull.corruptions import CORRUPTIONS
from timm_pushpull.utils.errors import InputError

Errors = Mapping[str, Sequence[float | None]]

# As in the paper's Table 1 and in Hendrycks and Dietterich 2019; ImageNet-C's archives have brightness under weather.
GROUPS = {
    "Noise": ("gaussian_noise", "shot_noise", "impulse_noise"),
    "Blur": ("defocus_blur", "glass_blur", "motion_blur", "zoom_blur"),
    "Weather": ("snow", "frost", "fog"),
    "Digital": ("brightness", "contrast", "elastic_transform", "pixelate", "jpeg_compression"),
}

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
    check(errors)
    return fmean(mean_error(row) for row in errors.values())


def relative_corruption_errors(errors: Errors, baseline: Errors) -> dict[str, float]:
    """Per corruption, the sum of errors over the baseline's sum (the terms of Eq. 10), in the order of `errors`.

    Raises:
        InputError: The two tables were not measured on the same cells; the baseline has no error on a corruption.
    """
    check(errors)
    check(baseline)
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


def check(errors: Errors) -> None:
    """Raise InputError unless the table has five errors per corruption, fractions or None, not all of them None."""
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
