"""The metrics of Hendrycks and Dietterich (ICLR 2019), relative to AlexNet; for ImageNet-C only."""

from __future__ import annotations

from statistics import fmean

from timm_pushpull.corruptions import CORRUPTIONS
from timm_pushpull.metrics.tables import Errors, check, mean_error
from timm_pushpull.utils.errors import InputError

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

# Those errors are of torchvision's pretrained AlexNet (hendrycks/robustness, issue 38), whose documentation gives
# an accuracy of 56.522 % on clean ImageNet (AlexNet_Weights.IMAGENET1K_V1).
ALEXNET_CLEAN_ERROR = 0.43478


def alexnet_normalised_mce(errors: Errors) -> float:
    """The mCE of Hendrycks and Dietterich 2019, relative to AlexNet; for ImageNet-C only. 1 is AlexNet.

    Raises:
        InputError: A corruption that AlexNet's errors are not known for, or one without all five severities.
    """
    _check_known(errors)
    return fmean(mean_error(row) / ALEXNET_ERRORS[corruption] for corruption, row in errors.items())


def relative_mce(errors: Errors, clean: float) -> float:
    """The relative mCE of Hendrycks and Dietterich 2019: what corruption adds to the clean error, relative to what it
    adds to AlexNet's; for ImageNet-C only. 1 is AlexNet.

    Not the paper's mrCE (Eq. 10), which takes nothing off and compares with a baseline of choice.

    Args:
        clean: Error on the clean images, a fraction.

    Raises:
        InputError: As `alexnet_normalised_mce`, or a clean error outside [0, 1].
    """
    _check_known(errors)
    if not 0 <= clean <= 1:
        raise InputError(f"the clean error is {clean}; errors are fractions from 0 to 1")
    return fmean(
        (mean_error(row) - clean) / (ALEXNET_ERRORS[corruption] - ALEXNET_CLEAN_ERROR)
        for corruption, row in errors.items()
    )


def _check_known(errors: Errors) -> None:
    check(errors)
    for corruption, row in errors.items():
        if corruption not in ALEXNET_ERRORS:
            raise InputError(f"AlexNet's error on {corruption!r} is not known; normalise over the 15 test corruptions")
        if None in row:
            raise InputError(f"AlexNet's errors are means over all severities; measure all five of {corruption}")
