"""A model card of made-up results, and what it says."""

from __future__ import annotations

import re

from support.example_run import TRAINING, some_results
from timm_pushpull.benchmark.results import Intervals
from timm_pushpull.hub.card import model_card

RECIPE = {"epochs": 1, "train_split": "train", "seed": 7, "lr_peak": 0.2, "mean": [0.1, 0.2, 0.3], "clip_grad": None}
CONFIG = {
    "architecture": "resnet18_cifar_pushpull",
    "num_classes": 2,
    "num_features": 512,
    "label_names": ["dark", "light"],
    "pretrained_cfg": {
        "input_size": [3, 32, 32],
        "interpolation": "bilinear",
        "crop_pct": 0.875,
        "mean": [0.1, 0.2, 0.3],
        "std": [0.4, 0.5, 0.6],
    },
    "model_args": {"avg_size": 3},
}
BASELINE = some_results("resnet18_cifar", clean_error=0.04, errors={name: [0.4] * 5 for name in some_results().errors})
PAIR = some_results(training=TRAINING, baseline=BASELINE.as_baseline(), intervals=Intervals(mce=(0.1912, 0.2088)))
TITLE = "resnet18_cifar_pushpull.photos"


def card_of(results, **changes) -> str:
    arguments = {"title": TITLE, "recipe": RECIPE, "config": CONFIG, "parameters": 11_173_962, "macs": 561_000_000}
    return model_card(results, **(arguments | changes))


def row_of(card: str, name: str, header: str) -> list[str]:
    """The cells behind `name` in the table whose header begins with `header`."""
    block = card[card.index(f"| {header} |") :].split("\n\n")[0]
    line = next(line for line in block.splitlines() if line.replace("*", "").replace("`", "").startswith(f"| {name} "))
    return [cell.strip(" *") for cell in line.strip("|").split("|")[1:]]


def snippets(card: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", card, re.S | re.M)
