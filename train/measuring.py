"""Measuring a network after training, and writing down what came out."""

from __future__ import annotations

import json
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import torch
import yaml
from accelerate import Accelerator
from accelerate.utils import broadcast
from torch import nn

from objectives import Classes, Hashes
from run_folder import JOURNAL, RECIPE, RunFolder
from settings import Settings
from splits import Data
from timm_pushpull.benchmark import (
    Distributed,
    Evaluation,
    ProgressLog,
    check_classes,
    evaluate,
    identity,
    retrieval,
)
from timm_pushpull.benchmark.results import Measurement, Results, RetrievalSettings, Training
from timm_pushpull.corruptions import CORRUPTIONS, frost_source, get_preset
from timm_pushpull.hub.card import card_of
from timm_pushpull.models.weights import CONFIG, label_names, load_model, save_model
from timm_pushpull.utils import hardware, provenance


def class_error(
    model: nn.Module, objective: Classes | Hashes, data: Data, settings: Settings, accelerator: Accelerator
) -> float:
    """Share of the test images that are taken for another class, by a network of hashes for that of the nearest hash.

    What an epoch ends with: 1 - mAP is close to it, but would need a pass over the training images too.
    """
    if accelerator.num_processes > 1:
        broadcast(list(model.buffers()))  # batch norm's statistics differ between processes; the main one's are saved
    # A compiled network would be compiled once more, for one pass over the test images.
    with torch.compiler.set_stance("force_eager") if settings.compile else nullcontext():
        evaluation = evaluate(
            objective.classifier(model),
            data.test,
            data.geometry,
            corruptions=(),
            progress=False,
            **_shared(settings, accelerator),
        )
    return evaluation.clean_error


def measure(
    model: nn.Module, data: Data, settings: Settings, accelerator: Accelerator, log: ProgressLog | None = None
) -> Evaluation:
    """Errors of the task on clean images and under corruptions, over all processes."""
    shared = _shared(settings, accelerator) | {"progress": accelerator.is_main_process}
    task = None
    if settings.task == "retrieval":
        task = retrieval(model, data.train.images, data.geometry, top=settings.top, **shared)
    return evaluate(
        model,
        data.test.subset(settings.benchmark_limit),
        data.geometry,
        task=task,
        preset=settings.preset,
        corruptions=CORRUPTIONS,
        jpeg_quality=get_preset(settings.preset).jpeg_quality,
        log=log,
        **shared,
    )


def _shared(settings: Settings, accelerator: Accelerator) -> dict[str, Any]:
    """How images are normalised, and who computes with what."""
    return {
        "mean": settings.mean,
        "std": settings.std,
        "device": accelerator.device,
        "precision": settings.precision,
        "distributed": Distributed(accelerator.process_index, accelerator.num_processes, accelerator.reduce),
    }


def plan_benchmark(name: str, data: Data, settings: Settings, device: torch.device) -> Measurement:
    """What the benchmark of a run's network is about."""
    database = None
    if settings.task == "retrieval":
        images = data.train.images
        database = RetrievalSettings(settings.hash_bits, settings.top, images.split, len(images))
    return Measurement(
        model=name,
        weights_sha256=None,
        dataset=data.test.name,
        split=data.test.split,
        preset=settings.preset,
        seed=0,
        num_images=len(data.test.subset(settings.benchmark_limit)),
        task=settings.task,
        retrieval=database,
        frost=frost_source(),
        jpeg_quality=get_preset(settings.preset).jpeg_quality,
        precision=settings.precision,
        hardware=hardware.describe(device),
        versions=provenance.versions(),
        command=provenance.command(),
        commit=provenance.commit(),
    )


def keep(
    folder: RunFolder,
    model: nn.Module,
    data: Data,
    settings: Settings,
    seconds: float,
    accelerator: Accelerator,
    departures: list[str],
) -> None:
    """Write the trained weights and, last, what there is to say of the training."""
    tag = data.test.name.split("/")[-1] + ("_retrieval" if settings.task == "retrieval" else "")
    if accelerator.is_main_process:
        weights_sha256 = save_model(
            model,
            folder.path,
            classes=None if settings.task == "retrieval" else data.test.classes,
            geometry=data.geometry,
            mean=settings.mean,
            std=settings.std,
            tag=tag,
            half=settings.half_weights,
            model_args=settings.model_args,
        )
        training = describe_training(
            data, settings, seconds, accelerator.num_processes, hardware.describe(accelerator.device), departures
        )
        folder.write_training(weights_sha256, training)
    accelerator.wait_for_everyone()


def finish(
    folder: RunFolder, data: Data, settings: Settings, accelerator: Accelerator, baseline: Results | None
) -> Results:
    """Load the trained weights as a user would, measure them, write the card and, last, the results.

    Raises:
        InputError: The weights, or what was measured of them before, are not of this run and data set.
    """
    (name,) = settings.models
    weights_sha256, training = folder.read_training()
    model, _ = load_model(f"local-dir:{folder.path}")
    check_classes(label_names(model), data.test.classes, data.test.name)
    model.to(accelerator.device, memory_format=torch.channels_last)
    planned = replace(
        plan_benchmark(name, data, settings, accelerator.device),
        weights_sha256=weights_sha256,
        image_size=data.geometry.size,
    )
    log = None
    if accelerator.is_main_process:
        log = ProgressLog(folder.path / JOURNAL, identity(planned), "remove it to measure anew")
    evaluation = measure(model, data, settings, accelerator, log)
    compared = baseline.as_baseline() if baseline else None
    results = planned.results(training=training, baseline=compared, **evaluation.as_results())
    if accelerator.is_main_process:
        folder.finish(card(folder, results, model), results)
    accelerator.wait_for_everyone()
    return results


def card(folder: RunFolder, results: Results, model: nn.Module) -> str:
    """The model card, from what the folder holds."""
    config = json.loads((folder.path / CONFIG).read_text(encoding="utf-8"))
    recipe = yaml.safe_load((folder.path / RECIPE).read_text(encoding="utf-8"))
    return card_of(model, results=results, recipe=recipe, config=config)


def describe_training(
    data: Data, settings: Settings, seconds: float, processes: int, processor: str, departures: list[str]
) -> Training:
    """What results say of the training."""
    return Training(
        images=len(data.train),
        epochs=settings.epochs,
        seconds=round(seconds, 1),
        processes=processes,
        hardware=processor,
        precision=settings.precision,
        origin=data.train.images.origin or None,
        overrides=departures,
    )
