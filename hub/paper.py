"""Write the page on the paper: each table and figure with its command, the published values and ours.

examples:
  python hub/paper.py             # -> model_cards/paper.md
  python hub/paper.py --figures   # draw the figures in model_cards/figures first

The text is in hub/paper.yaml, the published values are in timm_pushpull.benchmark.paper. Ours come only from the
results files in hub/releases and train/studies.
"""

from __future__ import annotations

import shlex
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import yaml

from timm_pushpull import cli, metrics
from timm_pushpull.benchmark import paper
from timm_pushpull.benchmark.comparison import Comparison, ComparisonRow, published
from timm_pushpull.benchmark.paper import summaries
from timm_pushpull.benchmark.results import Results
from timm_pushpull.models import RELEASES
from timm_pushpull.utils.files import make_folder, write_file
from timm_pushpull.utils.markdown import percent, table
from timm_pushpull.utils.text import say

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path.insert(0, str(ROOT))  # for the package `train` of this checkout

from train import study  # noqa: E402

PAGE = ROOT / "model_cards" / "paper.md"
FIGURES = PAGE.parent / "figures"
ENTRIES = HERE / "paper.yaml"
STUDIES = ROOT / "train" / "studies"
NOT_RUN = "not run"
#: Dataset and label of a row of the paper to the name of our release and its results beside its baseline's.
Ours = dict[tuple[str, str], tuple[str, Comparison]]


def main() -> None:
    parser = cli.Parser(prog="paper.py", description=__doc__)
    parser.add_argument("--figures", action="store_true", help="draw the figures again, too (default: no)")
    parser.add_argument(
        "-o", "--output", type=Path, default=PAGE, metavar="FILE", help="page to write (default: model_cards/paper.md)"
    )
    options = parser.parse_args()
    entries = yaml.safe_load(ENTRIES.read_text(encoding="utf-8"))
    if options.figures:
        make_folder(FIGURES)
        for figure in entries["figures"].values():
            draw(figure)
    write_file(options.output, page(entries))
    say(f"written to {options.output}")


def draw(figure: dict) -> None:
    """Run a figure's command in the checkout's root; ends with its exit code where it fails."""
    if "image" not in figure:
        return
    program, *arguments = shlex.split(figure["command"])
    programs = {"timm-pushpull": ["-m", "timm_pushpull"], "python": []}
    process = subprocess.run([sys.executable, *programs[program], *arguments], cwd=ROOT, check=False)
    if process.returncode:
        sys.exit(process.returncode)


def page(entries: dict) -> str:
    """The page as Markdown."""
    ours = published_releases()
    study2, study5 = (study.Study.load(STUDIES / name) for name in ("cifar10", "cifar10-retrieval"))
    bodies = {
        "table1": table1(ours),
        "table2": table2(study2),
        "table3": table3(),
        "table4": table4(ours),
        "table5": retrieval("table5", study5),
        "table8": retrieval("table8", study5),
    }
    parts = [entries["introduction"].strip(), overview(entries, bodies)]
    for name, entry in entries["tables"].items():
        parts.append(section(name, entry, bodies.get(name)))
    for name, entry in entries["figures"].items():
        image = f"![{entry['title']}]({entry['image']})" if "image" in entry else None
        parts.append(section(name, entry, image))
    return "\n\n".join(parts) + "\n"


def published_releases() -> Ours:
    """The classifiers of the releases that have a row in Table 1, by its dataset and label."""
    ours = {}
    for path in sorted(RELEASES.glob("*/results.json")):
        results = Results.load(path)
        row = paper.row_of(results.model, results.dataset) if results.task == "classification" else None
        if row:
            comparison = Comparison.recorded(results) or Comparison.of(results, results)
            ours[row.dataset, row.label] = (path.parent.name, comparison)
    return ours


def label(name: str) -> str:
    """`table1` as Table 1."""
    kind = name.rstrip("0123456789")
    return f"{kind.capitalize()} {name.removeprefix(kind)}"


def overview(entries: dict, bodies: dict[str, str]) -> str:
    """What there is, on one screen."""
    rows = []
    for name, entry in (entries["tables"] | entries["figures"]).items():
        anchor = f"{label(name)}: {entry['title']}".lower().replace(" ", "-")
        anchor = "".join(letter for letter in anchor if letter.isalnum() or letter in "-_")
        state = entry.get("state") or counted(bodies[name])
        rows.append([f"[{label(name)}](#{anchor})", entry["title"], state])
    return table(["", "what it shows", "here"], rows, words=3)


