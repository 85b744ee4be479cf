"""Show a study: many small training runs that each differ in one setting, with several seeds.

examples:
  python train/study.py                               # print what has been run, and what has not
  python train/study.py --page model_cards/study.md   # write a page with the conclusions, too
  python train/study.py --figure study.png --rows pushpull pushpull5   # errors by corruption
  python train/study.py --tradeoff tradeoff.png                        # clean error against mCE
  python train/run_queue.py --datasets FILE           # train and measure the rest of the studies

A study is a folder with a `plan.yaml`; the results of a row and seed are in it as ROW.SEED.json.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # see train/__init__.py

from timm_pushpull import cli, metrics
from timm_pushpull.benchmark import paper
from timm_pushpull.benchmark.results import Results, Training
from timm_pushpull.figures import check_output, plot_corruption_intervals, plot_tradeoff, save_figure
from timm_pushpull.utils import markdown
from timm_pushpull.utils.errors import InputError, unknown
from timm_pushpull.utils.files import write_file
from timm_pushpull.utils.text import say
from train.study_plan import Interval, Row, Study, fixed_alpha

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STUDIES = Path(__file__).resolve().parent / "studies"
NOT_RUN = "not run"


def main() -> None:
    parser = cli.Parser(
        prog="study.py",
        description=__doc__,
    )
    parser.add_argument(
        "--page", type=Path, metavar="FILE", help="write the study as a Markdown page (default: print a summary)"
    )
    parser.add_argument(
        "--study", type=Path, default=STUDIES / "cifar10", help="folder of the study (default: train/studies/cifar10)"
    )
    parser.add_argument(
        "--figure", type=Path, metavar="FILE", help="draw the errors by corruption, with their intervals over the seeds"
    )
    parser.add_argument(
        "--tradeoff",
        type=Path,
        metavar="FILE",
        help="draw clean error against mCE, means over the seeds; a line connects the rows with a fixed alpha",
    )
    parser.add_argument(
        "--rows", nargs="+", metavar="ROW", help="rows of the figures (default: all that were run with two seeds)"
    )
    options = parser.parse_args()
    study = Study.load(options.study)
    figures = [(options.figure, by_corruption_figure), (options.tradeoff, trade_off_figure)]
    figures = [(path, draw) for path, draw in figures if path]
    if options.rows and not figures:
        raise InputError("--rows chooses the rows of a figure; give --figure or --tradeoff, too")
    for path, _ in figures:
        check_output(path)
    for path, draw in figures:
        save_figure(draw(study, options.rows), path)
        say(f"written to {path}")
    if options.page:
        write_file(options.page, page(study))
        say(f"written to {options.page}")
    if not figures and not options.page:
        print(table(study))


def table(study: Study) -> str:
    """What came out, as Markdown: means and standard deviations over the seeds, in %, mrCE with its 95 % interval."""
    published = {(row.dataset, row.label): row for row in paper.load(study.table)} if study.table else {}
    first = f"row of Table {study.table.removeprefix('table')}" if study.table else "training"
    header = [first, "network", "seeds", "E, %", "mCE, %", "mrCE, %"]
    header += ["published mrCE, %"] if study.table else []
    lines = []
    for row in study.rows.values():
        known = next((f for d in ("CIFAR10", "ImageNet") if (f := published.get((d, row.label)))), None)
        theirs = f"{100 * known.mrce:.1f} ({known.dataset})" if known and known.mrce else ""
        done = list(row.results.values())
        if not done:
            lines.append([row.label, row.network, NOT_RUN, "", "", "", theirs][: len(header)])
            continue
        seeds = str(len(done)) if len(done) == len(row.seeds) else f"{len(done)} of {len(row.seeds)}"
        clean = mean_and_deviation([100 * results.clean_error for results in done if results.clean_error is not None])
        mce = mean_and_deviation([100 * results.mce for results in done if results.mce is not None])
        lines.append([row.label, row.network, seeds, clean, mce, row.mrce_text(), theirs][: len(header)])
    return markdown.table(header, lines, words=2)


def mean_and_deviation(values: Sequence[float]) -> str:
    """Mean and, where there are several values, standard deviation."""
    mean = f"{statistics.mean(values):.1f}"
    return f"{mean} ± {statistics.stdev(values):.1f}" if len(values) > 1 else mean


def trade_off(study: Study) -> str:
    """What robustness costs: the difference in clean error, and R_net (Eq. 13), with 95 % intervals over seeds."""
    lines = []
    for row, _ in study.compared():
        clean, net = [], []
        for own, base in row.pairs().values():
            assert own.clean_error is not None
            assert base.clean_error is not None
            assert own.mce is not None
            assert base.mce is not None
            clean.append(own.clean_error - base.clean_error)
            net.append(metrics.net_error_reduction(own.clean_error, own.mce, base.clean_error, base.mce))
        lines.append([study.name(row), Interval.of(clean).text(), Interval.of(net).text()])
    return markdown.table(["network", "clean error, points", "R_net, %"], lines)


def by_frequency(study: Study) -> str:
    """The relative errors in the frequency groups of the paper's Table 4, with their 95 % intervals over seeds."""
    rows = [row for row, _ in study.compared()]
    means = [[metrics.by_frequency(relative) for relative in row.relative_errors().values()] for row in rows]
    names = list(means[0][0])
    lines = [
        [study.name(row), *(Interval.of([groups[name][0] for groups in seeds]).text() for name in names)]
        for row, seeds in zip(rows, means, strict=True)
    ]
    return markdown.table(["network", *(f"{name} frequency" for name in names)], lines)


