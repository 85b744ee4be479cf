"""A Hugging Face Space that classifies a corrupted image with a plain and a push-pull network.

    python hub/space/app.py   # in a source checkout; uses the weights in hub/releases

README.md says how to publish it.
"""

from __future__ import annotations

import logging
import re
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache, partial
from html import escape
from pathlib import Path
from typing import Any

import curve
import gradio as gr
import networks
import numpy as np
from gradio.data_classes import FileData
from gradio.media import get_image
from PIL import Image

from timm_pushpull.benchmark.comparison import Comparison
from timm_pushpull.corruptions import CORRUPTIONS, frost_source
from timm_pushpull.utils.errors import InputError, one_line
from timm_pushpull.utils.files import write_file
from timm_pushpull.utils.markdown import table
from timm_pushpull.utils.text import printable

HERE = Path(__file__).resolve().parent
EXAMPLES = [(path, Path(path).stem) for path in (*sorted(map(str, HERE.glob("examples/*.png"))), get_image("lion.jpg"))]
gr.set_static_paths([path for path, _ in EXAMPLES])  # served as they are; copies would be deleted after a while
SHOWN = 256  # px, least side of an image on the page
LIKELIEST = "the most likely one on the clean image"
PLAIN, PUSH_PULL = "plain", "push-pull"
THEMES = ("light", "dark")
REPORTS = tempfile.TemporaryDirectory(prefix="timm-pushpull-reports-")

TITLE = "Push-pull networks under corruption"
INTRODUCTION = f"""# {TITLE}
See how two networks classify your image when it is noisy, blurred, foggy or compressed: a plain network, and the same
network with a push-pull unit as its first convolution. The unit is from *PushPull-Net: Inhibition-driven ResNet robust
to image corruptions* (Bennabhaktula et al., ICPR 2024)."""

CSS = """
.report iframe { width: 100%; height: 85vh; border: 0; }
body:not(.dark) .report .dark, .dark .report .light { display: none; }
.examples { gap: 6px; flex-wrap: nowrap; }
.examples button { flex-direction: column; gap: 4px; padding: 6px 0; font: 12px var(--font); }
.examples img { width: 40px; height: 40px; margin: 0; border-radius: 4px; }
.seen img { image-rendering: pixelated; }
.answer dl { font: var(--text-sm) var(--font); }
.errors td { white-space: nowrap; }
.errors :is(td, th) { padding: 4px 8px; border-color: var(--border-color-primary); overflow-wrap: normal; }
"""


WAITING = 40  # visitors, at most; one is served at a time
WRONG_INPUT = "an input has a type or value that its field does not take; 'Use via API' lists what each one takes"


@contextmanager
def told() -> Iterator[None]:
    """Show an `InputError` as a message on the page."""
    try:
        yield
    except InputError as error:
        raise message(error) from None


def message(text: object) -> gr.Error:
    """An error that the visitor sees and the log does not; Gradio takes its text for HTML."""
    return gr.Error(escape(printable(text), quote=False), print_exception=False)


class Page(gr.Blocks):
    """Blocks that answer wrong types, of which only the API can send any, with one line instead of a traceback."""

    async def preprocess_data(self, *arguments: Any, **options: Any) -> list[Any]:
        try:
            return await super().preprocess_data(*arguments, **options)
        except gr.Error as error:
            raise message(error.message) from None
        except Exception as error:  # Gradio and pydantic raise many kinds
            logging.getLogger(__name__).info("an input was refused: %s", one_line(error))
            raise message(WRONG_INPUT) from None


@told()
def read(payload: FileData | None) -> Image.Image:
    """The image that the visitor has chosen."""
    if payload is None:
        raise InputError("there is no image; upload one or choose an example")
    return networks.read_image(payload.path)


@told()
def classify(image: Image.Image, network: str, corruption: str, severity: int, seed: int, follow: str = LIKELIEST):
    """Classify an image under a corruption with both networks.

    Returns:
        The clean and the corrupted image, enlarged; the class probabilities of the plain and of the push-pull network;
        both networks' probability of one class at every severity, as HTML; both networks' benchmark errors, as
        Markdown.
    """
    found = networks.classify(image, network, corruption, seed)
    follow = follow if follow in found.classes else found.likeliest
    place = found.classes.index(follow)
    return (
        enlarged(found.images[0]),
        enlarged(found.images[severity]),
        dict(zip(found.classes, found.plain[severity].tolist(), strict=True)),
        dict(zip(found.classes, found.push_pull[severity].tolist(), strict=True)),
        curve.curve(f"Probability of “{follow}”", {PLAIN: found.plain[:, place], PUSH_PULL: found.push_pull[:, place]}),
        errors(network, corruption, severity),
    )


