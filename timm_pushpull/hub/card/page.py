"""The card: all sections in order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from timm.models import split_model_name_tag
from torch import nn

from timm_pushpull.benchmark.comparison import Comparison, paper_entry
from timm_pushpull.benchmark.results import Results
from timm_pushpull.hub.card import robustness
from timm_pushpull.hub.card.limits import intended_use, limits
from timm_pushpull.hub.card.metadata import hub_dataset, metadata
from timm_pushpull.hub.card.task import task_of
from timm_pushpull.hub.card.training import overrides, training
from timm_pushpull.hub.card.usage import HERE, usage
from timm_pushpull.models import complexity
from timm_pushpull.models.convert import CONVERTED
from timm_pushpull.utils.markdown import code, plain, table
from timm_pushpull.utils.text import duration
from timm_pushpull.utils.wordnet import readable

CITATION = """\
@inproceedings{bennabhaktula2024pushpull,
  title     = {PushPull-Net: Inhibition-driven ResNet robust to image corruptions},
  author    = {Bennabhaktula, Guru Swaroop and Alegre, Enrique and Strisciuglio, Nicola and Azzopardi, George},
  booktitle = {International Conference on Pattern Recognition (ICPR)},
  year      = {2024}
}"""

_PAPER = "[PushPull-Net: Inhibition-driven ResNet robust to image corruptions](https://arxiv.org/abs/2408.04077)"
_NAMED_CLASSES = 20
#: Parts of architectures' names.
_RIVALS = {
    "pushpull2020": "a network with the push-pull layer of Strisciuglio et al. (2020)",
    "blurconv1": "a network anti-aliased as by Zhang (2019)",
    "blurconv2": "a network anti-aliased as by Vasconcelos et al. (2020)",
}


def model_card(
    results: Results,
    *,
    title: str,
    recipe: Mapping[str, Any],
    config: Mapping[str, Any],
    parameters: int,
    macs: int | None = None,
    source: str = HERE,
    image: str | None = None,
) -> str:
    """Render the card as Markdown with the Hub's metadata block. It depends on the arguments alone.

    Args:
        results: Errors of this model and of its baseline, and the record of its training.
        title: The model's name with its tag.
        recipe: Training settings, the content of `recipe.yaml`.
        config: Content of `config.json` in timm's Hub form.
        parameters: Number of parameters.
        macs: Multiply-accumulate operations for one image; None if unknown.
        source: What the snippets load: `HERE` or `hf-hub:NAMESPACE/NAME`.
        image: Path of the saved `robustness_figure` relative to the card; None for none.

    Raises:
        InputError: The baseline was measured on other cells.
    """
    comparison, entry = Comparison.recorded(results), paper_entry(results)
    others = overrides(results)
    sections = {
        "": [
            _introduction(results, config, recipe),
            _notice(others),
            robustness.summary(results, comparison),
            robustness.verdict(results, comparison),
            _image(results, comparison, image),
        ],
        "Intended use": [intended_use(results, config)],
        "Model details": [_details(results, config, parameters, macs)],
        "Usage": [usage(source, config, hashes=results.retrieval is not None)],
        "Robustness": [
            robustness.error_table(results, comparison) if results.errors else "",
            robustness.legend(results, comparison) if results.errors else "",
            robustness.caveats(results),
        ],
        "Comparison with the paper": [robustness.beside_the_paper(results, comparison, entry, others) if entry else ""],
        "Training": [training(results, recipe)],
        "Provenance": [_provenance(results, comparison)],
        "Limitations and licences": [limits(results)],
        "Citation": [f"```bibtex\n{CITATION}\n```"],
    }
    lines = [f"---\n{metadata(results, title).to_yaml()}\n---", f"# Model card for {plain(title)}"]
    for heading, parts in sections.items():
        parts = [part for part in parts if part]
        lines += [f"## {heading}"] * bool(heading and parts) + parts
    return "\n\n".join(lines) + "\n"


def card_of(
    model: nn.Module,
    *,
    results: Results,
    recipe: Mapping[str, Any],
    config: Mapping[str, Any],
    source: str = HERE,
    image: str | None = None,
) -> str:
    """As `model_card`, with title, parameters and MACs taken from the model and its config."""
    channels, size, _ = config["pretrained_cfg"]["input_size"]
    return model_card(
        results,
        title=f"{results.model}.{config['pretrained_cfg']['tag']}",
        recipe=recipe,
        config=config,
        parameters=complexity.parameters(model),
        macs=complexity.multiply_adds(model, size, channels),
        source=source,
        image=image,
    )


def _introduction(results: Results, config: Mapping[str, Any], recipe: Mapping[str, Any]) -> str:
    purpose = f"is an image classifier for {config['num_classes']:,} classes, trained on"
    if results.retrieval:
        purpose = (
            f"is an image retrieval model: it maps an image to a hash of {results.retrieval.hash_bits} bits, and "
            f"images of one class to similar hashes. It was trained on"
        )
    start = f"{code(results.model)} {purpose} {code(results.dataset)} at {_training_size(config, recipe)}"
    if "avg_size" not in config.get("model_args", {}):
        if rival := _rival(config["architecture"]):
            return f"{start}. It is {rival}, with which the paper compares push-pull networks (Table 2)."
        return f"{start}. It is a plain network, the baseline for the push-pull networks."
    if config["architecture"] == CONVERTED:
        base = split_model_name_tag(config["model_args"]["base"])[0]
        start += f". It is {code(base)} of timm, made a push-pull network by `timm_pushpull.convert_stem`"
    strength = "a learned strength" if config["model_args"].get("trainable_alpha", True) else "a fixed strength"
    return (
        f"{start}. Its first convolution is a push-pull unit: from the rectified response of each filter it subtracts "
        f"the rectified response of the complementary filter (light and dark exchanged), weighted by {strength}. "
        f"The unit models push-pull inhibition in the visual cortex. The paper reports that it makes networks more "
        f"robust to image corruptions (Bennabhaktula et al., PushPull-Net, ICPR 2024)."
    )


def _rival(architecture: str) -> str | None:
    """The method of a network of another paper, in words; None for other networks."""
    return next((words for part, words in _RIVALS.items() if part in architecture), None)


def _notice(overrides: list[str]) -> str:
    if not overrides:
        return ""
    return (
        f"> **Trained with settings that differ from the recipe: {'; '.join(map(plain, overrides))}.** The errors "
        f"below are those of this training. They do not show what the recipe reaches."
    )


def _image(results: Results, comparison: Comparison | None, image: str | None) -> str:
    if image is None or not results.errors:
        return ""
    models = plain(results.model) + (f" and of {plain(comparison.baseline.model)}" if comparison else "")
    return f"![{plain(task_of(results).error)} of {models} by corruption and severity]({quote(image)})"


def _details(results: Results, config: Mapping[str, Any], parameters: int, macs: int | None) -> str:
    cfg, labels = config["pretrained_cfg"], readable(config.get("label_names") or [])
    named = ", ".join(plain(label) for label in labels[:_NAMED_CLASSES])
    named += f", and {len(labels) - _NAMED_CLASSES} more in `config.json`" if len(labels) > _NAMED_CLASSES else ""
    pooling = config.get("model_args", {}).get("avg_size")
    if pooling is not None:
        stem = f"push-pull unit, pull response {_pooled(pooling)}"
    else:
        rival = _rival(config["architecture"])
        stem = f"that of {rival}" if rival else "convolution"
    outputs = f"- **Classes:** {config['num_classes']:,}" + (f": {named}" if named else "")
    if results.retrieval:
        outputs = f"- **Hash:** {config['num_classes']:,} bits, each 1 where the output is 0 or more"
    lines = [
        f"- **Model type:** {task_of(results).name.lower()}, feature backbone",
        "- **Model stats:**",
        f"  - Params (M): {parameters / 1e6:.1f}",
        f"  - GMACs: {macs / 1e9:.2f}" if macs else "",
        f"  - Image size: {_size(config)}",
        f"- **First layer:** {stem}",
        outputs,
        f"- **Preprocessing:** {plain(cfg['interpolation'])} resize, centre crop of {100 * float(cfg['crop_pct']):g}%, "
        f"mean {_channels(cfg['mean'])}, std {_channels(cfg['std'])} (see `timm.data.resolve_model_data_config`)",
        f"- **Paper:** {_PAPER}",
        f"- **Dataset:** {_dataset(results.dataset)}",
    ]
    return "\n".join(line for line in lines if line)


def _dataset(name: str) -> str:
    """The name and, where it is another, the dataset's page on the Hub."""
    repo = hub_dataset(name)
    return code(name) + (
        f" ([{code(repo)}](https://huggingface.co/datasets/{repo}) on the Hub)" if repo != name else ""
    )


