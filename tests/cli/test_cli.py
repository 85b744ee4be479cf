"""What all commands share."""

from __future__ import annotations

import sys

import pytest

from support.processes import assert_one_clear_line, run_command
from timm_pushpull import InputError, cli


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


@pytest.mark.parametrize("command", ["benchmark", "compare", "corrupt", "info", "plot", "report"])
def test_every_command_has_help(monkeypatch, capsys, command):
    monkeypatch.setattr(sys, "argv", ["timm-pushpull", command, "--help"])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 0
    assert f"timm-pushpull {command}" in capsys.readouterr().out


def test_as_a_module():
    process = run_command("-m", "timm_pushpull.cli", "corupt")
    assert_one_clear_line(process, "invalid choice: 'corupt'", "--help")
