"""What a run says first, and what it says last."""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Sequence
from pathlib import Path

from accelerate import Accelerator

from timm_pushpull.benchmark.comparison import MCE, RELATIVE, Comparison, caveats
from timm_pushpull.benchmark.results import Intervals, Results
from timm_pushpull.corruptions import CORRUPTIONS, SEVERITIES
from timm_pushpull.data.loading import DIGITS
from timm_pushpull.utils import hardware
from timm_pushpull.utils.markdown import percentage, table
from timm_pushpull.utils.text import printable
from train.batches import steps_per_epoch
from train.data import Data
from train.run_folder import RunFolder
from train.settings import Settings

_WIDTH = 100


def print_start(
    settings: Settings, data: Data, recipe: str, output: Path, accelerator: Accelerator, measures: bool
) -> None:
    """Say what is going to happen, and on what machine.

    Args:
        recipe: Its name or file.
        measures: Whether the networks are measured after training.
    """
    images, cells = len(data.train), 1 + len(CORRUPTIONS) * len(SEVERITIES)
    processes = f"{accelerator.num_processes} processes" if accelerator.num_processes > 1 else "1 process"
    steps = steps_per_epoch(images, settings.batch_size)
    epochs = "1 epoch" if settings.epochs == 1 else f"{settings.epochs} epochs"
    work = f"{epochs} of {steps:,} steps with {settings.batch_size:,} images each"
    if measures:
        measured = len(data.test.subset(settings.benchmark_limit))
        work += f"; then {measured:,} test images, clean and under {cells - 1} corruptions"
    if len(settings.models) > 1:
        work += "; for each network"
    if recipe == "digits" and settings.dataset != DIGITS:
        recipe += f", made for handwritten digits (hflip {settings.hflip:g}, crop_padding {settings.crop_padding})"
        recipe += "; for photographs: --recipe imagenette"
    lines = [
        f"recipe:   {recipe}",
        f"networks: {', '.join(settings.names)}",
        f"images:   {images:,} to train and {len(data.test):,} to test, of {data.test.name}, {settings.img_size} px, "
        f"{len(data.test.classes):,} classes",
        f"device:   {hardware.describe(accelerator.device)}, {settings.precision}, {processes}",
        f"work:     {work}",
        f"output:   {output}",
    ]
    accelerator.print("\n".join(map(printable, lines)) + "\n")


def print_summary(measured: Sequence[tuple[RunFolder, Results]], baseline: Results) -> None:
    """Say what was reached, how sure it is, and what to do with it."""
    found = [results for _, results in measured]
    compared = [Comparison.of(results, baseline) for results in found if results is not baseline]
    print(f"\n{summary(baseline, compared)}\n")
    paths = [shlex.quote(str(folder.path)) for folder, _ in measured]
    print("Look at the result:")
    for command, options in (
        ("compare", ""),
        ("plot severity", " -o severity.png"),
        ("report", " -o report.html"),
    ):
        if len(paths) > 1 or compared or command != "compare":
            print(f"  timm-pushpull {command} {' '.join(paths)}{options}")
    print("\nLoad the result:")
    for folder, _ in measured:
        print(
            f'  python -c "import timm, timm_pushpull; '
            f"model = timm.create_model('local-dir:{folder.path}', pretrained=True)\""
        )


def summary(baseline: Results, compared: Sequence[Comparison]) -> str:
    """The errors as a table of at most 100 columns, with a few sentences on what they mean.

    Args:
        baseline: What the others are compared with; its own row comes first.
    """
    notes = [
        f"Errors ({baseline.error_name}) on {baseline.num_images:,} test images, in brackets their 95 % intervals over "
        f"images. {MCE}"
    ]
    rows = [[f"{baseline.model}{' (baseline)' if compared else ''}", *_errors(baseline)]]
    header = ["network", "clean error", "mCE"]
    if compared:
        header += ["mrCE", "R_net"]
        rows[0] += [percentage(1), percentage(0)]
        rows += [
            [each.results.model, *_errors(each.results), percentage(each.row.mrce), percentage(each.row.r_net)]
            for each in compared
        ]
        notes.append(RELATIVE)
    notes += [sentence for each in compared for sentence in doubts(each)]
    if compared:
        notes.append("One training run per network: another seed or machine gives other figures.")
        if baseline.dataset == "digits":
            notes[-1] += " The digits show that everything works, not what push-pull does."
    notes += map(str, caveats(baseline, *(each.results for each in compared)))
    for row in rows:
        row[0] = printable(row[0])  # the baseline's is from a file
    text = table([f"{name} (%)" if place else name for place, name in enumerate(header)], rows, aligned=True)
    wrap = textwrap.TextWrapper(_WIDTH, initial_indent="- ", subsequent_indent="  ", break_on_hyphens=False)
    return "\n".join([text, "", *(printable(line) for note in notes for line in wrap.wrap(note))])


def doubts(comparison: Comparison) -> list[str]:
    """Why the difference between a model and its baseline may say nothing about push-pull, in sentences."""
    model, base = comparison.results, comparison.baseline
    within = ["clean error"] * comparison.clean_may_be_chance + ["mCE"] * comparison.may_be_chance
    if not within:
        return []
    text = f"{model.model}: the difference in {' and '.join(within)} from {base.model} lies within chance"
    if "clean error" in within and not model.retrieval:
        assert model.clean_error is not None
        assert base.clean_error is not None
        own, others = (round(error * model.num_images) for error in (model.clean_error, base.clean_error))
        text += f"; {own:,} wrong images of {model.num_images:,} instead of {others:,} decide nothing about push-pull"
    return [f"{text}."]


def _errors(results: Results) -> list[str]:
    """Clean error and mCE with their intervals."""
    intervals = results.intervals or Intervals()
    pairs = ((results.clean_error, intervals.clean_error), (results.mce, intervals.mce))
    return [percentage(*pair) for pair in pairs]