def by_corruption(study: Study) -> str:
    """The relative errors per corruption, one network a column."""
    rows = [row for row, _ in study.compared()]
    columns = [row.by_corruption() for row in rows]
    lines = [[corruption, *(column[corruption].text() for column in columns)] for corruption in columns[0]]
    return markdown.table(["corruption", *(study.name(row) for row in rows)], lines)


def by_corruption_figure(study: Study, names: Sequence[str] | None = None) -> Figure:
    """Draw the relative errors by corruption of some rows, with their 95 % intervals over seeds; see `_drawn_rows`."""
    rows, baseline = _drawn_rows(study, names)
    measured = {}
    for row in rows:
        intervals = row.by_corruption()
        if mrce := row.mrce():
            intervals["mrCE"] = mrce
        measured[_plain_name(study, row)] = {name: (one.mean, *one.bounds()) for name, one in intervals.items()}
    counts = sorted({len(row.pairs()) for row in rows})
    over = f"{counts[0]}{f' to {counts[-1]}' if len(counts) > 1 else ''} training seeds"
    return plot_corruption_intervals(next(iter(baseline.results.values())), measured, over, study.note)


def trade_off_figure(study: Study, names: Sequence[str] | None = None) -> Figure:
    """Draw clean error against mCE, means over the seeds that all rows share; see `_drawn_rows`.

    A line connects the rows of a network with a fixed alpha.
    """
    rows, baseline = _drawn_rows(study, names)
    seeds = sorted(set.intersection(*(set(row.pairs()) for row in rows)))
    if not seeds:
        raise InputError("the rows share no seed; name some that do with --rows")
    points, series = [], dict[str, list[tuple[float | None, Results]]]()
    for row in rows:
        mean, alpha = _mean(row, seeds, _plain_name(study, row)), fixed_alpha(row.settings.model_args)
        if alpha is None:
            points.append(mean)
        else:
            series.setdefault(f"{row.model}, fixed α", []).append((float(alpha), mean))
    connected = {label: sorted(members, key=lambda member: member[0] or 0) for label, members in series.items()}
    text = f"Means over the training seeds {', '.join(map(str, seeds))}. {study.note}"
    return plot_tradeoff(_mean(baseline, seeds, baseline.model), points, connected, note=text)


def _mean(row: Row, seeds: Sequence[int], model: str) -> Results:
    """Results with the mean errors over some seeds."""
    done = [row.results[seed] for seed in seeds]
    errors = {
        name: [_mean_of(column) for column in zip(*(results.errors[name] for results in done), strict=True)]
        for name in done[0].errors
    }
    return replace(done[0], model=model, clean_error=_mean_of([results.clean_error for results in done]), errors=errors)


def _mean_of(values: Sequence[float | None]) -> float | None:
    """The mean; None where a value was not measured."""
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if len(known) == len(values) else None


def _plain_name(study: Study, row: Row) -> str:
    return study.name(row).replace("`", "")


def _drawn_rows(study: Study, names: Sequence[str] | None) -> tuple[list[Row], Row]:
    """The rows of a figure, and their baseline.

    Args:
        names: Names of rows (default: all that were run, and their baseline, with at least two seeds).

    Raises:
        InputError: Unknown rows, rows that were not run with at least two seeds, or rows of several baselines.
    """
    found = {row.name: row for row, _ in study.compared()}
    for name in names or ():
        if name not in study.rows:
            raise unknown("row", name, study.rows)
        if name not in found:
            raise InputError(f"row {name!r} has no baseline, or fewer than two seeds were run; leave it out")
    rows = [found[name] for name in names or found]
    baselines = {row.baseline.name: row.baseline for row in rows if row.baseline}
    if not baselines:
        raise InputError(f"study {study.folder.name} has no rows with two seeds so far")
    if len(baselines) > 1:
        raise InputError(f"the rows have several baselines ({', '.join(sorted(baselines))}); choose with --rows")
    return rows, next(iter(baselines.values()))


