"""Example results for the report: comparable and not, with weights, a hostile name, and missing cells."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image
from safetensors.numpy import save_file

from support.example_run import some_results
from timm_pushpull.benchmark.results import Intervals, Results, Training
from timm_pushpull.metrics import confidence_interval
from timm_pushpull.utils.files import sha256

EVIL = "</script><img src=x onerror=pwned=1><b>bold</b><script>pwned=1</script>"
ALPHA = np.array([-0.25, 0.0, 0.3, 0.5, 0.5, 1.2], np.float32)


def scaled(factor: float, **changes) -> Results:
    """The example results with all errors multiplied by a factor, with intervals."""
    base = some_results()
    clean = base.clean_error * factor
    errors = {name: [error * factor for error in row] for name, row in base.errors.items()}
    results = some_results(**{"clean_error": clean, "errors": errors, **changes})
    cells = {name: [confidence_interval(error, 100) for error in row] for name, row in errors.items()}
    intervals = Intervals(confidence_interval(clean, 100), confidence_interval(results.mce, 100), cells)
    return replace(results, intervals=intervals)


def save_weights(folder: Path, alpha: np.ndarray) -> str:
    """Write the weights of one push-pull layer and return their hash."""
    folder.mkdir(exist_ok=True)
    weight = np.zeros((len(alpha), 3, 1, 1), alpha.dtype)
    save_file({"conv1.alpha": alpha, "conv1.weight": weight}, folder / "model.safetensors")
    return sha256(folder / "model.safetensors")


def write_results(folder: Path) -> list[Path]:
    """Write an image and results: four comparable models, of which one is a run folder with weights, and two others
    that were measured on another dataset and not everywhere. Returns the paths of the results; the baseline of the
    first group is not the first, but named by another's results.
    """
    base = scaled(1.0, model="plain", weights_sha256="b" * 64)
    base.save(folder / "base.json")
    digest = save_weights(folder / "better", ALPHA)
    replace(
        scaled(0.8, model="pushpull", weights_sha256=digest, baseline=base.as_baseline()),
        training=Training(images=50_000, epochs=5, seconds=120.0, overrides=["epochs is 5, not 30"]),
        command="train.py --recipe cifar10",
        commit="c0ffee",
    ).save(folder / "better" / "results.json")
    scaled(1.1, model=EVIL).save(folder / "worse.json")
    scaled(1.05, model="between").save(folder / "between.json")
    cells = {"fog": [0.1, None, 0.3, None, None], "frost": [0.2, None, 0.4, None, None]}
    for model, clean in (("partial", 0.1), ("unclean", None)):
        results = some_results(model, dataset="others", errors=cells, clean_error=clean, frost="procedural, differs")
        results.save(folder / f"{model}.json")
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)).save(folder / "photo.png")
    names = ("worse.json", "better", "partial.json", "base.json", "between.json", "unclean.json")
    return [folder / name for name in names]
