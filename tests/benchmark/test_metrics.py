"""The metrics against the paper's own numbers."""

from __future__ import annotations

import doctest
import inspect
import math

import numpy as np
import pytest

from timm_pushpull import InputError, metrics
from timm_pushpull.benchmark import paper
from timm_pushpull.corruptions import CORRUPTIONS, EXTRA_CORRUPTIONS

RETRIEVAL = {row.label: row for row in paper.load("table8")}
RESNET18, PUSH_PULL_3 = (RETRIEVAL[name].values for name in ("ResNet18", "ResNet18 PushPull avg3"))
# Table 4: mean and standard deviation of relative errors on CIFAR10-C in the groups of low, mid and high frequencies.
TABLE_4 = {
    "ResNet18": ((1.00, 0.0), (1.00, 0.0), (1.00, 0.0)),
    "ResNet18 PushPull avg3": ((1.00, 0.074), (0.99, 0.013), (0.93, 0.069)),
    "ResNet18 PushPull avg5": ((1.01, 0.036), (0.97, 0.032), (0.93, 0.046)),
    "ResNet50": ((1.00, 0.0), (1.00, 0.0), (1.00, 0.0)),
    "ResNet50 PushPull avg3": ((1.03, 0.025), (0.99, 0.026), (0.94, 0.032)),
    "ResNet50 PushPull avg5": ((0.99, 0.019), (0.97, 0.013), (0.93, 0.040)),
}


def table(means: dict[str, float]) -> dict[str, list[float]]:
    return {name: [mean * k for k in (0.8, 0.9, 1, 1.1, 1.2)] for name, mean in means.items()}


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
    # The published column was made from unrounded errors; the three digits of E alone leave 0.19 open.
    assert reduction == pytest.approx(published, abs=0.2)


def test_net_error_reduction_is_made_of_its_parts():
    parts = metrics.clean_error_reduction(0.1, 0.2), metrics.mce_reduction(0.3, 0.4)
    assert parts == pytest.approx((0.5, 0.25))
    assert metrics.net_error_reduction(0.1, 0.3, 0.2, 0.4, beta=1) == pytest.approx((0.5 + 0.25) / 2)
    assert metrics.net_error_reduction(0.1, 0.3, 0.2, 0.4, beta=3) == pytest.approx((0.5 + 3 * 0.25) / 2)
    assert metrics.net_error_reduction(0.1, 0.3, 0.2, 0.4) == pytest.approx((0.5 + 2 * 0.25) / 2)


def test_beta_of_figure_8():
    baseline = next(row for row in paper.load("table1") if row.baseline == "b3")
    assert baseline.mce / baseline.clean_error == pytest.approx(2.81, abs=0.005)


@pytest.mark.parametrize("baseline", [(0.0, 0.4), (0.2, 0.0)])
def test_nothing_is_saved_of_no_error(baseline):
    with pytest.raises(InputError, match=r"baseline's .* is 0\.0"):
        metrics.net_error_reduction(0.1, 0.1, *baseline)


def test_frequency_groups_of_table_4():
    """Its means follow from Table 1; its standard deviations do so for ResNet18, and not for ResNet50."""
    off = set()
    for row in (row for row in paper.load("table1") if row.dataset == "CIFAR10"):
        groups = metrics.by_frequency(row.values)
        assert list(groups) == ["low", "mid", "high"]
        for group, printed in zip(groups, TABLE_4[row.label], strict=True):
            assert groups[group][0] == pytest.approx(printed[0], abs=0.01)  # both sides are rounded
            if abs(groups[group][1] - printed[1]) > 0.005:
                off.add((row.label, group))
    assert off == {
        *(("ResNet50 PushPull avg3", group) for group in ("low", "mid", "high")),
        *(("ResNet50 PushPull avg5", group) for group in ("low", "mid")),
    }


def test_groups_cover_the_corruptions_once():
    for groups in (metrics.GROUPS, metrics.FREQUENCIES):
        assert sorted(name for members in groups.values() for name in members) == sorted(CORRUPTIONS)


def test_alexnet_errors_are_the_published_ones():
    """From the evaluation script of Hendrycks and Dietterich; noise, blur, weather, digital."""
    published = (0.886428, 0.894468, 0.922640, 0.819880, 0.826268, 0.785948, 0.798360, 0.866816)
    published += (0.826572, 0.819324, 0.564592, 0.853204, 0.646056, 0.717840, 0.606500)
    assert dict(zip(CORRUPTIONS, published, strict=True)) == metrics.ALEXNET_ERRORS


def test_alexnet_has_errors_of_one():
    alexnet = {name: [error] * 5 for name, error in metrics.ALEXNET_ERRORS.items()}
    assert metrics.alexnet_normalised_mce(alexnet) == 1
    assert metrics.relative_mce(alexnet, metrics.ALEXNET_CLEAN_ERROR) == 1


def test_resnet50_of_hendrycks_and_dietterich():
    """Their ResNet-50: corruption errors in percent of AlexNet's, clean error 23.9 %, mCE 76.7, relative mCE 105.0."""
    percent = (80, 82, 83, 75, 89, 78, 80, 78, 75, 66, 57, 71, 85, 77, 77)
    errors = {name: [c / 100 * metrics.ALEXNET_ERRORS[name]] * 5 for name, c in zip(CORRUPTIONS, percent, strict=True)}
    assert metrics.alexnet_normalised_mce(errors) == pytest.approx(0.767, abs=0.005)
    assert metrics.relative_mce(errors, 0.239) == pytest.approx(1.05, abs=0.01)


