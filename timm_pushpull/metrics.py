"""The metrics of robustness, calibration and chance: pure functions of errors.

A table of errors maps a corruption's name to its errors at severities 1 to 5, fractions in [0, 1]. None stands for a
severity that was not measured; means are then taken over the others. Equations and sections are those of the paper
(Bennabhaktula et al., PushPull-Net, ICPR 2024).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean, stdev
from typing import TypeVar

import numpy as np

from timm_pushpull.corruptions import CORRUPTIONS, EXTRA_CORRUPTIONS
from timm_pushpull.utils.errors import InputError

__all__ = [
    "ALEXNET_CLEAN_ERROR",
    "ALEXNET_ERRORS",
    "FREQUENCIES",
    "GROUPS",
    "Errors",
    "alexnet_normalised_mce",
    "by_frequency",
    "clean_error_reduction",
    "confidence_interval",
    "expected_calibration_error",
    "mce_reduction",
    "mce_without_gain",
    "mean_corruption_error",
    "mean_error",
    "mean_relative_corruption_error",
    "net_error_reduction",
    "relative_corruption_errors",
    "relative_mce",
    "without_validation",
]

T = TypeVar("T")

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

# AlexNet's mean error per corruption on ImageNet-C, the denominators of the original mCE, as AugMix's published code
# takes them from hendrycks/robustness.
ALEXNET_ERRORS = {
    "gaussian_noise": 0.886428,
    "shot_noise": 0.894468,
    "impulse_noise": 0.922640,
    "defocus_blur": 0.819880,
    "glass_blur": 0.826268,
    "motion_blur": 0.785948,
    "zoom_blur": 0.798360,
    "snow": 0.866816,
    "frost": 0.826572,
    "fog": 0.819324,
    "brightness": 0.564592,
    "contrast": 0.853204,
    "elastic_transform": 0.646056,
    "pixelate": 0.717840,
    "jpeg_compression": 0.606500,
}

# Those errors are of torchvision's pretrained AlexNet (hendrycks/robustness, issue 38), whose documentation gives an
# accuracy of 56.522 % on clean ImageNet (AlexNet_Weights.IMAGENET1K_V1).
ALEXNET_CLEAN_ERROR = 0.43478

NORMAL_95 = 1.959964  # 97.5 % quantile of the normal distribution


def mean_error(errors: Sequence[float | None]) -> float:
    """Mean over the severities that were measured.

    Examples:
        >>> mean_error([0.25, None, None, None, 0.75])
        0.5
    """
    return fmean(error for error in errors if error is not None)


def without_validation(table: Mapping[str, T]) -> dict[str, T]:
    """The entries of a table that count towards a mean over corruptions.

    The validation corruptions of ImageNet-C (`EXTRA_CORRUPTIONS`) never do: they are meant for choosing
    hyper-parameters (Hendrycks and Dietterich, ICLR 2019).

    Examples:
        >>> without_validation({"fog": 0.5, "spatter": 0.25})
        {'fog': 0.5}
    """
    return {corruption: value for corruption, value in table.items() if corruption not in EXTRA_CORRUPTIONS}


def mean_corruption_error(errors: Errors) -> float:
    """Absolute mCE (Eq. 9): the mean over corruptions of the mean error over severities.

    The four validation corruptions of ImageNet-C are left out; see `without_validation`.

    Raises:
        InputError: An empty table, one of validation corruptions alone, or an error outside [0, 1].

    Examples:
        >>> mean_corruption_error({"fog": [0.25] * 5, "snow": [0.75] * 5})
        0.5
    """
    _check(errors)
    return _mean({corruption: mean_error(row) for corruption, row in errors.items()})


def relative_corruption_errors(errors: Errors, baseline: Errors) -> dict[str, float]:
    """Per corruption, the sum of errors over the baseline's sum (the terms of Eq. 10), in the order of `errors`.

    Raises:
        InputError: The tables were measured on different cells, or the baseline has no error on a corruption.

    Examples:
        >>> relative_corruption_errors({"fog": [0.25] * 5}, {"fog": [0.5] * 5})
        {'fog': 0.5}
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
    """mrCE (Eq. 10): the mean over corruptions of the errors relative to the baseline's. 1 is the baseline.

    The four validation corruptions of ImageNet-C are left out; see `without_validation`.

    Raises:
        InputError: As `relative_corruption_errors`, or a table of validation corruptions alone.

    Examples:
        >>> errors, baseline = {"fog": [0.25] * 5, "snow": [0.5] * 5}, {"fog": [0.5] * 5, "snow": [0.5] * 5}
        >>> mean_relative_corruption_error(errors, baseline)
        0.75
    """
    return _mean(relative_corruption_errors(errors, baseline))