def _pooled(avg_size: int) -> str:
    return f"averaged over {plain(avg_size)} x {plain(avg_size)} positions" if avg_size else "not averaged"


def _training_size(config: Mapping[str, Any], recipe: Mapping[str, Any]) -> str:
    """The size of the training images and, where it is another, that of the test images."""
    tested, trained = _size(config), recipe.get("img_size")
    if recipe.get("test_img_size") in (None, trained):
        return f"{tested} px"
    return f"{plain(trained)} x {plain(trained)} px and tested at {tested} px"


def _size(config: Mapping[str, Any]) -> str:
    return " x ".join(plain(side) for side in config["pretrained_cfg"]["input_size"][-2:])


def _channels(values: list[float]) -> str:
    return f"({', '.join(plain(value) for value in values)})"


def _provenance(results: Results, comparison: Comparison | None) -> str:
    rows = [["weights", f"{code(results.weights_sha256)} (SHA-256)"]]
    if comparison:
        rows.append(["baseline", f"{code(comparison.baseline.weights_sha256)} (SHA-256 of its weights)"])
    rows += [
        ["command", code(results.command)],
        ["commit", f"{code(results.commit)} of timm-pushpull" if results.commit else "an installed release"],
        ["versions", ", ".join(f"{plain(name)} {plain(number)}" for name, number in results.versions.items())],
        ["hardware", f"{plain(results.hardware or '-')}, {plain(results.precision)}"],
        ["duration", duration(results.seconds) if results.seconds else "-"],
        ["images", f"{code(results.fingerprint)} (fingerprint of the clean pixels)" if results.fingerprint else "-"],
    ]
    return (
        table(["provenance", "of the results above"], rows, words=2)
        + "\n\nThis card is generated from `results.json`, which holds all results in full precision, `config.json`, "
        "`recipe.yaml` and the weights."
    )
