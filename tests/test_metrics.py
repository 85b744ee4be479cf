"""The metrics against the paper's own numbers."""

from __future__ import annotations

import math

import pytest

from timm_pushpull import InputError, metrics
from timm_pushpull.corruptions import CORRUPTIONS

# Table 8 (retrieval, CIFAR-10-C): mean errors per corruption of ResNet18 and of PushPull avg3, whose mCE is .258.
RESNET18 = (0.47, 0.36, 0.39, 0.19, 0.47, 0.25, 0.24, 0.20, 0.22, 0.14, 0.09, 0.27, 0.18, 0.26, 0.20)
PUSH_PULL_3 = (0.44, 0.33, 0.42, 0.19, 0.48, 0.24, 0.22, 0.20, 0.22, 0.15, 0.09, 0.30, 0.18, 0.23, 0.18)
# Table 1, CIFAR-10, ResNet18 with PushPull avg3: errors relative to the baseline; Table 4 groups them.
RELATIVE = (0.86, 0.86, 1.01, 1.00, 1.00, 0.97, 1.01, 0.98, 0.90, 1.07, 1.01, 1.03, 0.99, 0.94, 0.90)


def table(means: tuple[float, ...]) -> dict[str, list[float]]:
    return {name: [mean * k for k in (0.8, 0.9, 1, 1.1, 1.2)] for name, mean in zip(CORRUPTIONS, means, strict=True)}


def test_mean_corruption_error_of_table_8():
    assert metrics.mean_corruption_error(table(RESNET18)) == pytest.approx(0.264, abs=0.003)
    assert metrics.mean_corruption_error(table(PUSH_PULL_3)) == pytest.approx(0.258, abs=0.001)


def test_relative_errors_lead_from_table_8_to_table_5():
    relative = metrics.relative_corruption_errors(table(PUSH_PULL_3), table(RESNET18))
    assert relative["gaussian_noise"] == pytest.approx(0.93, abs=0.01)
    assert relative["pixelate"] == pytest.approx(0.89, abs=0.02)
    mrce = metrics.mean_relative_corruption_error(table(PUSH_PULL_3), table(RESNET18))
    assert mrce == pytest.approx(0.981, abs=0.01)


def test_relative_errors_are_ratios_of_sums():
    errors, baseline = {"fog": [0.1, 0.2, 0.3, 0.4, 0.5]}, {"fog": [0.5, 0.4, 0.3, 0.2, 0.35]}
    assert metrics.relative_corruption_errors(errors, baseline)["fog"] == pytest.approx(1.5 / 1.75)


@pytest.mark.parametrize(
    ("clean", "mce", "published"),
    [
        (0.269, 0.6674, 0.0),
        (0.282, 0.6454, 1.67),
        (0.276, 0.6452, 2.79),
        (0.269, 0.6298, 6.86),
        (0.283, 0.6041, 9.05),
        (0.269, 0.6121, 10.14),
        (0.287, 0.5900, 10.97),
        (0.298, 0.5223, 21.57),
        (0.306, 0.4995, 24.31),
    ],
)
def test_net_error_reduction_of_the_published_summary(clean, mce, published):
    reduction = 100 * metrics.net_error_reduction(clean, mce, 0.269, 0.6674)
    assert reduction == pytest.approx(published, abs=0.25)  # the published column was made from unrounded errors


def test_net_error_reduction_with_equal_weights():
    assert metrics.net_error_reduction(0.1, 0.3, 0.2, 0.4, beta=1) == pytest.approx((0.5 + 0.25) / 2)


def test_frequency_groups_of_table_4():
    groups = metrics.by_frequency(dict(zip(CORRUPTIONS, RELATIVE, strict=True)))
    assert list(groups) == ["low", "mid", "high"]
    assert groups["low"] == (pytest.approx(1.00, abs=0.005), pytest.approx(0.074, abs=0.002))
    assert groups["mid"] == (pytest.approx(0.99, abs=0.005), pytest.approx(0.013, abs=0.004))
    assert groups["high"] == (pytest.approx(0.93, abs=0.005), pytest.approx(0.069, abs=0.003))


def test_alexnet_has_a_normalised_error_of_one():
    assert metrics.alexnet_normalised_mce({name: [error] * 5 for name, error in metrics.ALEXNET_ERRORS.items()}) == 1


def test_severities_that_were_not_measured_are_left_out():
    assert metrics.mean_corruption_error({"fog": [0.1, None, None, None, 0.3]}) == pytest.approx(0.2)


@pytest.mark.parametrize(
    "errors",
    [
        {},
        {"fog": [0.1] * 4},
        {"fog": [None] * 5},
        {"fog": [0.1, 0.2, 0.3, 0.4, 1.5]},
        {"fog": [0.1] * 4 + [math.nan]},
    ],
)
def test_impossible_tables_are_refused(errors):
    with pytest.raises(InputError):
        metrics.mean_corruption_error(errors)


@pytest.mark.parametrize(
    ("baseline", "message"),
    [
        ({"fog": [0.0] * 5}, "0"),
        ({"snow": [0.1] * 5}, "severities of fog"),
        ({"fog": [0.1] * 4 + [None]}, "severities of fog"),
    ],
)
def test_baselines_that_do_not_fit_are_refused(baseline, message):
    with pytest.raises(InputError, match=message):
        metrics.relative_corruption_errors({"fog": [0.1] * 5}, baseline)