def by_frequency(values: Mapping[str, float]) -> dict[str, tuple[float, float]]:
    """Mean and sample standard deviation of per-corruption values in the frequency groups of Table 4.

    Groups without a value are left out; a single value has a deviation of 0.

    Examples:
        >>> by_frequency({"fog": 0.5, "frost": 1.5, "pixelate": 0.75})
        {'low': (1.0, 0.7071067811865476), 'high': (0.75, 0.0)}
    """
    groups = {}
    for group, members in FREQUENCIES.items():
        chosen = [values[corruption] for corruption in members if corruption in values]
        if chosen:
            groups[group] = (fmean(chosen), stdev(chosen) if len(chosen) > 1 else 0.0)
    return groups


def alexnet_normalised_mce(errors: Errors) -> float:
    """The mCE of Hendrycks and Dietterich (ICLR 2019), relative to AlexNet; for ImageNet-C only. 1 is AlexNet.

    Raises:
        InputError: A corruption for which AlexNet's error is not known, or one without all five severities.

    Examples:
        >>> round(alexnet_normalised_mce({"fog": [0.409662] * 5}), 6)
        0.5
    """
    _check_alexnet(errors)
    return fmean(mean_error(row) / ALEXNET_ERRORS[corruption] for corruption, row in errors.items())


def relative_mce(errors: Errors, clean: float) -> float:
    """The relative mCE of Hendrycks and Dietterich (ICLR 2019); for ImageNet-C only. 1 is AlexNet.

    It is what corruption adds to the clean error, relative to what it adds to AlexNet's. It is not the paper's mrCE
    (Eq. 10), which subtracts nothing and takes any network as the baseline.

    Args:
        clean: Error on the clean images, a fraction.

    Raises:
        InputError: As `alexnet_normalised_mce`, or a clean error outside [0, 1].

    Examples:
        >>> round(relative_mce({"fog": [0.819324] * 5}, clean=0.43478), 6)
        1.0
    """
    _check_alexnet(errors)
    if not 0 <= clean <= 1:
        raise InputError(f"the clean error is {clean}; errors are fractions from 0 to 1")
    return fmean(
        (mean_error(row) - clean) / (ALEXNET_ERRORS[corruption] - ALEXNET_CLEAN_ERROR)
        for corruption, row in errors.items()
    )


def clean_error_reduction(clean: float, baseline_clean: float) -> float:
    """R_E (Eq. 11): the part of the baseline's clean error that a model saves; negative where it errs more.

    Raises:
        InputError: The baseline has no clean error.

    Examples:
        >>> clean_error_reduction(0.375, 0.5)
        0.25
    """
    return _reduction(clean, baseline_clean, "clean error")


def mce_reduction(mce: float, baseline_mce: float) -> float:
    """R_mCE (Eq. 12): the part of the baseline's absolute mCE that a model saves; negative where it errs more.

    Raises:
        InputError: The baseline has no corruption error.

    Examples:
        >>> mce_reduction(0.25, 0.5)
        0.5
    """
    return _reduction(mce, baseline_mce, "mCE")


def net_error_reduction(
    clean: float, mce: float, baseline_clean: float, baseline_mce: float, beta: float | None = None
) -> float:
    """R_net (Eq. 13): `(R_E + beta * R_mCE) / 2`. Above 0, a model has the better trade-off.

    Args:
        beta: Weight of the mCE. 1 weighs both alike; by default `baseline_mce / baseline_clean`, how much harder the
            baseline finds corrupted images.

    Raises:
        InputError: The baseline has no clean or no corruption error.

    Examples:
        >>> net_error_reduction(clean=0.25, mce=0.375, baseline_clean=0.25, baseline_mce=0.5)
        0.25
    """
    saved_clean, saved_mce = clean_error_reduction(clean, baseline_clean), mce_reduction(mce, baseline_mce)
    beta = baseline_mce / baseline_clean if beta is None else beta
    return (saved_clean + beta * saved_mce) / 2


def mce_without_gain(clean: float, baseline_clean: float, baseline_mce: float, beta: float) -> float:
    """The mCE at which a model with this clean error has an R_net (Eq. 13) of 0: a line through the baseline.

    Examples:
        >>> mce_without_gain(clean=0.375, baseline_clean=0.25, baseline_mce=0.5, beta=1)
        0.25
    """
    return baseline_mce - baseline_mce / (beta * baseline_clean) * (clean - baseline_clean)


