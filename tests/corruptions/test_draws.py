"""Distributions: of the random streams, and of every random corruption compared with the published code."""

from __future__ import annotations

import math

import numpy as np
import pytest

from support.paths import GOLDEN_FOLDER
from timm_pushpull.corruptions import PRESETS, corrupt, corrupt_batch, draws, noise, textures, weather
from timm_pushpull.corruptions.draws import Replay, Streams

GOLDEN = np.load(GOLDEN_FOLDER / "corruptions.npz")
MANY = np.arange(200, dtype=np.uint64)


def words(key: int, counter: tuple[int, int, int, int]) -> list[int]:
    """Philox of one counter. Its first word selects a chunk and a lane."""
    block, draw, low, high = counter
    chunk = np.empty(draws.CHUNK, np.uint32)
    index = np.uint64(low | high << 32)
    draws.fill_words(np.uint64(key), np.uint64(draw), index, block // 256, chunk)
    return [int(chunk[256 * k + block % 256]) for k in range(4)]


def test_words_are_philox():
    """Known answers of Random123's kat_vectors for philox4x32-10."""
    ones = 2**32 - 1
    assert words(0, (0, 0, 0, 0)) == [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]
    assert words(2**64 - 1, (ones, ones, ones, ones)) == [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]
    pi = (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344)
    assert words(0x299F31D0A4093822, pi) == [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1]


def test_uniform_numbers_are_uniform_and_apart():
    streams = Streams(3, 1, 2, MANY)
    first, second = streams.uniform(1000), streams.uniform(1000)
    assert 0 < first.min() < 1e-4 < 1 - 1e-4 < first.max() < 1
    assert chi_square_z(np.histogram(first, 100, (0, 1))[0], np.full(100, first.size / 100)) < 4
    for other in (second, Streams(4, 1, 2, MANY).uniform(1000), Streams(3, 2, 2, MANY).uniform(1000)):
        assert abs(np.corrcoef(first.ravel(), other.ravel())[0, 1]) < 0.01
    assert abs(np.corrcoef(first[:-1].ravel(), first[1:].ravel())[0, 1]) < 0.01
    np.testing.assert_array_equal(Streams(3, 1, 2, MANY[7:8]).uniform(10)[0], first[7, :10])


def test_normal_numbers_have_normal_moments():
    window = (slice(0, 30), slice(5, 38))
    numbers = Streams(0, 1, 2, MANY).normal_field((40, 40), window)
    assert numbers.shape == (200, 30, 33)
    for power, moment, spread in ((1, 0, 1), (2, 1, 2**0.5), (3, 0, 15**0.5), (4, 3, 96**0.5)):
        assert abs((numbers**power).mean() - moment) < 4 * spread / numbers.size**0.5


@pytest.mark.parametrize("limit", [1, 3, 4])
def test_offsets_are_uniform_pairs(limit):
    codes = Streams(0, 1, 2, MANY).offsets(limit, 1000)
    counts = np.bincount(codes.ravel(), minlength=(2 * limit) ** 2)
    assert len(counts) == (2 * limit) ** 2
    assert chi_square_z(counts, np.full(len(counts), codes.size / len(counts))) < 4


def test_whole_numbers_stay_below_their_bounds():
    bounds = np.full(200, 5)
    numbers = np.concatenate([Streams(seed, 1, 2, MANY).below(bounds) for seed in range(50)])
    assert chi_square_z(np.bincount(numbers, minlength=5), np.full(5, 2000.0)) < 4


def chi_square_z(counts: np.ndarray, expected: np.ndarray) -> float:
    """How many standard deviations Pearson's statistic lies above its mean."""
    freedom = len(counts) - 1
    return (((counts - expected) ** 2 / expected).sum() - freedom) / math.sqrt(2 * freedom)


# --- Noise: the bytes that come out, for a byte that goes in ---


def byte_z(name: str, level: int, severity: int, replayed_severity: int) -> float:
    """Chi-square of our bytes against the distribution of the published code, estimated from 20 times as many."""
    side = 400
    image = np.full((side, side, 3), level, np.uint8)
    counts = np.bincount(corrupt(image, name, severity).ravel(), minlength=256)
    rng = np.random.RandomState(0)
    expected = sum(
        np.bincount(corrupt(image, name, replayed_severity, legacy_rng=rng).ravel(), minlength=256) for _ in range(20)
    )
    used = expected >= 400  # rare bytes together
    counts = np.append(counts[used], counts[~used].sum())
    expected = np.append(expected[used], max(expected[~used].sum(), 1)) / 20
    return chi_square_z(counts, expected * 1.0)


@pytest.mark.parametrize("level", [20, 128, 240])
@pytest.mark.parametrize("name", ["gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise"])
def test_noise_has_the_published_distribution(name, level):
    assert byte_z(name, level, 3, 3) < 4
    assert byte_z(name, level, 4, 3) > 20
    assert byte_z(name, level, 2, 3) > 20


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("name", ["gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise"])
def test_alias_tables_hold_the_transition_probabilities(name, preset):
    """To 2^-24, the resolution of their thresholds."""
    for constant in PRESETS[preset].constants[name]:
        probabilities = getattr(noise, name.replace("noise", "transitions"))(constant)
        np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-12)
        table = noise._alias_table(probabilities)
        kept, alias = (table >> 8) / 2.0**24, (table & 255).astype(int)
        rebuilt = kept / 256
        np.add.at(rebuilt, (np.arange(256)[:, None], alias), (1 - kept) / 256)
        np.testing.assert_allclose(rebuilt, probabilities, atol=2e-7)