def conclusion(study: Study) -> str:
    """What follows from the intervals of mrCE, in one sentence."""
    verdicts: dict[str, list[str]] = {"fewer": [], "more": [], "undecided": []}
    for row, mrce in study.compared():
        low, high = mrce.bounds()
        verdict = "fewer" if high < 1 else "more" if low > 1 else "undecided"
        verdicts[verdict].append(f"{study.name(row)} ({mrce.text()} %)")
    if not study.compared():
        return "No network and its baseline have been run with two seeds so far, so nothing follows."
    parts = []
    for verdict in ("fewer", "more"):
        if verdicts[verdict]:
            verb = "makes" if len(verdicts[verdict]) == 1 else "make"
            parts.append(f"{_listed(verdicts[verdict])} {verb} {verdict} errors under corruption than the baseline")
    if verdicts["undecided"]:
        names = _listed(verdicts["undecided"])
        parts.append(f"the study does not decide it for {names}: 100 % is in the interval")
    return f"By the 95 % intervals of mrCE, {'; '.join(parts)}."


def _listed(names: Sequence[str]) -> str:
    """`a, b and c`."""
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def page(study: Study) -> str:
    """The study as a Markdown page."""
    parts = [f"# Study: {study.folder.name}", study.remarks, table(study)]
    done = [results for row in study.rows.values() for results in row.results.values()]
    run = "`python train/run_queue.py --datasets FILE` runs what is missing of the studies in `train/queue.yaml`"
    if not done:
        return "\n\n".join([*parts, f"Nothing has been run yet. {run}."]) + "\n"
    parts.append(" ".join([_methods(done), *_precisions(study)]))
    parts += ["## What follows", conclusion(study)]
    if study.compared():
        parts += [
            "An mrCE below 100 % means fewer errors than the baseline's. Its interval is Student's t over the seeds, "
            "paired: the errors of each seed are relative to those of the baseline trained with the same seed. The "
            "intervals are not corrected for their number: on average, one in twenty misses the true value. They cover "
            "the chance in training these networks, not other networks or data; all networks are measured on the same "
            "test images.",
            *_other_hardware(study),
            "## Clean error and trade-off",
            "The difference in clean error from the baseline, and R_net, the paper's net error reduction (Eq. 13). "
            "Above 0 %, the gain under corruption outweighs the loss on clean images.",
            trade_off(study),
            "## By frequency of the corruption",
            "Errors relative to the baseline's in percent, means over the corruptions of a group as in the paper's "
            "Table 4.",
            by_frequency(study),
            "## By corruption",
            "Errors relative to the baseline's in percent.",
            by_corruption(study),
        ]
    commits = ", ".join(f"`{commit[:10]}`" for commit in sorted({results.commit for results in done if results.commit}))
    hours = sum(results.training.seconds or 0 for results in done if results.training) / 3600
    parts.append(
        f"{run}. The results files are in `train/studies/{study.folder.name}`, made by commit {commits} in {len(done)} "
        f"runs ({hours:.1f} h of training)."
    )
    return "\n\n".join(parts) + "\n"


def _precisions(study: Study) -> list[str]:
    """A sentence on the precision of the training and of the measurement, by row where it differs."""
    rows: dict[str, list[str]] = {}
    for row in study.rows.values():
        for precision in sorted({name for results in row.results.values() for name in _precision(results)}):
            rows.setdefault(precision, []).append(study.name(row))
    if not rows:
        return []
    usual, *others = sorted(rows, key=lambda precision: -len(rows[precision]))
    exceptions = "".join(f"; {_listed(rows[precision])} in {precision}" for precision in others)
    return [f"Training and measurement are in {usual}{exceptions}."]


def _precision(results: Results) -> set[str]:
    known = (results.training or Training()).precision
    return {results.precision, known or results.precision}


def _other_hardware(study: Study) -> list[str]:
    """A paragraph on the rows that were not trained on the hardware of their baseline; none where there are none."""
    names = [
        study.name(row)
        for row, _ in study.compared()
        if any(_hardware(own) != _hardware(base) for own, base in row.pairs().values())
    ]
    if not names:
        return []
    return [
        f"Some or all runs of {_listed(names)} were on other hardware than the baseline's with the same seed, or in "
        f"another precision. Rounding differs there, so pairing removes less of the chance."
    ]


def _hardware(results: Results) -> tuple[str | None, set[str]]:
    return (results.training or Training()).hardware, _precision(results)


def _methods(done: Sequence[Results]) -> str:
    """How the networks were trained and measured."""
    one, training = done[0], done[0].training or Training()
    return (
        f"E is the error on clean images{' (1 - mAP)' if one.task == 'retrieval' else ''}; E and mCE are means ± "
        f"standard deviations over training seeds. mCE is the mean error over corruptions and severities, not "
        f"AlexNet-normalised. mrCE is the mean over corruptions of the error divided by the baseline's, with its 95 % "
        f"interval over seeds; below 100 % is more robust. "
        f"Each network was trained for {training.epochs} epochs on {training.images or 0:,} images of {one.dataset} "
        f"and measured on {one.num_images:,} test images, clean and under 15 corruptions at 5 severities (preset "
        f"{one.preset}, corruption seed {one.seed}, {(one.frost or '').split(',')[0]} frost)."
    )


if __name__ == "__main__":
    cli.run(main, "study.py")