def confidence_interval(error: float, count: int) -> tuple[float, float]:
    """95 % Wilson score interval of an error rate measured on `count` images.

    It also holds for a mean over several cells of the same images (a mean over severities, an mCE). There, an image
    contributes the mean of its errors over the cells, a number in [0, 1], whose variance is at most that of a 0 or 1 of
    the same mean. So the interval is never too narrow, and too wide where an image's errors differ between cells. It
    assumes that the images are independent draws. It says nothing about other training runs, and two models can differ
    reliably on the same images although their intervals overlap.

    Args:
        error: A fraction in [0, 1].
        count: Number of images, not of images times cells.

    Returns:
        Lower and upper end, fractions.

    Raises:
        InputError: An error outside [0, 1], or no images.

    Examples:
        >>> [round(end, 4) for end in confidence_interval(0.1, 10_000)]
        [0.0943, 0.106]
    """
    if not 0 <= error <= 1:
        raise InputError(f"the error rate is {error}; give a fraction from 0 to 1")
    if count < 1:
        raise InputError(f"the error rate was measured on {count} images; an interval needs at least 1")
    scale = 1 + NORMAL_95**2 / count
    centre = (error + NORMAL_95**2 / (2 * count)) / scale
    reach = NORMAL_95 / scale * math.sqrt(error * (1 - error) / count + NORMAL_95**2 / (4 * count**2))
    # The ends of 0 and 1 are exact in theory, not in floating point.
    return (0.0 if error == 0 else centre - reach), (1.0 if error == 1 else centre + reach)


def expected_calibration_error(confidences: np.ndarray, correct: np.ndarray, bins: int = 15) -> float:
    """Expected calibration error (Guo et al., ICML 2017, Eq. 3): the mean gap between confidence and accuracy.

    The gap is that of each of `bins` bins of confidence of equal width, weighted by its number of images. 0 is perfect.

    Args:
        confidences: Probability of the predicted class per image, shape (N,).
        correct: Whether the prediction is right, shape (N,).

    Raises:
        InputError: No images, shapes that differ, a confidence outside [0, 1], or fewer than one bin.

    Examples:
        >>> expected_calibration_error(np.array([0.75, 0.75]), np.array([True, False]))
        0.25
    """
    confidences, correct = np.asarray(confidences, dtype=np.float64), np.asarray(correct, dtype=np.float64)
    if confidences.ndim != 1 or confidences.shape != correct.shape or not len(confidences):
        raise InputError(
            f"confidences have shape {confidences.shape} and correct {correct.shape}; give one of each per image"
        )
    if bins < 1:
        raise InputError(f"bins is {bins}; use 1 or more")
    wrong = confidences[~((confidences >= 0) & (confidences <= 1))]
    if len(wrong):
        raise InputError(f"a confidence is {wrong[0]}; confidences are probabilities from 0 to 1")
    chosen = confidence_bins(confidences, bins)
    return float(np.abs(np.bincount(chosen, weights=correct - confidences, minlength=bins)).sum() / len(confidences))


def confidence_bins(confidences: np.ndarray, bins: int) -> np.ndarray:
    """The bin of every confidence, int64 of shape (N,); open below and closed above, and 0 belongs to the first.

    Examples:
        >>> confidence_bins(np.array([0.0, 0.5, 0.75]), 2).tolist()
        [0, 0, 1]
    """
    return np.clip(np.ceil(confidences * bins).astype(np.int64) - 1, 0, bins - 1)


def _mean(values: Mapping[str, float]) -> float:
    counted = without_validation(values)
    if not counted:
        raise InputError(
            f"only {', '.join(values)} was measured, and validation corruptions count towards no mean; measure one of "
            f"the 15 test corruptions"
        )
    return fmean(counted.values())


def _check(errors: Errors) -> None:
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


def _check_alexnet(errors: Errors) -> None:
    _check(errors)
    for corruption, row in errors.items():
        if corruption not in ALEXNET_ERRORS:
            raise InputError(f"AlexNet's error on {corruption!r} is not known; normalise over the 15 test corruptions")
        if None in row:
            raise InputError(f"AlexNet's errors are means over all severities; measure all five of {corruption}")


def _reduction(error: float, baseline: float, name: str) -> float:
    if baseline <= 0:
        raise InputError(f"the baseline's {name} is {baseline}; a reduction is relative to it, so it must be above 0")
    return (baseline - error) / baseline
