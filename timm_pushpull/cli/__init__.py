"""The command `timm-pushpull`, one module per sub-command, and what the project's scripts share with it."""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import NoReturn

from timm_pushpull import __version__
from timm_pushpull.cli import benchmark, compare, corrupt, info, plot, report
from timm_pushpull.cli.parser import Parser
from timm_pushpull.utils.errors import InputError, Interrupted, redacted
from timm_pushpull.utils.text import printable

__all__ = ["Parser", "command_line", "main", "run"]


def run(command: Callable[[], int | None], name: str) -> NoReturn:
    """Run a command and exit with the code that it returns, 0 for None.

    - `InputError`: one line on stderr, exit code 2.
    - Ctrl-C: one line on stderr, exit code 130. SIGTERM: likewise, exit code 143; a second one ends at once.
    - The reader of stdout has ended, such as `head`: nothing, exit code 141, as for a program that SIGPIPE ends.

    Args:
        command: What to run.
        name: What lines on stderr begin with.
    """
    in_main_thread = threading.current_thread() is threading.main_thread()
    if in_main_thread and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _terminate)
    warnings.formatwarning = lambda message, *_, **__: f"{name}: warning: {_one_line(message)}\n"
    sys.excepthook = _print_traceback
    try:
        code = command()
        sys.stdout.flush()  # here, not at exit, where a broken pipe cannot be caught
    except InputError as error:
        print(f"{name}: error: {_one_line(error)}", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes stdout once more at exit
        sys.exit(141)
    except KeyboardInterrupt as error:
        number, message = getattr(error, "signal", signal.SIGINT), getattr(error, "message", None)
        if message is None:
            message = "interrupted" if number == signal.SIGINT else "terminated"
        if message:
            print(f"{name}: {_one_line(message)}", file=sys.stderr)
        sys.exit(128 + number)
    finally:
        if in_main_thread and signal.getsignal(signal.SIGTERM) == _terminate:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
    sys.exit(code or 0)


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    signal.signal(number, signal.SIG_DFL)
    raise Interrupted(number)


def _print_traceback(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print the traceback of a fault of ours, which people put into issues, without secrets."""
    lines = redacted("".join(traceback.format_exception(kind, error, trace))).splitlines()
    print("\n".join(map(printable, lines)), file=sys.stderr)


def _one_line(message: object) -> str:
    return printable(redacted(" ".join(str(message).split())))


def command_line() -> Parser:
    """The parser of all sub-commands."""
    parser = Parser(
        prog="timm-pushpull",
        description="Measure and compare the robustness of image classifiers to image corruptions.",
        epilog="examples:\n"
        "  timm-pushpull benchmark --model resnet50.a1_in1k --dataset my_images --output plain.json\n"
        "  timm-pushpull compare plain.json pushpull.json\n"
        "  timm-pushpull COMMAND --help",
    )
    parser.add_argument("--version", action="version", version=f"timm-pushpull {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in (benchmark, corrupt, compare, info, plot, report):
        command.add(commands)
    return parser


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run `timm-pushpull` with these arguments, by default the command line's."""
    options = command_line().parse_args(arguments)
    run(lambda: options.run(options), f"timm-pushpull {options.command}")
