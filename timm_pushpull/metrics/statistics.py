"""What chance leaves open, and whether a network's confidence can be believed."""

from __future__ import annotations

import math

import numpy as np

from timm_pushpull.utils.errors import InputError

NORMAL_95 = 1.959964  # 97.5 % quantile of the normal distribution


def confidence_interval(error: float, count: int) -> tuple[float, float]:
    """95 % Wilson score interval of an error rate measured on `count` images.

    It also holds for a mean over several cells measured on the same `count` images (a mean over severities, an mCE):
    an image then contributes the mean of its errors over the cells, a number in [0, 1], and among those of a given
    mean none varies more than one that is 0 or 1. So the interval is never too narrow for want of counting the cells,
    whatever their dependence; it is wide where an image's fate differs from cell to cell. Assumed either way is that
    the images are independent draws. It says nothing about other training runs, and two models measured on the same
    images can differ reliably although their intervals overlap.

    Args:
        error: A fraction in [0, 1].
        count: Number of images, not of images times cells.

    Returns:
        Lower and upper end, fractions.

    Raises:
        InputError: An error outside [0, 1], or no images.
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
    """Expected calibration error (Guo et al., ICML 2017, Eq. 3): the gap between confidence and accuracy, averaged
    over `bins` bins of confidence of equal width, each weighted by its number of images. 0 is perfect.

    Args:
        confidences: Probability of the predicted class per image, shape (N,).
        correct: Whether the prediction is right, shape (N,).

    Raises:
        InputError: No images, shapes that differ, a confidence outside [0, 1], or fewer than one bin.
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
    """The bin of every confidence, int64 of shape (N,); open below and closed above, and 0 belongs to the first."""
    return np.clip(np.ceil(confidences * bins).astype(np.int64) - 1, 0, bins - 1)
