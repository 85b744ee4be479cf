"""Verification: every way of loading gives the same model, and the card's numbers are those of the results."""

from __future__ import annotations

import copy
import math
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException, FakeTensorMode

from timm_pushpull.benchmark import evaluate, restrict_to_classes, retrieval
from timm_pushpull.data.loading import DIGITS, load_images
from timm_pushpull.hub.card import discrepancies, eval_results_yaml
from timm_pushpull.hub.release import CARD, EVAL_RESULTS, RESULTS, ROBUSTNESS_IMAGE, Release
from timm_pushpull.hub.staging import shown_results_sha256
from timm_pushpull.models.complexity import multiply_adds
from timm_pushpull.models.size_limit import limited_by
from timm_pushpull.models.weights import CONFIG, WEIGHTS
from timm_pushpull.utils.errors import InputError, one_line
from timm_pushpull.utils.files import sha256
from timm_pushpull.utils.hardware import choose_precision

_CELL = ("contrast", 3)
_SIGMAS = 4.0
_UNKNOWN_SHAPES = (DataDependentOutputException, DynamicOutputShapeException)
_MOST_MACS = 10**13  # of one image; the largest networks of timm need a fifth


def verify(release: Release, dataset: str | None = None, images: int = 500) -> Iterator[str]:
    """Check a release, step by step.

    Args:
        dataset: Folder or Hub id of the dataset it was measured on. By default the recipe's, if that is the digits or
            an existing folder; without a dataset, nothing is measured again.
        images: Size of the subset to measure on.

    Yields:
        A line for every check that passed.

    Raises:
        InputError: The first check that failed.
    """
    yield f"{RESULTS} is about {WEIGHTS} ({release.results.weights_sha256[:12]}...)"
    models = dict(load_each_way(release.path, release))
    yield f"logits are bitwise equal through {', '.join(models)}"
    yield from check_card(release)
    yield from _check_errors(models["timm"], release, dataset, images)


def load_each_way(folder: Path, release: Release) -> Iterator[tuple[str, nn.Module]]:
    """Load the model in each way that users do: timm's `local-dir:`, the registry, transformers.

    Yields:
        Name of the way, and the model in eval mode.

    Raises:
        InputError: A way fails, gives other logits than the first, or logits that are not finite.
    """
    expected = None
    for way, load in (("timm", _by_timm), ("the registry", _by_name), ("transformers", _by_transformers)):
        try:
            # Weights that are memory-mapped from a file may be unaligned, which changes the order of summation and
            # so the last bits; a copy is aligned.
            with limited_by(folder / WEIGHTS):
                model = copy.deepcopy(load(folder, release)).eval()
            if expected is None:
                _check_cost(model, release)
            found = logits(model, release)
        except InputError:
            raise
        except Exception as error:  # timm, torch, safetensors and transformers raise classes of their own
            raise InputError(f"{str(folder)!r} cannot be loaded through {way}: {one_line(error)}") from error
        if not found.isfinite().all():
            raise InputError(f"the weights in {str(folder)!r} give logits that are not finite")
        if expected is not None and not torch.equal(found, expected):
            raise InputError(
                f"{str(folder)!r} gives other logits through {way} than through timm, by up to "
                f"{(found - expected).abs().max():.2g}"
            )
        expected = found
        yield way, model


def _check_cost(model: nn.Module, release: Release) -> None:
    """Raise InputError for a network that would compute for hours; nothing is computed here."""
    channels, *sides = release.config["pretrained_cfg"]["input_size"]
    macs = 0
    with suppress(*_UNKNOWN_SHAPES), FakeTensorMode(allow_non_fake_inputs=True):
        macs = multiply_adds(model, max(sides), channels)
    if macs > _MOST_MACS:
        raise InputError(
            f"{str(release.path / CONFIG)!r} asks for {macs:.1e} multiply-adds for one image; at most {_MOST_MACS:.0e} "
            f"are computed: correct its input_size and model_args"
        )


def logits(model: nn.Module, release: Release) -> Tensor:
    """A model's outputs, float32 (2, classes), for two fixed noise images."""
    size = release.config["pretrained_cfg"]["input_size"]
    with torch.no_grad():
        output = model(torch.randn(2, *size, generator=torch.Generator().manual_seed(0)))
    return getattr(output, "logits", output)


def _by_timm(folder: Path, release: Release) -> nn.Module:
    return timm.create_model(f"local-dir:{folder}", pretrained=True)


def _by_name(folder: Path, release: Release) -> nn.Module:
    config = release.config
    overlay = {"file": str(folder / WEIGHTS), "num_classes": config["num_classes"]}
    options = {"num_classes": config["num_classes"], **config.get("model_args", {})}
    return timm.create_model(config["architecture"], pretrained=True, pretrained_cfg_overlay=overlay, **options)