def test_relative_mce_takes_the_clean_error_off():
    added = metrics.ALEXNET_ERRORS["fog"] - metrics.ALEXNET_CLEAN_ERROR
    assert metrics.relative_mce({"fog": [0.1, 0.2, 0.3, 0.4, 0.5]}, 0.1) == pytest.approx(0.2 / added)


@pytest.mark.parametrize(
    ("errors", "message"),
    [({"fog": [0.1, None, 0.1, 0.1, 0.1]}, "all five of fog"), ({"spatter": [0.1] * 5}, "'spatter' is not known")],
)
def test_alexnet_is_compared_on_what_is_known_of_it(errors, message):
    for metric in (metrics.alexnet_normalised_mce, lambda errors: metrics.relative_mce(errors, 0.1)):
        with pytest.raises(InputError, match=message):
            metric(errors)


@pytest.mark.parametrize(
    ("error", "count", "expected"),
    [
        # Newcombe, Statistics in Medicine 17 (1998), Table I, method 3 (Wilson without continuity correction).
        (81 / 263, 263, (0.2553, 0.3662)),
        (15 / 148, 148, (0.0624, 0.1605)),
        (0 / 20, 20, (0.0, 0.1611)),
        (1 / 29, 29, (0.0061, 0.1718)),
    ],
)
def test_confidence_interval_is_wilsons(error, count, expected):
    assert metrics.confidence_interval(error, count) == pytest.approx(expected, abs=5e-5)
    low, high = metrics.confidence_interval(1 - error, count)
    assert (1 - high, 1 - low) == pytest.approx(expected, abs=5e-5)


def test_confidence_interval_covers_means_over_cells_of_the_same_images():
    """Whether an image fails in all cells at once or in each by itself, 95 of 100 intervals hold the true mean."""
    rng = np.random.default_rng(0)
    for shared in (0.0, 0.5, 1.0):
        covered = 0
        for _ in range(500):
            together = rng.random((200, 1)) < shared
            failed = np.where(together, rng.random((200, 1)), rng.random((200, 10))) < 0.3
            low, high = metrics.confidence_interval(failed.mean(), 200)
            covered += low <= 0.3 <= high
        assert covered / 500 > 0.93


@pytest.mark.parametrize(("error", "count"), [(1.1, 10), (math.nan, 10), (0.5, 0)])
def test_impossible_rates_have_no_interval(error, count):
    with pytest.raises(InputError):
        metrics.confidence_interval(error, count)


def test_expected_calibration_error():
    confidences, correct = np.array([0.95, 0.95, 0.55, 0.55]), np.array([True, True, True, False])
    # Two bins: all right at 0.95, half right at 0.55.
    assert metrics.expected_calibration_error(confidences, correct) == pytest.approx(0.5 * 0.05 + 0.5 * 0.05)
    assert metrics.expected_calibration_error(confidences, correct, bins=1) == pytest.approx(0)
    # Bins are closed above: 0.2 belongs to the first of five, and its error does not cancel that of 0.3.
    edge = metrics.expected_calibration_error(np.array([0.2, 0.3]), np.array([True, False]), bins=5)
    assert edge == pytest.approx((0.8 + 0.3) / 2)
    assert metrics.expected_calibration_error(np.array([0.0, 1.0]), np.array([False, True])) == 0


def test_calibration_of_confidences_that_mean_what_they_say():
    rng = np.random.default_rng(0)
    confidences = rng.random(100_000)
    assert metrics.expected_calibration_error(confidences, rng.random(100_000) < confidences) < 0.01
    assert metrics.expected_calibration_error(confidences, rng.random(100_000) < confidences**2) > 0.1


@pytest.mark.parametrize(
    ("confidences", "correct", "bins"),
    [([], [], 15), ([0.5], [1, 0], 15), ([[0.5]], [[1]], 15), ([1.2], [1], 15), ([math.nan], [1], 15), ([0.5], [1], 0)],
)
def test_impossible_confidences_are_refused(confidences, correct, bins):
    with pytest.raises(InputError):
        metrics.expected_calibration_error(np.array(confidences), np.array(correct), bins)


def test_severities_that_were_not_measured_are_left_out():
    assert metrics.mean_corruption_error({"fog": [0.1, None, None, None, 0.3]}) == pytest.approx(0.2)


def test_validation_corruptions_count_towards_no_mean():
    validation = {name: [0.9] * 5 for name in EXTRA_CORRUPTIONS}
    errors, baseline = {"fog": [0.25] * 5, **validation}, {"fog": [0.5] * 5, **validation}
    assert metrics.mean_corruption_error(errors) == 0.25
    assert metrics.mean_relative_corruption_error(errors, baseline) == 0.5
    assert metrics.relative_corruption_errors(errors, baseline)["spatter"] == 1
    for mean in (metrics.mean_corruption_error, lambda errors: metrics.mean_relative_corruption_error(errors, errors)):
        with pytest.raises(InputError, match="count towards no mean"):
            mean(validation)


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


def test_every_example_runs():
    public = [getattr(metrics, name) for name in metrics.__all__ if inspect.isfunction(getattr(metrics, name))]
    assert [function.__name__ for function in public if ">>>" not in function.__doc__] == []
    assert doctest.testmod(metrics).failed == 0
