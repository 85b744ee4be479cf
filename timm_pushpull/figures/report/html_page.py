"""Render the report page from its templates, with styles, scripts and Plotly inside."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, FunctionLoader, StrictUndefined

from timm_pushpull.figures.report import marks, sentences
from timm_pushpull.figures.report.groups import load_groups
from timm_pushpull.figures.report.sections import mean_error, sections, shade
from timm_pushpull.figures.report.viewer import viewer
from timm_pushpull.utils.errors import InputError

TITLE = "Robustness to image corruptions"
_TEMPLATES = "templates"
_SCRIPTS = ("sort.js", "charts.js", "viewer.js")


def render(
    results: Sequence[Path | str],
    images: Sequence[Path | str] = (),
    *,
    preset: str | None = None,
    frost_dir: Path | str | None = None,
    title: str = TITLE,
) -> str:
    """Render the report as one HTML page that loads nothing from the network. The same input gives the same text.

    Args:
        results: Results files or run folders. Comparable results share a section; histograms of alpha come from the
            checkpoint next to the results.
        images: Image files for the corruption viewer; by default an image that is always available.
        preset: Constants of the corruptions in the viewer; by default those of the results.
        frost_dir: The frost textures of ImageNet-C, as in `corruptions.corrupt`.
        title: Title and heading of the page.

    Raises:
        InputError: Plotly is not installed, a file does not hold results or holds clean errors only, an image is not
            readable, the preset is unknown, or frost textures are incomplete.
    """
    environment, plotly = _environment(), _plotly()
    groups = load_groups([Path(path) for path in results])
    corruption_viewer = viewer(groups, [Path(path) for path in images], preset, frost_dir)
    parts = sections(groups)
    script = "\n".join(_file(name) for name in _SCRIPTS)
    return environment.get_template("page.html").render(
        title=title,
        sections=parts,
        charts={figure.key: figure.chart for part in parts for figure in part.figures},
        viewer=corruption_viewer,
        style=_file("style.css") + marks.colour_style(),
        scripts=[(source, _hash(source)) for source in (plotly, script)],
        versions={"timm-pushpull": version("timm-pushpull"), "Plotly": version("plotly")},
    )


def _environment() -> Environment:
    environment = Environment(
        loader=FunctionLoader(_file), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    filters = (
        sentences.percent,
        sentences.number,
        sentences.interval,
        sentences.spoken,
        sentences.counted,
        sentences.prose,
        sentences.image_note,
    )
    environment.filters |= {function.__name__: function for function in filters}
    environment.globals |= {"marks": marks, "mean_error": mean_error, "shade": shade}
    return environment


def _plotly() -> str:
    try:
        from plotly.offline import get_plotlyjs
    except ImportError:
        raise InputError("the report needs Plotly: pip install 'timm-pushpull[report]'") from None
    return get_plotlyjs()


def _file(name: str) -> str:
    return (files(__package__) / _TEMPLATES / name).read_text(encoding="utf-8")


def _hash(script: str) -> str:
    """The hash by which the Content-Security-Policy of the page allows a script."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
