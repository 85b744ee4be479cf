"""A comparison as Markdown, LaTeX, CSV or a table for the terminal, laid out as the paper's Table 1."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from timm_pushpull.benchmark.comparison import ComparisonRow
from timm_pushpull.corruptions import CORRUPTIONS, EXTRA_CORRUPTIONS
from timm_pushpull.metrics import GROUPS
from timm_pushpull.utils.markdown import plain, table
from timm_pushpull.utils.text import printable

# As in Table 1; after them speckle, Gaussian blur, spatter and saturate.
_HEADINGS = "Ga Sh Im De Gl Mo Zo Sn Fr Fo Br Co El Pi Jp Sp Gb St Sa"
_SHORT = dict(zip(CORRUPTIONS + EXTRA_CORRUPTIONS, _HEADINGS.split(), strict=True))
_GROUP = {name: group for group, names in GROUPS.items() for name in names}
#: Figures of a row beside those by corruption, and the places after the point in percent; those by corruption have one.
_PLACES = {"clean_error": 2, "mce": 2, "mrce": 1, "r_net": 1}


@dataclass(frozen=True)
class Column:
    """One figure, in percent: its key in a `ComparisonRow`, group of corruptions ("" for a summary), and headings."""

    key: str
    group: str
    short: str
    long: str


def columns(compared: Sequence[ComparisonRow]) -> list[Column]:
    """The summary and the corruptions that were measured, in the paper's order."""
    summary = (("clean_error", "E"), ("mce", "mCE"), ("mrce", "mrCE"), ("r_net", "R_net"))
    names = dict.fromkeys(name for row in compared[:1] for name in row.values)
    ordered = [*(name for name in CORRUPTIONS if name in names), *(name for name in names if name not in CORRUPTIONS)]
    return [
        *(Column(key, "", f"{heading} %", f"{heading} (%)") for key, heading in summary),
        *(
            Column(name, _GROUP.get(name, "Extra"), _SHORT.get(name, printable(name)), printable(name))
            for name in ordered
        ),
    ]


def cell(row: ComparisonRow, key: str) -> str:
    """A figure in percent, without the unit; "-" where it is not defined. Published figures have the printed digits."""
    value = getattr(row, key) if key in _PLACES else row.values.get(key)
    if value is None:
        return "-"
    places = _PLACES.get(key, 1)
    if row.table:
        retrieval = any(number in row.table for number in "58")
        places = {"clean_error": 1, "mce": 1 if retrieval else 2, "mrce": 1, "r_net": 1}.get(key, 0)
    return f"{100 * value:.{places}f}"


def name(row: ComparisonRow) -> str:
    """The model, marked if it is a baseline."""
    model = printable(row.model)
    return f"{model} (baseline)" if row.is_baseline else model


def markdown(compared: Sequence[ComparisonRow]) -> str:
    """A Markdown table aligned for reading as text, improvements in bold; with a column of sources if they differ."""
    several = len({row.source for row in compared}) > 1
    shown = columns(compared)
    header = ["model", *["source"] * several, *(plain(column.long) for column in shown)]
    rows = [
        [
            plain(name(row)),
            *[plain(row.source)] * several,
            *(
                f"**{cell(row, column.key)}**" if column.key in row.improved else cell(row, column.key)
                for column in shown
            ),
        ]
        for row in compared
    ]
    return table(header, rows, words=1 + several, aligned=True) + "\n"


def latex(compared: Sequence[ComparisonRow]) -> str:
    """A LaTeX tabular for the package booktabs, improvements in bold, a heading per source.

    Written here because pandas' `to_latex` has neither rules below groups of columns nor headings between rows.
    """
    shown = columns(compared)
    groups = [(group, len(list(members))) for group, members in groupby(shown, lambda column: column.group)]
    rules, at = [], 2
    for group, size in groups:
        rules += [f"\\cmidrule(lr){{{at}-{at + size - 1}}}"] if group else []
        at += size
    spans = " & ".join(f"\\multicolumn{{{size}}}{{c}}{{{group}}}" for group, size in groups)
    headings = {"r_net": "$R_{net}$ (\\%)"}
    short = " & ".join(headings.get(column.key, column.short.replace(" %", " (\\%)")) for column in shown)
    out = ["% needs \\usepackage{booktabs}", f"\\begin{{tabular}}{{l{'r' * len(shown)}}}", "\\toprule"]
    out += [f" & {spans} \\\\", *([" ".join(rules)] if rules else []), f"Model & {short} \\\\"]
    for section, members in groupby(compared, lambda row: row.source):
        out += ["\\midrule", f"\\multicolumn{{{len(shown) + 1}}}{{l}}{{\\emph{{{_tex(section)}}}}} \\\\"]
        for row in members:
            cells = [
                f"\\textbf{{{cell(row, column.key)}}}" if column.key in row.improved else cell(row, column.key)
                for column in shown
            ]
            out.append(f"{_tex(name(row))} & {' & '.join(cells)} \\\\")
    return "\n".join([*out, "\\bottomrule", "\\end{tabular}"]) + "\n"


def to_csv(compared: Sequence[ComparisonRow]) -> str:
    """CSV in percent; fields are empty where a figure is not defined."""
    shown = columns(compared)
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["model", "section", "baseline", *(f"{printable(column.key)}_percent" for column in shown)])
    for row in compared:
        cells = [cell(row, column.key) for column in shown]
        writer.writerow(
            [printable(row.model), row.source, int(row.is_baseline), *("" if c == "-" else c for c in cells)]
        )
    return file.getvalue()


def _tex(text: str) -> str:
    escaped: dict[str, str | int | None] = {c: f"\\{c}" for c in "_%&#${}"}
    escaped |= {"\\": "\\textbackslash{}", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}"}
    return text.translate(str.maketrans(escaped))
