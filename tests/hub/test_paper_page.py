"""The page on the paper: whole, up to date, and its commands are commands."""

from __future__ import annotations

import re
import shlex

import pytest
import yaml

import paper as page
from support.paths import ROOT, needs_releases
from timm_pushpull import cli
from train.command_line import parse

ENTRIES = yaml.safe_load(page.ENTRIES.read_text(encoding="utf-8"))
ALL = ENTRIES["tables"] | ENTRIES["figures"]
COMMANDS = [
    line
    for entry in ALL.values()
    for line in entry.get("command", "").replace("\\\n", " ").splitlines()
    if line and not line.startswith(("python", "As for"))
]


@needs_releases
def test_the_page_is_up_to_date_and_has_every_table_and_figure():
    text = page.PAGE.read_text(encoding="utf-8")
    assert text == page.page(ENTRIES), "run hub/paper.py"
    headings = re.findall(r"^## (\w+ \d+): ", text, re.M)
    assert headings == [f"Table {n}" for n in range(1, 9)] + [f"Figure {n}" for n in range(1, 11)]
    for photo in re.findall(r"!\[.*\]\((.*)\)", text):
        assert (page.PAGE.parent / photo).is_file(), "run hub/paper.py --figures"
    for target in re.findall(r"\]\(([\w./]+\.(?:md|py))\)", text):
        assert (page.PAGE.parent / target).is_file()


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_are_understood(command):
    program, *arguments = shlex.split(command, comments=True)
    if program == "timm-pushpull":
        cli.command_line().parse_args(arguments)
    else:
        assert [program, *arguments[:2]] == ["accelerate", "launch", "train/train.py"]
        parse(arguments[2:])


def test_commands_name_files_that_exist():
    text = (ROOT / "hub" / "paper.yaml").read_text(encoding="utf-8")
    named = set(re.findall(r"(?:train/studies|hub/releases)/[\w./-]+", text))
    assert named
    assert [path for path in sorted(named) if not (ROOT / path.rstrip(".")).exists()] == []


def test_rows_that_nobody_has_run_say_so(monkeypatch):
    """No figure of ours stands in the page without a results file."""
    monkeypatch.setattr(page, "RELEASES", page.ROOT / "nowhere")
    empty = page.study.Study.load(page.STUDIES / "cifar10")
    for row in empty.rows.values():
        row.results.clear()
    monkeypatch.setattr(page.study.Study, "load", lambda folder: empty)
    text = page.page(ENTRIES)
    assert "rows run" not in text
    for name in ("Table 1", "Table 2", "Table 3", "Table 4", "Table 5", "Table 8"):
        section = text[text.index(f"## {name}: ") :].split("\n## ")[0]
        rows = [line for line in section.splitlines() if line.startswith("| ")][1:]
        assert rows
        assert all(row.endswith("| not run |") for row in rows)
