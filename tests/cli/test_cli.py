"""What all commands share: exit codes, help, safe output."""

from __future__ import annotations

import argparse
import dataclasses
import html
import os
import re
import subprocess
import sys
import warnings
from collections.abc import Iterator

import pytest

from support.example_run import TRAINING, some_results
from support.processes import ROOT, assert_one_clear_line, run_command
from timm_pushpull import InputError, __version__, cli
from timm_pushpull.utils.errors import unknown
from timm_pushpull.utils.text import printable

#: Clears the screen, moves the cursor up, reverses what follows, breaks the line in five ways.
HOSTILE = "fog\x1b[2J\x9b1A\u202ered\u2066\n\r\x0b\x85\u2028mCE 0.00\ud800"
#: What may stand in a results file, which is refused with other control characters.
HIDDEN = "fog\u202ered\u2066\n\t\u2028mCE 0.00"


def fail() -> None:
    raise InputError("a line\nand another")


@pytest.mark.parametrize(("command", "code"), [(lambda: None, 0), (lambda: 0, 0), (lambda: 1, 1), (fail, 2)])
def test_exit_codes(run_inside, command, code):
    process = run_inside(command, "name")
    assert process.returncode == code
    if code == 2:
        assert_one_clear_line(process, "name: error: a line and another")


def test_an_interrupt_is_one_line(run_inside):
    def interrupt() -> None:
        raise KeyboardInterrupt

    process = run_inside(interrupt, "name")
    assert (process.returncode, process.stderr) == (130, "name: interrupted\n")


def parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """The parser and those of its sub-commands."""
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for sub_command in action.choices.values():
                yield from parsers(sub_command)


ALL = list(parsers(cli.command_line()))


@pytest.mark.parametrize("parser", ALL, ids=lambda parser: parser.prog)
def test_every_help_has_an_example_that_parses(parser, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    text = parser.format_help()
    assert max(map(len, text.splitlines())) <= 100
    *_, examples = text.partition("\nexamples:\n")
    assert examples
    for line in examples.replace("\\\n", "").splitlines():
        words = line.replace("torchrun --nproc_per_node 8 -m timm_pushpull", "timm-pushpull").split()
        assert words[: len(parser.prog.split())] == parser.prog.split()
        if "--help" not in words:
            cli.command_line().parse_args(words[1:])


@pytest.mark.parametrize("parser", ALL, ids=lambda parser: parser.prog)
def test_every_optional_argument_states_its_default(parser):
    for action in parser._actions:
        if action.nargs == 0 or action.required or not (action.option_strings or action.nargs in ("?", "*")):
            continue
        assert action.nargs == "*" or "(default: " in action.help or "one for every" in action.help, action.dest


def test_the_version(capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(["--version"])
    assert (end.value.code, capsys.readouterr().out) == (0, f"timm-pushpull {__version__}\n")


def test_as_a_module():
    process = run_command("-m", "timm_pushpull", "corupt")
    assert_one_clear_line(process, "timm-pushpull: error: ", "invalid choice: 'corupt'", "--help")


def test_a_reader_that_ends_early_is_no_error(tmp_path):
    results = some_results()
    results.save(tmp_path / "results.json")
    reader, writer = os.pipe()
    os.close(reader)  # before the command writes, as a reader that ends is in time for no line or for some
    command = [sys.executable, "-m", "timm_pushpull", "info", tmp_path / "results.json"]
    process = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, cwd=ROOT, check=False)
    os.close(writer)
    assert (process.returncode, process.stderr) == (141, "")


def test_printable():
    assert printable(HOSTILE) == (r"fog\x1b[2J\x9b1A\u202ered\u2066\n\r\x0b\x85\u2028mCE 0.00\ud800")
    plain = "Größe 猫 קוד 🌫 a-b_c/d.e"
    assert printable(plain) == plain
    assert printable("x" * 2000) == "x" * 2000
    assert printable("x" * 10**6) == "x" * 1999 + "…"


def test_unknown_names_get_the_nearest_ones():
    known = [f"network_{number:03}" for number in range(300)]
    assert str(unknown("model", "netwrk_007", known)) == "unknown model 'netwrk_007'; did you mean 'network_007'?"
    far = str(unknown("model", "QQ", known, "the list"))
    assert re.fullmatch(r"unknown model 'QQ'; the nearest of 300 are (network_\d+, ){4}network_\d+; the list .*", far)
    assert str(unknown("model", "QQ", ["b", "a"])) == "unknown model 'QQ'; known: a, b"
    assert len(str(unknown("model", "Q" * 10**6, known))) < 300


def assert_harmless(output: str) -> None:
    """Nothing but printable characters and line breaks of our own."""
    assert not re.search(r"[^\S \n]", output)
    assert all(c == "\n" or c.isprintable() for c in output)


def test_text_of_strangers_does_not_reach_the_terminal(tmp_path, run_inside):
    results = some_results(
        HIDDEN,
        dataset=HIDDEN,
        split=HIDDEN,
        command=HIDDEN,
        hardware=HIDDEN,
        versions={HIDDEN: HIDDEN},
        training=dataclasses.replace(TRAINING, origin=HIDDEN),
        errors={"fog": [0.1] * 5, HIDDEN: [0.1] * 5},
    )
    results = dataclasses.replace(results, baseline=results.as_baseline())
    results.save(tmp_path / "results.json")
    for arguments in (
        ["info", tmp_path / "results.json"],
        *(["compare", *[tmp_path / "results.json"] * 2, "--format", kind] for kind in ("table", "markdown", "csv")),
    ):
        process = run_inside(lambda: cli.main(None), "timm-pushpull", *arguments)
        assert process.returncode == 0, process.stderr
        assert_harmless(process.stdout)
        assert r"fog\u202ered\u2066\n\t\u2028" in html.unescape(process.stdout)  # Markdown escapes the backslash
        assert not [line for line in process.stdout.splitlines() if line.startswith("mCE 0.00")]


def test_text_of_strangers_in_errors_and_warnings(run_inside):
    def fail() -> None:
        raise InputError(HOSTILE)

    line = r"fog\x1b[2J\x9b1A\u202ered\u2066 mCE 0.00\ud800"
    process = run_inside(fail, "name")
    assert (process.returncode, process.stderr) == (2, f"name: error: {line}\n")
    assert warnings.formatwarning(HOSTILE, UserWarning, "file.py", 1) == f"name: warning: {line}\n"
