"""Provenance of results: data, weights, code and settings of the measurement, and of the training."""

from __future__ import annotations

from collections.abc import Mapping

from timm_pushpull.benchmark.results import Training
from timm_pushpull.figures.report.groups import Entry, Group
from timm_pushpull.figures.report.sentences import counted
from timm_pushpull.utils.text import duration

Facts = list[tuple[str, str]]


def group_facts(group: Group) -> Facts:
    """Properties that all models of a group share."""
    shared = group.shared
    retrieval = shared.retrieval
    return _known(
        {
            "task": shared.task,
            "error": shared.error_name,
            "database": f"split {retrieval.database_split}, {retrieval.database_images:,} images"
            if retrieval
            else None,
            "dataset": shared.dataset,
            "split": shared.split,
            "images": f"{shared.num_images:,}",
            "preset": shared.preset,
            "seed of the corruptions": shared.seed,
            "corrupted images": f"published files {shared.corrupted}" if shared.corrupted else "made on the fly",
            "JPEG files": f"quality {shared.jpeg_quality}" if shared.jpeg_quality else "none",
            "frost": shared.frost,
            "measured": counted(group.cells, "pair") + " of corruption and severity" + " (partial)" * shared.partial,
        }
    )


def model_facts(entry: Entry) -> Facts:
    """Properties of one model."""
    results = entry.results
    if entry.path is None:
        return [
            ("weights, SHA-256", results.weights_sha256),
            ("source", "the results of a model that names it as its baseline"),
        ]
    training = results.training or Training()
    return _known(
        {
            "weights, SHA-256": results.weights_sha256,
            "hash": f"{results.retrieval.hash_bits} bits" if results.retrieval else None,
            "image size": f"{results.image_size} px" if results.image_size else None,
            "clean pixels, fingerprint": results.fingerprint,
            "precision": results.precision,
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
            "changes to the recipe": "; ".join(training.overrides),
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