def counted(body: str) -> str:
    """How many of a table's rows were run."""
    rows = [line for line in body.splitlines() if line.startswith("| ")][1:]
    left = sum(NOT_RUN in row for row in rows)
    return f"{len(rows) - left} of {len(rows)} rows run" if left < len(rows) else NOT_RUN


def section(name: str, entry: dict, body: str | None) -> str:
    parts = [f"## {label(name)}: {entry['title']}", entry["text"].strip()]
    if "command" in entry:
        parts.append(f"```bash\n{entry['command'].strip()}\n```")
    if "data" in entry:
        parts.append(f"Data: {entry['data'].strip()}")
    return "\n\n".join([*parts, *([body] if body else [])])


def table1(ours: Ours) -> str:
    """Table 1 with the releases beside it."""
    header = ["data", "network", "E", "mCE", "mrCE", "R_net", "our E", "mCE", "mrCE", "R_net", "our run"]
    body = []
    for row in published("table1"):
        mine = [""] * 4 + [NOT_RUN]
        if (row.dataset, row.model) in ours:
            name, comparison = ours[row.dataset, row.model]
            mine = figures(comparison.row)
            mine += [f"[`{name}`]({name}.md), {comparison.results.training.epochs} epochs, 1 seed"]
        body.append([row.dataset, row.model, *figures(row), *mine])
    return table(header, body, words=2)


def figures(row: ComparisonRow) -> list[str]:
    """E, mCE, mrCE and R_net."""
    return [percent(row.clean_error, 1), percent(row.mce), percent(row.mrce, 1), percent(row.r_net, 1)]


def table2(measured: study.Study) -> str:
    """Table 2 as published, beside the mrCE of the study, whose network is a smaller one."""
    small = {row.label: row for row in measured.rows.values()}
    header = ["data", "network", "E", "mCE", "mrCE", "R_net", "small study on CIFAR-10: mrCE, %", "seeds"]
    rows, body = published("table2"), []
    for row in rows:
        first = next(other for other in rows if other.model == row.model)  # most rows of CIFAR-10 are ImageNet's, too
        mine = small.get(row.model) if row is first else None
        mine = [mine.mrce_text(), str(len(mine.results))] if mine and mine.results else ["", NOT_RUN]
        body.append([row.dataset, row.model, *figures(row), *mine])
    return table(header, body, words=2)


def table3() -> str:
    """Table 3 as published."""

    def cell(value: tuple[float, float | None]) -> str:
        mean, deviation = value
        return f"{100 * mean:.1f}" + (f" ± {100 * deviation:.1f}" if deviation is not None else "")

    body = [[row.model, cell(row.clean_error), cell(row.mrce), NOT_RUN] for row in summaries.table3()]
    return table(["configuration", "clean error, %", "mrCE, %", "ours"], body)


def table4(ours: Ours) -> str:
    """Table 4 with the releases' relative errors grouped alike."""
    header = ["network", *(f"{group} frequency, %" for group in metrics.FREQUENCIES)]
    header += [f"ours, {group}, %" for group in metrics.FREQUENCIES]
    header += ["our run"]

    def cells(groups: dict[str, tuple[float, float]], places: int) -> Iterator[str]:
        return (f"{100 * mean:.{places}f} ± {100 * deviation:.1f}" for mean, deviation in groups.values())

    body = []
    for row in summaries.table4():
        name = row.model if row.model == row.baseline else f"{row.baseline} {row.model}"
        mine = [""] * 3 + [NOT_RUN]
        own, base = (ours.get(("CIFAR10", network)) for network in (name, row.baseline))
        if own and base:
            repository, comparison = own
            mine = [*cells(metrics.by_frequency(comparison.row.relative), 1), f"`{repository}`"]
        body.append([name, *cells(row.groups, 0), *mine])
    return table(header, body)


def retrieval(name: str, measured: study.Study) -> str:
    """Table 5 or 8 as published, beside the study of retrieval."""
    small = {row.label: row for row in measured.rows.values()}
    header = ["network", "E = 1 - mAP@200", "mCE", "mrCE", "small study: E", "mCE", "mrCE, %", "seeds"]
    body = []
    for row in published(name):
        theirs = [percent(row.clean_error, 1), percent(row.mce, 1), percent(row.mrce, 1)]
        mine = small.get(row.model)
        done = list(mine.results.values()) if mine else []
        if done:
            errors = (
                percent(statistics.mean(values), 1)
                for values in zip(*((r.clean_error, r.mce) for r in done), strict=True)
            )
            body.append([row.model, *theirs, *errors, mine.mrce_text(), str(len(done))])
        else:
            body.append([row.model, *theirs, "", "", "", NOT_RUN])
    return table(header, body)


if __name__ == "__main__":
    cli.run(main, "paper.py")
