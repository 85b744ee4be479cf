"""Hashes, their loss and their mean average precision, beside plain versions of the same."""

from __future__ import annotations

import importlib
import math
import sys
import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.bench_retrieval import published_loop
from timm_pushpull.benchmark.hashing import (
    average_precision,
    csq_loss,
    hamming_ranking,
    hash_targets,
    mean_average_precision,
    pack,
    ranking,
)
from timm_pushpull.utils.errors import InputError

RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture(params=["numba", "numpy"])
def rank(request, monkeypatch):
    """Both implementations of the ranking."""
    if request.param == "numpy":
        if not hasattr(np, "bitwise_count"):
            pytest.skip("needs numpy 2")
        monkeypatch.setattr(ranking, "rank", ranking._rank_in_numpy)
    else:
        pytest.importorskip("numba")
        assert ranking.rank is not ranking._rank_in_numpy


# --- Targets


@pytest.mark.parametrize(("classes", "bits"), [(2, 8), (10, 64), (64, 64), (128, 64), (100, 128)])
def test_targets_are_hadamard_rows_and_their_opposites(classes, bits):
    targets = hash_targets(classes, bits)
    products = targets @ targets.T
    assert targets.dtype == torch.float32
    assert targets.abs().eq(1).all()
    i, j = np.indices((classes, classes))
    assert torch.equal(products, torch.from_numpy(bits * (i == j) - bits * (abs(i - j) == bits)).float())
    assert torch.equal(targets[0], torch.ones(bits))
    # Sylvester's matrix: the sign at (i, j) is the parity of the bits that i and j share.
    row, column = classes // 2, bits - 3
    assert targets[row, column] == (-1) ** (bin(row % bits & column).count("1") + row // bits)


@pytest.mark.parametrize(("classes", "bits", "distance"), [(129, 64, 24), (1000, 64, 20), (10, 48, 24), (70, 8, 2)])
def test_beyond_hadamard_targets_are_balanced_and_far_apart(classes, bits, distance):
    before = torch.get_rng_state()
    targets = hash_targets(classes, bits, seed=1)
    assert torch.equal(before, torch.get_rng_state())
    assert targets.shape == (classes, bits)
    assert targets.dtype == torch.float32
    assert targets.abs().eq(1).all()
    assert targets.sum(dim=1).eq(0).all()
    distances = (bits - targets @ targets.T)[~torch.eye(classes, dtype=torch.bool)] / 2
    assert distances.min() >= distance
    assert distances.mean() >= bits / 2  # what CSQ asks of hash centres
    assert torch.equal(targets, hash_targets(classes, bits, seed=1))
    assert not torch.equal(targets, hash_targets(classes, bits, seed=2))


@pytest.mark.parametrize(
    ("classes", "bits", "words"),
    [(1, 64, "at least 2"), (10, 0, "multiple of 8"), (10, 60, "multiple of 8"), (71, 8, "70 balanced codes")],
)
def test_targets_that_there_cannot_be(classes, bits, words):
    with pytest.raises(InputError, match=words):
        hash_targets(classes, bits)


# --- Loss


def written_out(outputs: torch.Tensor, targets: torch.Tensor, weight: float) -> torch.Tensor:
    """Eqs. 16 and 17 as they stand, in float64."""
    hashes, truth = (1 + outputs.double().tanh()) / 2, (1 + targets.double()) / 2
    entropy = -(truth * hashes.log() + (1 - truth) * (1 - hashes).log())
    return entropy.mean(1) + weight * (outputs.double().tanh().abs() - 1).pow(2).sum(1) / outputs.shape[1]


@pytest.mark.parametrize("weight", [1e-4, 0.0, 3.0])
def test_loss_is_the_written_out_formula(weight):
    outputs, targets = torch.randn(30, 64, dtype=torch.float64) * 2, hash_targets(10)[torch.arange(30) % 10]
    expected = written_out(outputs, targets, weight)
    for reduction, value in (("none", expected), ("sum", expected.sum()), ("mean", expected.mean())):
        torch.testing.assert_close(csq_loss(outputs, targets, weight, reduction), value, rtol=1e-10, atol=0)
    torch.testing.assert_close(csq_loss(outputs.float(), targets, weight), expected.mean().float())
    assert weight != 1e-4 or csq_loss(outputs, targets) == csq_loss(outputs, targets, 1e-4)


def test_loss_has_the_right_gradient():
    outputs = torch.randn(3, 16, dtype=torch.float64, requires_grad=True)
    targets = hash_targets(3, 16).double()
    assert torch.autograd.gradcheck(lambda y: csq_loss(y, targets, 0.7, "none"), outputs)


def test_saturated_outputs_have_a_finite_loss_and_gradient():
    outputs = torch.tensor([[300.0] * 4 + [-300.0] * 4, [0.0] * 8], requires_grad=True)
    losses = csq_loss(outputs, torch.ones(2, 8), reduction="none")
    torch.testing.assert_close(losses, torch.tensor([300.0, math.log(2) + 1e-4]))
    losses.sum().backward()
    torch.testing.assert_close(outputs.grad[0], torch.tensor([0.0] * 4 + [-2 / 8] * 4))
    assert outputs.grad.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("autocast", [False, True])
def test_loss_of_half_precision_is_computed_in_float32(dtype, autocast):
    outputs, targets = torch.randn(20, 64).mul(2).to(dtype), hash_targets(20).to(torch.int8)
    with torch.autocast("cpu", dtype, enabled=autocast):
        loss = csq_loss(outputs, targets, quantization_weight=1.0)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, written_out(outputs, targets, 1.0).mean().float())


