"""YAML of others: aliases that multiply, depth and size end in one line, wherever it is read."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import yaml

from support.example_run import SMALL, write_run
from timm_pushpull import InputError
from timm_pushpull.hub import Release
from timm_pushpull.hub.card import discrepancies
from timm_pushpull.utils.yaml_text import MAX_CHARACTERS, MAX_DEPTH, load_yaml
from train.run_queue import read_datasets
from train.settings import load_recipe
from train.study import Study

#: 10 to the power of 9 values in less than 1 kB.
LAUGHS = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 10))
HOSTILE = {
    "aliases": (LAUGHS, "has the alias \\*a0"),
    "merge": ("base: &base {epochs: 1}\nother: {<<: *base}\n", "has the alias \\*base"),
    "depth": ("models: " + "[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1) + "\n", "nested more than 20 levels"),
    "brackets": ("[" * 100_000, "nest(ed more than 20 levels|ing depth)"),
    "size": ("#" * (MAX_CHARACTERS + 1), "at most 1,048,576 are accepted"),
    "date": ("epochs: 2026-02-31\n", "day is out of range|month"),
    "number": ("epochs: 1" + "0" * 5000 + "\n", "limit"),
    "object": ("epochs: !!python/object/apply:os.getcwd []\n", "could not determine a constructor"),
}
EACH = pytest.mark.parametrize(("text", "message"), HOSTILE.values(), ids=HOSTILE)


@EACH
def test_hostile_yaml_is_refused_at_once(text, message):
    start = time.monotonic()
    with pytest.raises(yaml.YAMLError, match=message):
        load_yaml(text)
    assert time.monotonic() - start < 5


def test_plain_yaml_is_read_as_by_yaml():
    text = "models: [a, b]\nlr: 1.0e-3\nnested: {x: {y: [1, null, true]}}\ntext: '*no alias'\n"
    assert load_yaml(text) == yaml.safe_load(text)


@EACH
def test_a_recipe_of_others_is_refused(text, message, tmp_path):
    write_run(tmp_path / "run", **SMALL)
    (tmp_path / "run" / "recipe.yaml").write_text(text)
    with pytest.raises(InputError, match=r"recipe\.yaml"):
        Release.load(tmp_path / "run")
    with pytest.raises(InputError, match=message):
        load_recipe(tmp_path / "run" / "recipe.yaml")


@EACH
def test_a_plan_or_list_of_datasets_is_refused(text, message, tmp_path):
    Path(tmp_path / "plan.yaml").write_text(text)
    for read in (Study.load, lambda folder: read_datasets(folder / "plan.yaml")):
        with pytest.raises(InputError, match=message):
            read(tmp_path)


@EACH
def test_the_front_matter_of_a_card_is_refused(text, message):
    (line,) = discrepancies(f"---\n{text}\n---\n\n# Model card\n", "---\nlicense: mit\n---\n\n# Model card\n")
    assert line.startswith("the card's front matter is not YAML")
