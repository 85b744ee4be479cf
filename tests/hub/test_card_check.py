"""Cards that say otherwise than their release are found out; what their owners may edit is let be."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.example_card import PAIR, card_of
from support.example_run import some_results
from timm_pushpull.hub.card import discrepancies

CARD = card_of(PAIR)


def digits_at(card: str) -> list[int]:
    """Where figures of the metadata and of the tables have their digits."""
    places = []
    for line in re.finditer(r"^(    - type|      value: |\| ).*$", card, re.M):
        if not line[0].startswith("    -"):
            places += [line.start() + found.start() for found in re.finditer(r"\d", line[0])]
    return places


@pytest.mark.parametrize("line", [" ", "\t", " -", "-|", "| ", "|-", "1.", "1 ", "`", "http://"])
def test_long_lines_take_no_time(line):
    start = time.monotonic()
    discrepancies(f"{CARD}\na|b\n{line * (200_000 // len(line))}x\n", CARD)
    assert time.monotonic() - start < 5


def other_digit(card: str, place: int, by: int) -> str:
    return card[:place] + str((int(card[place]) + by) % 10) + card[place + 1 :]


def test_every_digit_counts():
    card = card_of(
        some_results(
            errors={"fog": [0.1, None, 0.3, None, 0.523]},
            baseline=some_results("resnet18_cifar", errors={"fog": [0.2, None, 0.4, None, 0.4]}).as_baseline(),
        )
    )
    places = digits_at(card)
    assert len(places) > 100
    for place in places:
        assert discrepancies(other_digit(card, place, 1), card), card[place - 40 : place + 10]


@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.too_slow])
@given(place=st.sampled_from(digits_at(CARD)), by=st.integers(1, 9))
def test_any_digit_of_a_full_card(place, by):
    assert len(discrepancies(other_digit(CARD, place, by), CARD)) >= 1


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("| snow | 10.0 | 20.0 | 30.0", "| snow | 10.0 | 20.0 | 3.0",
         "table 'corruption', row 'snow', column '3': the card says 3.0, the results 30.0"),
        ("| snow | 10.0 | 20.0", "| snow | 10.0", "column '2': the card says 30.0, the results 20.0"),
        ("| snow |", "| sleet |", "row 'sleet': not in the results"),
        ("| snow |", "| sleet |", "row 'snow': not in the card"),
        ("| corruption | 1 |", "| corruption | one |", "table 'corruption': not in the card"),
        ("## Intended use", "It is 99.9 % right.\n\n## Intended use",
         "the card's text says 99.9, which is not in the results: 'It is 99.9 % right.'"),
        ("## Intended use", "Errors: .07\n\n## Intended use", ".07, which is not in the results"),
        ("## Intended use", "| other | error |\n|--|--|\n| this | 12.3 |\n\n## Intended use", "12.3, which is not"),
        ("## Intended use", "It is half right: 50%.\n\n## Intended use", "says 50, which is not in the results"),
        ("mCE 19.1% to 20.9%", "mCE 19.1% to 20.8%", "says 20.8, the release 20.9"),
        ("- **Data:** 100 images", "- **Data:** 1,000 images", "says 1,000, the release 100"),
        ("Params (M): 11.2", "Params (M): 0.56", "the card's text says 0.56, the release 11.2: '- Params"),
        ("value: 0.05\n", "value: 0.5\n", "photos, photos, test, error: the card says 0.5, the results 0.05"),
        ("config: fog-1", "config: fog-9", "fog-9, test, error: the card says 0.1, the results nothing"),
        ("config: fog-1", "config: fog-9", "fog-1, test, error: not in the card"),
        ("license: apache-2.0", "license: mit", "metadata, license: the card says 'mit', the release 'apache-2.0'"),
        ("library_name: timm\n", "", "metadata, library_name: the card says None"),
        ("- common-corruptions\n", "", "metadata, tags: the card lacks common-corruptions"),
        ("model-index:\n", "model-index: 3\nx:\n", "metadata, model-index: it is not in the Hub's form"),
        ("split: test", "split: [1]", "metadata, model-index: it is not in the Hub's form ([1] is not text)"),
        ("license: apache-2.0", "license: [", "front matter is not YAML"),
        ("---\n", "", "front matter is not YAML"),
    ],
)  # fmt: skip
def test_what_is_false_is_named(old, new, line):
    assert old in CARD
    found = discrepancies(CARD.replace(old, new, 1), CARD)
    assert any(line in text for text in found), found
    assert all("\n" not in text for text in found)
    if "YAML" in line:
        assert len(found) == 1


def test_an_owner_may_edit():
    assert discrepancies(CARD, CARD) == []
    card = CARD.replace("\n", "\r\n").replace("Apache-2.0.", "ours, under Apache-2.0.")
    card = card.replace("- **Not for** decisions about people", "- Never for decisions on people")
    card = card.replace("- **mCE:** mean", f"- It reaches an mCE of {PAIR.mce:.2%}, the mean")
    card = card.replace(
        "## Citation", "## News\n\nSee https://arxiv.org/abs/1512.03385 \n\n```\nx = 0.123\n```\n\n## Citation"
    )
    card = re.sub(r" \| ", "  |  ", card)
    assert discrepancies(card, CARD) == []
    assert discrepancies(card.replace("x = 0.123\n```", "```\nx = 0.123"), CARD)
