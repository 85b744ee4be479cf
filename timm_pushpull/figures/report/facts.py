"""Where figures come from: what was measured, with which weights, code and settings, and how they were trained."""

from __future__ import annotations

from collections.abc import Mapping

from timm_pushpull.benchmark.results import Training
from timm_pushpull.figures.report.groups import Entry, Group
from timm_pushpull.figures.report.sentences import counted
from timm_pushpull.utils.text import duration

Facts = list[tuple[str, str]]


def group_facts(group: Group) -> Facts:
    """What all models of a group have in common."""
    shared = group.shared
    retrieval = shared.retrieval
    return _known(
        {
            "task": shared.task,
            "error": shared.error_name,
            "database": f"split {retrieval.database_split}, {retrieval.database_images:,} images"
            if retrieval
            else None,
            "data set": shared.dataset,
            "split": shared.split,
            "images": f"{shared.num_images:,}",
            "preset": shared.preset,
            "seed of the corruptions": shared.seed,
            "corrupted images": f"published files {shared.corrupted}" if shared.corrupted else "made on the fly",
            "JPEG files": f"quality {shared.jpeg_quality}" if shared.jpeg_quality else "none",
            "frost": shared.frost,
            "measured": counted(group.cells, "cell")
            + (" (partial)" if shared.partial else ", all of the 15 \N{MULTIPLICATION SIGN} 5"),
        }
    )


def model_facts(entry: Entry) -> Facts:
    """What is one model's own."""
    results = entry.results
    if entry.path is None:
        return [
            ("weights, SHA-256", results.weights_sha256),
            ("source", "recorded in the results of a model that names it as baseline"),
        ]
    training = results.training or Training()
    return _known(
        {
            "weights, SHA-256": results.weights_sha256,
            "hash": f"{results.retrieval.hash_bits} bits" if results.retrieval else None,
            "image size": f"{results.image_size} px" if results.image_size else None,
            "clean pixels, fingerprint": results.fingerprint,
            "arithmetic": results.precision,
            "hardware": results.hardware,
            "time to measure": duration(results.seconds) if results.seconds else None,
            "command": results.command,
            "commit of timm-pushpull": results.commit,
            "versions": ", ".join(f"{name} {number}" for name, number in results.versions.items()),
            "training images": None if training.images is None else f"{training.images:,}",
            "training epochs": training.epochs,
            "training time": duration(training.seconds) if training.seconds else None,
            "training hardware": _hardware(training),
            "training data": training.origin,
            "not as in the recipe": "; ".join(training.overrides),
            "baseline named in the results": results.baseline.model if results.baseline else None,
        }
    )


def _known(facts: Mapping[str, object]) -> Facts:
    return [(name, str(value)) for name, value in facts.items() if value not in (None, "", [], {})]


def _hardware(training: Training) -> str | None:
    if not training.hardware:
        return None
    times = f"{training.processes} \N{MULTIPLICATION SIGN} " if training.processes else ""
    precision = f", {training.precision}" if training.precision else ""
    return f"{times}{training.hardware}{precision}"