def _by_transformers(folder: Path, release: Release) -> nn.Module:
    try:
        from transformers import AutoModelForImageClassification
        from transformers.utils.logging import disable_progress_bar
    except ImportError:
        raise InputError("verifying needs transformers: pip install 'timm-pushpull[hub]'") from None
    disable_progress_bar()  # loading takes about a second
    # transformers acts on other files too: an adapter_config.json there would make it load another repository.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as only:  # Windows keeps files that are mapped
        for name in (CONFIG, WEIGHTS):
            shutil.copyfile(folder / name, Path(only) / name)
        # Without dtype it would compute in the half precision of the file.
        return AutoModelForImageClassification.from_pretrained(only, dtype=torch.float32, trust_remote_code=False)


def check_card(release: Release) -> Iterator[str]:
    """Compare the card, its plot and `.eval_results` with the results.

    Raises:
        InputError: They differ.
    """
    has_image = (release.path / ROBUSTNESS_IMAGE).is_file()
    wrong = discrepancies(release.card, release.render(image=ROBUSTNESS_IMAGE if has_image else None))
    if wrong:
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        raise InputError(f"{str(release.path / CARD)!r}: {wrong[0]}{more}; write the card again with hub/stage.py")
    yield f"all numbers in {CARD} and its metadata agree with {RESULTS}"
    if has_image:
        if shown_results_sha256(release.path / ROBUSTNESS_IMAGE) != sha256(release.path / RESULTS):
            raise InputError(
                f"{str(release.path / ROBUSTNESS_IMAGE)!r} shows other results; write it again with hub/stage.py"
            )
        yield f"{ROBUSTNESS_IMAGE} shows {RESULTS}"
    if (path := release.path / EVAL_RESULTS).is_file():
        if path.read_bytes() != eval_results_yaml(release.results, release.name).encode():
            raise InputError(f"{str(path)!r} holds other results; write it again with hub/stage.py --eval-results")
        yield f"{EVAL_RESULTS} agrees with {RESULTS}"


def _check_errors(model: nn.Module, release: Release, dataset: str | None, count: int) -> Iterator[str]:
    """Measure the clean error and one corruption again on a subset of the images; retrieval uses the full database.

    Raises:
        InputError: An error differs by more than chance allows.
    """
    results = release.results
    if dataset is None:
        dataset = str(release.recipe.get("dataset"))
        if dataset != DIGITS and not Path(dataset).is_dir():
            yield "not measured again: the dataset was not found (give --dataset)"
            return
    if results.retrieval and release.recipe.get("classes"):
        yield "not measured again: the recipe retrieves only some of the classes; use timm-pushpull benchmark"
        return
    columns: dict[str, Any] = {name: release.recipe.get(name) for name in ("image_column", "label_column")}
    images = load_images(dataset, results.split, config=results.dataset_config, **columns)
    images = restrict_to_classes(images, release.config.get("label_names"))
    if images.name != results.dataset:
        raise InputError(f"{dataset!r} is {images.name}, but the results are about {results.dataset}; give that")
    sample = images.subset(results.num_images).subset(count)
    model = model.to(memory_format=torch.channels_last)
    precision = choose_precision()  # emulated bf16 would take ten times as long
    task = None
    if results.retrieval:
        split = results.retrieval.database_split
        database = load_images(dataset, split, config=results.dataset_config, **columns)
        if len(database) < results.retrieval.database_images:
            raise InputError(
                f"split {split!r} of {dataset!r} has {len(database)} images, but the results are about "
                f"a database of {results.retrieval.database_images}; give that dataset"
            )
        database = database.subset(results.retrieval.database_images)
        task = retrieval(model, database, top=results.retrieval.top, precision=precision)
    name, severity = _CELL
    known = results.errors.get(name, [None] * 5)[severity - 1]
    found = evaluate(
        model,
        sample,
        task=task,
        preset=results.preset,
        corruptions=[name] if known is not None else [],
        severities=[severity],
        seed=results.seed,
        jpeg_quality=results.jpeg_quality or "none",
        precision=precision,
    )
    for what, error, expected in (
        ("clean error", found.clean_error, results.clean_error),
        (f"error under {name}, severity {severity}", found.errors.get(name, [None] * 5)[severity - 1], known),
    ):
        if expected is None or error is None:
            continue
        allowed = tolerance(expected, len(sample), results.num_images)
        if abs(error - expected) > allowed:
            raise InputError(
                f"the {what} of {len(sample)} images is {error:.2%}, but {RESULTS} says {expected:.2%}: they differ by "
                f"more than chance allows ({allowed:.2%}); measure these weights again"
            )
        yield f"the {what} is {error:.2%} on {len(sample)} images, {expected:.2%} on {results.num_images} in {RESULTS}"


def tolerance(error: float, sample: int, images: int) -> float:
    """How much the error on a subset may differ from the error on all images.

    Four standard deviations of sampling without replacement, plus two images for rounding that differs by machine or
    precision.

    Args:
        error: On all images.
        sample, images: Number of images in the subset and in all.
    """
    spread = math.sqrt(error * (1 - error) / sample * (images - sample) / max(images - 1, 1))
    return _SIGMAS * spread + 2 / sample
