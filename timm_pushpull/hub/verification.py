"""Whether a release is what it says: one model by every way of loading, and no figure but those of its files."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from pathlib import Path

import timm
import torch
from torch import Tensor, nn

from timm_pushpull.benchmark import evaluate, of_model, retrieval
from timm_pushpull.data.loading import DIGITS, load_images
from timm_pushpull.hub.card import discrepancies
from timm_pushpull.hub.folder import CARD, PICTURE, RESULTS, Release
from timm_pushpull.hub.staging import shown_results
from timm_pushpull.models.weights import WEIGHTS
from timm_pushpull.utils.errors import InputError, one_line
from timm_pushpull.utils.files import sha256
from timm_pushpull.utils.hardware import choose_precision

_CELL = ("contrast", 3)
_SIGMAS = 4.0


def verify(release: Release, dataset: str | None = None, images: int = 500) -> Iterator[str]:
    """Check a release, step by step.

    Args:
        dataset: Folder or Hub id of the data that it was measured on; by default the recipe's, if it is a folder that
            is there, or the digits.
        images: Size of the sub-sample of them.

    Yields:
        What was found right, a line each.

    Raises:
        InputError: The first thing that is not right.
    """
    yield f"{WEIGHTS} and {RESULTS} go together ({release.results.weights_sha256[:12]}...)"
    models = dict(loaded(release.path, release))
    yield f"logits are equal to the bit through {', '.join(models)}"
    yield from check_card(release)
    yield from _check_errors(models["timm"], release, dataset, images)


def loaded(folder: Path, release: Release) -> Iterator[tuple[str, nn.Module]]:
    """The model as a folder's users load it, way by way.

    Raises:
        InputError: A way does not load it, gives other logits than the first, or logits that are no numbers.
    """
    expected = None
    for way, load in (("timm", _by_timm), ("the registry", _by_name), ("transformers", _by_transformers)):
        try:
            # A copy, for where a file's weights are mapped into memory, they may begin anywhere, and sums of floats
            # depend on how they are aligned.
            model = copy.deepcopy(load(folder, release)).eval()
            found = logits(model, release)
        except InputError:
            raise
        except Exception as error:  # timm, torch, safetensors and transformers each have their own
            raise InputError(f"{str(folder)!r} cannot be loaded through {way}: {one_line(error)}") from error
        if not found.isfinite().all():
            raise InputError(f"the weights in {str(folder)!r} give logits that are no numbers")
        if expected is not None and not torch.equal(found, expected):
            raise InputError(
                f"{str(folder)!r} gives other logits through {way} than through timm, by up to "
                f"{(found - expected).abs().max():.2g}"
            )
        expected = found
        yield way, model


def logits(model: nn.Module, release: Release) -> Tensor:
    """A model's output, float32 (2, classes), for two fixed images of noise."""
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
    disable_progress_bar()  # a second of loading needs none
    # Left to itself it would compute in the half precision of the file.
    return AutoModelForImageClassification.from_pretrained(folder, dtype=torch.float32)


def check_card(release: Release) -> Iterator[str]:
    """Compare the card and its picture with the results.

    Raises:
        InputError: A figure that they do not give.
    """
    has_picture = (release.path / PICTURE).is_file()
    wrong = discrepancies(release.card, release.render(picture=PICTURE if has_picture else None))
    if wrong:
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        raise InputError(f"{str(release.path / CARD)!r}: {wrong[0]}{more}; make the card anew with hub/stage.py")
    yield f"every figure in {CARD} and its metadata follows from {RESULTS}"
    if has_picture:
        if shown_results(release.path / PICTURE) != sha256(release.path / RESULTS):
            raise InputError(f"{str(release.path / PICTURE)!r} shows other results; make it anew with hub/stage.py")
        yield f"{PICTURE} shows {RESULTS}"


def _check_errors(model: nn.Module, release: Release, dataset: str | None, count: int) -> Iterator[str]:
    """Measure the clean error and one cell again, on a sub-sample; where it retrieves, it does so from all images.

    Raises:
        InputError: An error is further off than chance allows.
    """
    results = release.results
    if dataset is None:
        dataset = str(release.recipe.get("dataset"))
        if dataset != DIGITS and not Path(dataset).is_dir():
            yield "not measured again: the data are not at hand (--dataset)"
            return
    if results.retrieval and release.recipe.get("classes"):
        yield "not measured again: the recipe retrieves some of the classes only (timm-pushpull benchmark)"
        return
    columns = {name: release.recipe.get(name) for name in ("image_column", "label_column")}
    images = of_model(load_images(dataset, results.split, **columns), release.config.get("label_names"))
    if images.name != results.dataset:
        raise InputError(f"{dataset!r} is {images.name}, but the results are of {results.dataset}; give those data")
    sample = images.subset(results.num_images).subset(count)
    model = model.to(memory_format=torch.channels_last)
    precision = choose_precision()  # whatever is fast here; bf16, emulated, takes ten times as long
    task = None
    if results.retrieval:
        database = load_images(dataset, results.retrieval["database_split"], **columns)
        if len(database) < results.retrieval["database_images"]:
            raise InputError(
                f"split {database.split!r} of {dataset!r} has {len(database)} images, but the results are of a "
                f"database of {results.retrieval['database_images']}; give those data"
            )
        database = database.subset(results.retrieval["database_images"])
        task = retrieval(model, database, top=results.retrieval["top"], precision=precision)
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
        jpeg_quality=results.jpeg_quality,
        precision=precision,
    )
    for what, error, expected in (
        ("clean error", found.clean_error, results.clean_error),
        (f"error under {name}, severity {severity}", found.errors.get(name, [None] * 5)[severity - 1], known),
    ):
        if expected is None:
            continue
        allowed = reach(expected, len(sample), results.num_images)
        if abs(error - expected) > allowed:
            raise InputError(
                f"the {what} of {len(sample)} images is {error:.2%}, but {RESULTS} says {expected:.2%}: more than "
                f"chance allows ({allowed:.2%}); measure these weights again"
            )
        yield f"the {what} is {error:.2%} on {len(sample)} images, {expected:.2%} on {results.num_images} in {RESULTS}"


def reach(error: float, sample: int, images: int) -> float:
    """How far the error of a sub-sample may be from that of all images: four standard deviations of drawing without
    replacement, and two images for another rounding, by machine or precision."""
    spread = math.sqrt(error * (1 - error) / sample * (images - sample) / max(images - 1, 1))
    return _SIGMAS * spread + 2 / sample