def enlarged(image: np.ndarray) -> Image.Image:
    """Scale an image up by a whole number, so that its shorter side has at least `SHOWN` px."""
    scale = -(-SHOWN // min(image.shape[:2]))
    return Image.fromarray(image.repeat(scale, 0).repeat(scale, 1))


def errors(name: str, corruption: str, severity: int) -> str:
    """Table of both networks' benchmark errors, as Markdown."""
    comparison = Comparison.of(networks.measured(name), networks.measured(networks.pairs()[name]))
    both = {PLAIN: comparison.baseline, PUSH_PULL: comparison.results}
    here = corruption in CORRUPTIONS and severity > 0
    heads = ["error on", "clean", *([f"{corruption.replace('_', ' ')} {severity}"] if here else []), "all (mCE)"]
    rows = []
    for kind, results in both.items():
        chosen = [results.errors[corruption][severity - 1]] if here else []
        rows.append([kind, *(f"{value:.1%}" for value in (results.clean_error, *chosen, results.mce))])
    results = both[PUSH_PULL]
    gain = both[PLAIN].mce - results.mce
    text = [
        f"**One image proves little.** Over {results.num_images:,} images of {results.dataset}, preset "
        f"{results.preset}, the errors of these networks are:",
        table(heads, rows),
        f"The push-pull network's mCE is {abs(gain) * 100:.1f} points {'lower' if gain > 0 else 'higher'}, in one "
        f"training run of each{'; the difference may be chance' * comparison.may_be_chance}.",
    ]
    overrides = dict.fromkeys(line for one in both.values() if one.training for line in one.training.overrides)
    if overrides:
        text[-1] += f" Their training differs from the recipes: {'; '.join(overrides)}."
    if corruption == "frost" and frost_source() != results.frost:
        text.append(f"Frost on this page is {frost_source()}; the errors were measured with {results.frost} textures.")
    return "\n\n".join(text)


@told()
@cache
def report() -> str:
    """The report of all releases in two frames, light and dark; a single frame would follow the system's theme."""
    from timm_pushpull.figures.report import render

    page = render([networks.release(name) for name in networks.releases()], images=[EXAMPLES[-1][0]])
    for theme, where in zip(THEMES, ("not all", "screen"), strict=True):
        themed = re.sub(r"@media screen and \(prefers-color-scheme: ?dark\)", f"@media {where}", page)
        write_file(Path(REPORTS.name, f"{theme}.html"), themed.replace("light dark", theme))
    return "".join(
        f'<iframe class="{theme}" src="gradio_api/file={REPORTS.name}/{theme}.html" title="Report of the releases" '
        'sandbox="allow-scripts" loading="lazy"></iframe>'
        for theme in THEMES
    )


def choices_of(network: str):
    """The classes among which the curve can be chosen."""
    with suppress(InputError):  # `classify` shows it
        return gr.Dropdown([LIKELIEST, *networks.load(network).classes], value=LIKELIEST)
    return gr.skip()


def build() -> gr.Blocks:
    """The page."""
    names = list(networks.pairs())
    kinds = [(name.replace("_", " "), name) for name in (networks.NONE, *CORRUPTIONS)]
    with Page(title=TITLE, analytics_enabled=False, delete_cache=(600, 3600)) as page:
        gr.Markdown(INTRODUCTION)
        with gr.Tab("Try it"), gr.Row():
            with gr.Column(scale=2, min_width=300):
                image = gr.Image(EXAMPLES[0][0], label="Image", sources=["upload", "clipboard"], height=230)
                image.preprocess = read  # gradio's own raises a traceback on damaged files
                with gr.Row(elem_classes="examples"):
                    examples = [gr.Button(name, icon=path, size="sm", min_width=0) for path, name in EXAMPLES]
                network = gr.Dropdown(names, label="Push-pull network, beside its plain baseline")
                with gr.Accordion("More", open=False):
                    seed = gr.Number(0, label="Seed of the corruption", precision=0, minimum=0)
                    # A class of the network chosen before may still be selected; that is not an error.
                    follow = gr.Dropdown([LIKELIEST], label="Class of the curve", allow_custom_value=True)
            with gr.Column(scale=3, min_width=300):
                with gr.Row():
                    corruption = gr.Dropdown(kinds, value=CORRUPTIONS[0], label="Corruption")
                    severity = gr.Slider(0, 5, 3, step=1, precision=0, label="Severity (0 is clean)", buttons=[])
                with gr.Row():
                    seen = [
                        gr.Image(label=label, format="png", buttons=[], elem_classes="seen", min_width=130)
                        for label in ("Clean", "Corrupted")
                    ]
                with gr.Row():
                    answers = [
                        gr.Label(label=label, num_top_classes=5, elem_classes="answer", min_width=130)
                        for label in ("Plain network", "Push-pull network")
                    ]
                with gr.Row():
                    with gr.Column(min_width=290):
                        plot = gr.HTML(elem_classes="curve", padding=False)
                    with gr.Column(min_width=290):
                        table = gr.Markdown(elem_classes="errors")
        with gr.Tab("Results") as results:
            frame = gr.HTML("Loading the report …", elem_classes="report", padding=False)

        controls, shown = [image, network, corruption, severity, seed, follow], [*seen, *answers, plot, table]
        private = {"show_progress": "hidden", "api_visibility": "private"}
        run = {"fn": classify, "inputs": controls, "outputs": shown}
        # image.change would fire twice after an upload, and too early after the choice of an example.
        changed = [page.load, image.upload, image.clear, *(control.change for control in controls[1:])]
        runs = [gr.on(changed, **run, show_progress="hidden", trigger_mode="always_last")]
        for button, (path, _) in zip(examples, EXAMPLES, strict=True):
            runs.append(button.click(partial(str, path), None, image, **private).then(**run, **private))
        for done in runs:  # after an error, clear the outputs, which are about another input
            done.failure(lambda: [None] * len(shown), None, shown, **private)
        gr.on([page.load, network.change], choices_of, network, follow, **private)
        results.select(report, None, frame, **private)
    return page.queue(max_size=WAITING)


LAUNCH = {
    "theme": gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]),
    "css": curve.CSS + CSS,
    "max_file_size": "20mb",
    "allowed_paths": [REPORTS.name],
    "footer_links": ["api", "gradio"],
    "ssr_mode": False,  # as in the tests
}

if __name__ == "__main__":
    threading.Thread(target=networks.warm_up, daemon=True).start()
    build().launch(**LAUNCH)