def test_what_minimises_the_loss_has_the_targets_as_hashes():
    targets = hash_targets(130)
    outputs = torch.nn.Parameter(torch.randn(130, 64))
    optimizer = torch.optim.Adam([outputs], lr=0.3)
    for _ in range(40):
        csq_loss(outputs, targets).backward()
        optimizer.step()
        optimizer.zero_grad()
    assert np.array_equal(pack(outputs), pack(targets))


def test_loss_of_bad_input():
    with pytest.raises(InputError, match=r"\(4, 64\) and targets \(64,\)"):
        csq_loss(torch.zeros(4, 64), torch.ones(64))
    with pytest.raises(InputError, match="did you mean 'mean'"):
        csq_loss(torch.zeros(4, 64), torch.ones(4, 64), reduction="meen")


# --- Hashes


@pytest.mark.parametrize("convert", [torch.bfloat16, torch.float64, np.float32])
def test_hash_is_the_signs_of_the_outputs(convert):
    outputs = torch.tensor([[0.5, -0.5, 0.0, -0.0, 1e-30, -1e-30, torch.inf, -torch.inf] + [-1.0] * 7 + [1.0]])
    outputs = outputs.to(convert).requires_grad_() if isinstance(convert, torch.dtype) else outputs.numpy()
    assert pack(outputs).dtype == np.uint8
    assert pack(outputs).tolist() == [[0b10111010, 0b00000001]]


@pytest.mark.parametrize(
    "outputs", [torch.zeros(8), torch.zeros(2, 12), torch.zeros(2, 0), torch.full((2, 8), torch.nan)]
)
def test_outputs_that_have_no_hash(outputs):
    with pytest.raises(InputError, match="NaN" if outputs.isnan().any() else "multiple of 8"):
        pack(outputs)


# --- Ranking and precision


