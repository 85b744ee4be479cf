"""Intended use, limitations, and licences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from timm_pushpull.benchmark.results import APACHE, Results
from timm_pushpull.utils.markdown import code


def intended_use(results: Results, config: Mapping[str, Any]) -> str:
    task = f"classification of images like those of its training set into its {config['num_classes']:,} classes"
    unknown = "images of other classes: it assigns one of its classes to every image"
    if results.retrieval:
        task = "retrieval of images of the classes of its training set"
        unknown = "images of other classes: it retrieves something for every image"
    height, width = config["pretrained_cfg"]["input_size"][-2:]
    lines = [
        f"- **For** research on robustness to common image corruptions, fine-tuning, and {task}.",
        "- **Not for** decisions about people, or uses where an error causes harm.",
        f"- **Not tested** on adversarial examples, other domains (drawings, scans, medical or aerial images), or "
        f"{unknown}.",
    ]
    if max(height, width) <= 64:
        lines.append(
            f"- **Low resolution:** the input is {height} x {width} px; larger images are scaled down and lose detail."
        )
    return "\n".join(lines)


def limits(results: Results) -> str:
    """Limitations of the results, and the licences."""
    lines = [
        "- One training run with one seed: differences of a few percent between models may be chance.",
        _licence(results),
        f"- Data: {_terms(results.dataset)}",
    ]
    if results.errors:
        lines.insert(
            0,
            "- The results hold for these corruptions only. The error under a single corruption can be far from the "
            "mean, see the table.",
        )
    return "\n".join(lines)


def _licence(results: Results) -> str:
    licence = results.weights_license
    if licence == APACHE:
        return "- Weights, code and this card: Apache-2.0."
    weights = f"{code(licence)}, the licence of the weights that the training started from"
    if licence == "unknown":
        weights = "the licence of the weights that the training started from applies; it was not recorded"
    return f"- Weights: {weights}. Code and this card: Apache-2.0."


def _terms(dataset: str) -> str:
    name = dataset.split("/")[-1].lower()
    if name.startswith("cifar"):
        return (
            "CIFAR has no stated licence; cite Krizhevsky, *Learning Multiple Layers of Features from Tiny "
            "Images*, 2009."
        )
    if "imagenet" in name:
        return (
            "ImageNet, and datasets made from it such as Tiny ImageNet, are for non-commercial research and education "
            "only. Whether these terms extend to weights trained on the images is not settled; decide for yourself."
        )
    return f"{code(dataset)} has its own terms."
