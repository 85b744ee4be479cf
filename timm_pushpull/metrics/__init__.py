"""The metrics of robustness, calibration and chance: pure functions on errors.

A table of errors maps a corruption's name to its errors at severities 1 to 5, fractions in [0, 1]; None stands for a
severity that was not measured, and means are then taken over the others.
"""

from timm_pushpull.metrics.alexnet import ALEXNET_CLEAN_ERROR, ALEXNET_ERRORS, alexnet_normalised_mce, relative_mce
from timm_pushpull.metrics.statistics import confidence_interval, expected_calibration_error
from timm_pushpull.metrics.tables import (
    FREQUENCIES,
    GROUPS,
    Errors,
    by_frequency,
    mean_corruption_error,
    mean_error,
    mean_relative_corruption_error,
    relative_corruption_errors,
)
from timm_pushpull.metrics.tradeoff import (
    clean_error_reduction,
    mce_reduction,
    mce_without_gain,
    net_error_reduction,
)

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
]