@pytest.mark.parametrize(
    ("name", "deviation"), [("gaussian_noise", 0.08 * 255), ("shot_noise", (0.5 / 60) ** 0.5 * 255)]
)
def test_noise_has_the_published_strength(name, deviation):
    image = np.full((128, 128, 3), 128, np.uint8)
    difference = corrupt(image, name, 1).astype(float) - 128
    assert abs(difference.mean() + 0.5) < 0.5  # half a level is lost by truncation
    assert difference.std() == pytest.approx(deviation, rel=0.02)


# --- The other random corruptions: statistics of the corrupted image ---


def statistics(images: np.ndarray, clean: np.ndarray) -> np.ndarray:
    """Float64 of shape (N, statistics): brightness, contrast, roughness along either axis, distance to the original."""
    values = images.astype(float)
    return np.stack(
        [
            values.mean(axis=(1, 2, 3)),
            values.std(axis=(1, 2, 3)),
            np.abs(np.diff(values, axis=1)).mean(axis=(1, 2, 3)),
            np.abs(np.diff(values, axis=2)).mean(axis=(1, 2, 3)),
            np.abs(values - clean).mean(axis=(1, 2, 3)),
            np.abs(np.diff(values, 2, axis=2)).mean(axis=(1, 2, 3)),
        ],
        axis=1,
    )


def largest_z(name: str, severity: int, replayed_severity: int, count: int = 300) -> float:
    """The largest difference in means between our images and those of the published code, in standard errors."""
    image, rng = GOLDEN["input_32"], np.random.RandomState(1)
    ours = corrupt_batch(np.repeat(image[None], count, axis=0), name, severity, "cifar10-c")
    theirs = np.stack([corrupt(image, name, replayed_severity, "cifar10-c", legacy_rng=rng) for _ in range(count)])
    ours, theirs = statistics(ours, image), statistics(theirs, image)
    error = np.sqrt((ours.var(axis=0) + theirs.var(axis=0)) / count) + 1e-9
    return (np.abs(ours.mean(axis=0) - theirs.mean(axis=0)) / error).max()


@pytest.mark.parametrize(
    ("name", "severity", "neighbour"),
    [
        ("glass_blur", 3, 4),
        ("motion_blur", 2, 3),
        ("snow", 3, 4),
        ("frost", 3, 4),
        ("fog", 3, 4),
        ("elastic_transform", 3, 4),
        ("spatter", 3, 4),
        ("spatter", 5, 4),
    ],
)
def test_images_have_the_published_distribution(name, severity, neighbour):
    assert largest_z(name, severity, severity) < 4
    assert largest_z(name, neighbour, severity) > 6


@pytest.mark.parametrize("legacy", [False, True])
def test_frost_draws_each_of_five_textures_and_any_place(legacy, monkeypatch):
    """The sixth texture and the last position are never drawn, because numpy's randint excludes its bound."""
    sides = np.arange(12, dtype=np.uint8)
    ramps = [
        np.ascontiguousarray(np.broadcast_to(np.stack([sides + 20 * k, sides, sides], -1), (9, 12, 3)))
        for k in range(5)
    ]
    ramps = [textures.Texture(ramp, *ramp.shape[:2]) for ramp in ramps]
    monkeypatch.setattr(textures, "frost", lambda folder, scale, height, width: ramps)
    rng = np.random.RandomState(0)
    images, count = np.zeros((4000, 8, 8, 3), np.uint8), 4000
    if legacy:
        drawn = np.stack([weather.frost(images[:1], (1.0, 1.0, 1.0, None), Replay(rng))[0] for _ in range(count)])
    else:
        drawn = weather.frost(images, (1.0, 1.0, 1.0, None), Streams(0, 8, 3, np.arange(count, dtype=np.uint64)))
    chosen, left = (drawn[:, 0, 0, 0].astype(int) - drawn[:, 0, 0, 1]) // 20, drawn[:, 0, 0, 1]
    for numbers, bound in ((chosen, 5), (left, 12 - 8)):
        counts = np.bincount(numbers, minlength=bound)
        assert len(counts) == bound
        assert chi_square_z(counts, np.full(bound, count / bound)) < 4
