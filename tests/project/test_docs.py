"""README.md and docs/: their code runs, their commands exist, and CITATION.cff agrees with the rest of the project."""

from __future__ import annotations

import re
import runpy
import shlex
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from support.example_run import SMALL, some_results, write_run
from support.image_folder import make_image_folder
from support.paths import ROOT, needs_releases
from timm_pushpull import cli
from timm_pushpull.benchmark.results import Results
from timm_pushpull.hub.card import CITATION
from timm_pushpull.models import RELEASES
from train import release
from train.command_line import parse
from train.study_plan import Interval, Study

PAGES = sorted((ROOT / "docs").glob("*.md"))
#: With the README, whose sections on weights and publishing test_readme.py runs.
READ = [ROOT / "README.md", *PAGES]
_BLOCK = re.compile(r"(?:<!-- not run: (?P<why>.+?) -->\n\n?)?```(?P<language>python|bash)\n(?P<code>.*?)```", re.S)
#: Words of a command that are to be replaced by the reader, where an option takes a number.
_NUMBERS = {"I/N": "1/4"}


@dataclass(frozen=True)
class Block:
    """A block of code of a page; `why` says why it is not run."""

    page: str
    language: str
    code: str
    why: str | None


def blocks(path: Path) -> list[Block]:
    text = path.read_text(encoding="utf-8")
    assert text.count("not run:") == len([found for found in _BLOCK.finditer(text) if found["why"]]), path
    return [Block(path.stem, found["language"], found["code"], found["why"]) for found in _BLOCK.finditer(text)]


def commands(code: str) -> list[list[str]]:
    """The commands in a block, in words, without comments."""
    lines = code.replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder with what the pages use: an image, a folder of images, and two finished runs with their results."""
    folder = tmp_path_factory.mktemp("reader")
    pixels = np.random.default_rng(0).integers(0, 256, (240, 260, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "cat.png")
    make_image_folder(folder / "my_images")
    classes = tuple("0123456789")
    plain = some_results("resnet18_cifar")
    write_run(folder / "runs/digits/resnet18_cifar", "resnet18_cifar", classes=classes, **SMALL)
    write_run(folder / "runs/digits/resnet18_cifar_pushpull", classes=classes, baseline=plain, **SMALL)
    return folder


@pytest.mark.parametrize("page", READ, ids=lambda path: path.stem)
def test_the_code_of_a_page_runs(page, place, monkeypatch):
    monkeypatch.chdir(place)
    scope: dict[str, object] = {"__name__": "__main__"}
    for block in blocks(page):
        if block.why:
            continue
        if block.language == "python":
            exec(compile(block.code, f"{block.page}.md", "exec"), scope)
        for words in commands(block.code) if block.language == "bash" else []:
            assert words[0] == "timm-pushpull", f"say why this is not run: {words}"
            with pytest.raises(SystemExit) as end:
                cli.main(words[1:])
            assert end.value.code == 0, words


def test_every_command_has_these_options(monkeypatch):
    """Also the commands that are not run."""
    checked = 0
    for page in READ:
        for block in blocks(page):
            for line in commands(block.code) if block.language == "bash" else []:
                words = [_NUMBERS.get(word, word) for word in line if word != "--help"]
                if "train/train.py" in words:
                    parse(words[words.index("train/train.py") + 1 :])
                elif words[0] == "timm-pushpull":
                    cli.command_line().parse_args(words[1:])
                elif " -m timm_pushpull " in " ".join(words):
                    cli.command_line().parse_args(words[words.index("timm_pushpull") + 1 :])
                else:
                    continue
                checked += 1
    assert checked > 20


@needs_releases  # to which some lead
def test_every_relative_link_leads_to_a_file():
    """Anchors are checked by `mkdocs build --strict`."""
    for page in READ:
        links = re.findall(r"\]\(([^)#\s]+)(?:#[\w-]*)?\)", page.read_text(encoding="utf-8"))
        missing = [link for link in links if "://" not in link and not (page.parent / link).exists()]
        assert missing == [], page


@needs_releases
@pytest.mark.parametrize(("page", "folder"), [("README.md", "hub/"), ("docs/models.md", "../hub/")])
def test_the_table_of_weights_is_that_of_the_releases(page, folder):
    text = (ROOT / page).read_text(encoding="utf-8")
    (printed,) = re.findall(r"<!-- weights: .* -->\n(.*?)\n<!-- end of weights -->", text, re.S)
    assert printed.replace(f"]({folder}", "](hub/") == release.weights_table(release.load_planned(), RELEASES)
    assert all(f"[`{path.name}`]" in printed for path in RELEASES.iterdir() if not path.name.startswith("."))


@needs_releases
def test_a_dagger_marks_baselines_that_differ_in_more_than_push_pull():
    planned = release.load_planned()
    lines = {line.split("`")[1]: line for line in release.weights_table(planned, RELEASES).splitlines()[2:]}
    for name, plan in planned.items():
        path = plan.results_file(RELEASES)
        baseline = Results.load(path).baseline if path.exists() else None
        assert name not in lines or ("†" in lines[name]) == bool(baseline and baseline.differences)


def test_the_table_of_fixed_alphas_is_of_the_study():
    text = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    printed = text[text.index("| α (3x3 pooling) |") :].split("\n\n")[0].splitlines()[2:]
    rows = Study.load(ROOT / "train" / "studies" / "cifar10").rows
    names = {"rectified": "0", "alpha1": "1", "alpha3": "3", "alpha6": "6", "pushpull": "trained"}
    for line, (name, alpha) in zip(printed, names.items(), strict=True):
        row = rows[name]
        pairs, relative = row.pairs().values(), row.by_corruption()
        intervals = [Interval.of([own.clean_error - base.clean_error for own, base in pairs]), row.mrce()]
        intervals += [relative[name] for name in ("gaussian_noise", "glass_blur", "brightness")]
        cells = " | ".join(interval.text() for interval in intervals)
        assert line.replace("\N{NO-BREAK SPACE}", " ") == f"| {alpha} | {len(pairs)} | {cells} |"


def test_every_page_is_in_the_navigation():
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert all(f" {path.name}" in text for path in PAGES)


def test_the_citation_is_that_of_the_cards():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert f'\nversion = "{citation["version"]}"' in project
    assert f'license = "{citation["license"]}"' in project
    paper = citation["preferred-citation"]
    assert f"{{{paper['title']}}}" in CITATION
    authors = [f"{author['family-names']}, {author['given-names']}" for author in paper["authors"]]
    assert f"{{{' and '.join(authors)}}}" in CITATION


def test_sections_of_the_navigation_are_named_by_their_titles():
    pytest.importorskip("latex2mathml", reason="needs the extra docs")
    hooks = runpy.run_path(str(ROOT / "docs" / "_mkdocs.py"))
    nav = (
        '<nav class="md-nav" data-md-level="1" aria-labelledby="__nav_2_label" aria-expanded="false">\n'
        '  <label class="md-nav__title" for="__nav_2">\n    <span class="md-nav__icon md-icon"></span>\n    Guides\n'
        "  </label></nav>"
    )
    assert 'aria-label="Guides" aria-expanded' in hooks["on_post_page"](nav)
