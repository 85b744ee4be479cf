"""The corruption benchmark of a trained network, and the results and the card that a run ends with."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from timm.models import split_model_name_tag
from torch import Tensor

from timm_pushpull.benchmark import Distributed, ProgressLog, check_classes, evaluate, identity, retrieval
from timm_pushpull.benchmark.evaluation import CLEAN
from timm_pushpull.benchmark.results import Measurement, Results, RetrievalSettings
from timm_pushpull.benchmark.sources import Batch, OnTheFlyCorruptions
from timm_pushpull.benchmark.tasks import Cell
from timm_pushpull.corruptions import CORRUPTIONS, SEVERITIES, check_corruption, frost_source
from timm_pushpull.corruptions.functional import cells_of, check_image_size
from timm_pushpull.corruptions.presets import get_preset
from timm_pushpull.hub.card import card_of
from timm_pushpull.models.config import parse_config
from timm_pushpull.models.convert import network_name
from timm_pushpull.models.weights import CONFIG, label_names, load_model
from timm_pushpull.utils import hardware, provenance
from timm_pushpull.utils.markdown import percent
from timm_pushpull.utils.yaml_text import load_yaml
from train.data import Data
from train.run_folder import BENCHMARK_LOG, RECIPE, RunFolder
from train.settings import Settings


def check_benchmark(settings: Settings) -> None:
    """Raise InputError, before the training, for what the benchmark after it would refuse."""
    assert settings.preset
    preset = get_preset(settings.preset)
    size = settings.test_img_size or settings.img_size
    assert size
    check_image_size(size, size, preset)
    for name, severity in cells_of(CORRUPTIONS, SEVERITIES):
        check_corruption(name, severity, settings.preset)


def plan_benchmark(data: Data, settings: Settings, device: torch.device) -> Measurement:
    """What the benchmark of a run's network is about."""
    assert settings.preset
    database = None
    if settings.task == "retrieval":
        images = data.train.images
        database = RetrievalSettings(settings.hash_bits, settings.top, images.split, len(images))
    return Measurement(
        model=network_name(split_model_name_tag(settings.models[0])[0], settings.model_args),
        weights_sha256=None,
        dataset=data.test.name,
        split=data.test.split,
        dataset_config=data.test.config,
        preset=settings.preset,
        seed=0,
        num_images=len(data.test.subset(settings.benchmark_limit)),
        task="retrieval" if settings.task == "retrieval" else "classification",
        retrieval=database,
        frost=frost_source(),
        jpeg_quality=get_preset(settings.preset).jpeg_quality,
        image_size=data.geometry.size,
        precision=settings.precision,
        hardware=hardware.describe(device),
        versions=provenance.versions(),
        command=provenance.command(),
        commit=provenance.commit(),
    )


def evaluation_options(settings: Settings, accelerator: Accelerator) -> dict[str, Any]:
    """How images are normalised, and which process evaluates what with which arithmetic."""
    return {
        "mean": settings.mean,
        "std": settings.std,
        "device": accelerator.device,
        "precision": settings.precision,
        "distributed": Distributed(accelerator.process_index, accelerator.num_processes, accelerator.reduce),
    }


class DecodedImages(OnTheFlyCorruptions):
    """The test images of a run without corruptions, decoded before."""

    def __init__(self, data: Data) -> None:
        super().__init__(data.test, data.geometry)
        self.pixels = data.decoded

    def batches(self, positions: np.ndarray, cells: Sequence[Cell], batch_size: int, workers: int) -> Iterator[Batch]:
        assert self.pixels is not None
        assert list(cells) == [CLEAN]
        for start in range(0, len(positions), batch_size):
            part = positions[start : start + batch_size]
            yield CLEAN, part, self.pixels[part], start + batch_size >= len(positions)


def clean_error(model: Callable[[Tensor], Tensor], data: Data, options: dict[str, Any]) -> float:
    """Share of the test images without corruptions whose predicted class is wrong."""
    images = data.test if data.decoded is None else DecodedImages(data)
    evaluation = evaluate(model, images, data.geometry, corruptions=(), progress=False, **options)
    assert evaluation.clean_error is not None
    return evaluation.clean_error


def run_benchmark(
    folder: RunFolder, data: Data, settings: Settings, accelerator: Accelerator, baseline: Results | None
) -> Results:
    """Load the saved weights as a user would, measure them, and write the card and, last, the results.

    Raises:
        InputError: The weights, or what was measured of them before, are not of this run and dataset.
    """
    weights_sha256, training = folder.read_training()
    model, _ = load_model(f"local-dir:{folder.path}")
    check_classes(label_names(model), data.test.classes, data.test.name)
    model.to(device=accelerator.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    planned = replace(plan_benchmark(data, settings, accelerator.device), weights_sha256=weights_sha256)
    log = None
    if accelerator.is_main_process:
        log = ProgressLog(folder.path / BENCHMARK_LOG, identity(planned), "remove it to measure anew")
    shared = evaluation_options(settings, accelerator) | {"progress": accelerator.is_main_process}
    task: Any = None
    if settings.task == "retrieval":
        task = retrieval(model, data.train.images, data.geometry, top=settings.top, **shared)
    evaluation = evaluate(
        model,
        data.test.subset(settings.benchmark_limit),
        data.geometry,
        task=task,
        preset=settings.preset,
        corruptions=CORRUPTIONS,
        jpeg_quality=planned.jpeg_quality or "none",
        log=log,
        **shared,
    )
    compared = baseline.as_baseline(training) if baseline else None
    results = planned.results(training=training, baseline=compared, **evaluation.as_results())
    if accelerator.is_main_process:
        config = parse_config((folder.path / CONFIG).read_bytes(), repr(str(folder.path / CONFIG)))
        recipe = load_yaml((folder.path / RECIPE).read_text(encoding="utf-8"))
        folder.write_results(card_of(model, results=results, recipe=recipe, config=config), results)
    accelerator.print(
        f"{settings.names[0]}: clean error {percent(results.clean_error, 1)}, mCE {percent(results.mce, 1)} on "
        f"{results.num_images:,} images"
    )
    accelerator.wait_for_everyone()
    return results