def plain_ranking(queries: np.ndarray, database: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    bits, database_bits = np.unpackbits(queries, axis=1), np.unpackbits(database, axis=1)
    distances = (bits[:, None] != database_bits).sum(axis=2)
    order = np.argsort(distances, axis=1, kind="stable")[:, :k]
    return order, np.take_along_axis(distances, order, axis=1)


def plain_precision(order: np.ndarray, query_labels: np.ndarray, database_labels: np.ndarray) -> list[float]:
    precisions = []
    for places, label in zip(order, query_labels, strict=True):
        hits, total = 0, 0.0
        for rank, place in enumerate(places, start=1):
            if database_labels[place] == label:
                hits += 1
                total += hits / rank
        precisions.append(total / hits if hits else 0.0)
    return precisions


@st.composite
def collections(draw):
    """Queries, database, their labels and k: hashes of few different bits, so many are tied."""
    width, size = draw(st.integers(1, 19)), draw(st.sampled_from([1, 2, 30, 255, 256, 257, 700]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    mask = rng.integers(256, size=width) & rng.integers(256, size=width) & rng.integers(256, size=width)
    queries, database = (
        (rng.integers(256, size=(count, width)) & mask).astype(np.uint8) for count in (draw(st.integers(1, 9)), size)
    )
    if draw(st.booleans()):  # from far to near, the worst case of a running limit
        database = database[plain_ranking(queries[:1], database, size)[0][0, ::-1]]
    classes = draw(st.integers(1, 6))
    labels = rng.integers(classes, size=len(queries)), rng.integers(classes, size=size)
    return queries, database, *labels, draw(st.sampled_from([1, 2, 7, 50, 200, 256, 699, 1000]))


def test_ranking_and_precision_are_the_plain_ones(rank):
    @settings(max_examples=150, deadline=None)
    @given(collections())
    def check(collection):
        queries, database, *labels, k = collection
        indices, distances = hamming_ranking(queries, database, k)
        order, near = plain_ranking(queries, database, k)
        assert indices.dtype == np.int64
        assert distances.dtype == np.int32
        assert np.array_equal(indices, order)
        assert np.array_equal(distances, near)
        expected = plain_precision(order, *labels)
        np.testing.assert_allclose(average_precision(queries, database, *labels, k), expected, rtol=1e-12)
        assert mean_average_precision(queries, database, *labels, k) == pytest.approx(np.mean(expected), rel=1e-12)

    check()


def test_precision_is_that_of_the_published_loop_where_nothing_is_tied(rank):
    @settings(max_examples=60, deadline=None)
    @given(st.integers(0, 2**32), st.sampled_from([1, 5, 60, 200, 300]))
    def check(seed, k):
        rng = np.random.default_rng(seed)
        bits = 8 * int(rng.integers(1, 60))
        query = rng.choice(np.array([-1, 1], np.float32), (1, bits))
        flips = np.arange(bits) < np.arange(bits + 1)[:, None]  # every distance once
        database = rng.permutation(np.where(flips[:, rng.permutation(bits)], -query, query))
        labels, database_labels = rng.integers(4, size=1), rng.integers(4, size=bits + 1)
        ours = average_precision(pack(query), pack(database), labels, database_labels, k)
        np.testing.assert_allclose(ours, published_loop(query, database, labels, database_labels, k), atol=1e-6)

    check()


def test_precision_by_hand():
    database = np.array([[0b0], [0b1], [0b11], [0b111], [0b1111]], np.uint8)
    queries, labels = np.zeros((4, 1), np.uint8), np.array(["cat", "dog", "cat", "cow", "dog"])
    asked = ["cat", "dog", "cow", "owl"]
    third = average_precision(queries, database, asked, labels, k=3)
    assert third.tolist() == [pytest.approx((1 + 2 / 3) / 2), pytest.approx(1 / 2), 0, 0]
    every = average_precision(queries, database, asked, labels)
    assert every.tolist() == pytest.approx([(1 + 2 / 3) / 2, (1 / 2 + 2 / 5) / 2, 1 / 4, 0])


def test_ties_are_in_the_order_of_the_database(rank):
    database = np.array([[3], [0], [1], [0], [2], [0], [4]], np.uint8)
    indices, distances = hamming_ranking(np.zeros((1, 1), np.uint8), database, k=5)
    assert indices.tolist() == [[1, 3, 5, 2, 4]]
    assert distances.tolist() == [[0, 0, 0, 1, 1]]
    assert hamming_ranking(np.zeros((1, 1), np.uint8), np.zeros((600, 1), np.uint8))[0].tolist() == [list(range(200))]


@pytest.mark.parametrize("flip", [0.0, 0.02, 0.5])
def test_ranking_is_that_of_faiss(flip):
    faiss = pytest.importorskip("faiss")
    centres = np.where(RNG.random((10, 64)) < 0.5, -1, 1)
    queries, database = (
        pack(centres[RNG.integers(10, size=count)] * np.where(RNG.random((count, 64)) < flip, -1.0, 1.0))
        for count in (50, 20_000)
    )
    distances, indices = faiss.knn_hamming(queries, database, 200, variant="mc")
    ours = hamming_ranking(queries, database)
    assert np.array_equal(ours[0], indices)
    assert np.array_equal(ours[1], distances)


def test_threads_and_chunks_make_no_difference(monkeypatch):
    queries, database = (RNG.integers(4, size=(count, 8), dtype=np.uint8) for count in (101, 1000))
    labels = RNG.integers(5, size=101), RNG.integers(5, size=1000)
    one = *hamming_ranking(queries, database, 70), average_precision(queries, database, *labels, 70)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 5)
    for chunk in (1, 7 * 70, 100 * 70):
        monkeypatch.setattr(ranking, "_CHUNK", chunk)
        other = *hamming_ranking(queries, database, 70), average_precision(queries, database, *labels, 70)
        assert all(map(np.array_equal, one, other))


def test_labels_may_be_tensors_and_codes_views():
    queries, database = RNG.integers(256, size=(2, 40, 8), dtype=np.uint8)
    labels = torch.from_numpy(RNG.integers(5, size=(2, 40)))
    expected = average_precision(queries.copy(), database.copy(), *labels.numpy())
    database.setflags(write=False)
    wide = np.repeat(queries, 2, axis=1)[:, ::2]
    assert np.array_equal(average_precision(wide, np.asfortranarray(database), *labels), expected)


def test_memory_does_not_grow_with_the_queries(monkeypatch):
    queries, database = (RNG.integers(256, size=(count, 8), dtype=np.uint8) for count in (4000, 2000))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    tracemalloc.start()
    average_precision(queries, database, np.zeros(4000), np.zeros(2000), k=2000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 30e6  # the ranking of all is 96 MB


CODES, LABELS = np.zeros((3, 8), np.uint8), np.zeros(3)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((CODES, np.zeros((3, 4), np.uint8), LABELS, LABELS), "64 bits, the database 32"),
        ((CODES, CODES[:0], LABELS, LABELS[:0]), "database is empty"),
        ((CODES[:0], CODES, LABELS[:0], LABELS), "no queries"),
        ((CODES, CODES, LABELS, LABELS, 0), "k is 0"),
        ((CODES, CODES, LABELS, LABELS, -5), "k is -5"),
        ((CODES, CODES, LABELS[:2], LABELS), r"queries have shape \(2,\); give one for each of the 3"),
        ((CODES, CODES, LABELS, np.zeros((3, 10))), r"database have shape \(3, 10\)"),
        ((np.zeros((3, 64)), CODES, LABELS, LABELS), "queries are float64"),
        ((CODES, CODES[0], LABELS, LABELS), r"database are uint8 of shape \(8,\)"),
    ],
)
def test_retrieval_of_bad_input(arguments, words):
    with pytest.raises(InputError, match=words) as error:
        mean_average_precision(*arguments)
    assert "\n" not in str(error.value)


def test_without_numba_numpy_ranks(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm_pushpull.benchmark.hashing._kernel", None)
    try:
        assert importlib.reload(ranking).rank is ranking._rank_in_numpy
    finally:
        monkeypatch.undo()
        importlib.reload(ranking)
