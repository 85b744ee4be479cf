"""`timm-pushpull benchmark`."""

from __future__ import annotations

import argparse
import functools
import os
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from timm_pushpull.benchmark.results import TASKS, Measurement, Results, RetrievalSettings
from timm_pushpull.cli.options import (
    add_corruption_options,
    add_frost_option,
    add_jpeg_option,
    add_split_options,
    check_corruption_options,
    load,
)
from timm_pushpull.cli.parser import KeyValues, add_command
from timm_pushpull.cli.tables import print_results
from timm_pushpull.corruptions import CORRUPTIONS
from timm_pushpull.utils.errors import InputError, unknown
from timm_pushpull.utils.files import check_output, remove_temporary
from timm_pushpull.utils.locks import only_process
from timm_pushpull.utils.text import say

if TYPE_CHECKING:
    import torch

    from timm_pushpull.benchmark import Distributed


def add(commands) -> None:
    parser = add_command(
        commands,
        "benchmark",
        help="measure a model on clean and corrupted images",
        description="Measure the top-1 error of a timm model on clean and corrupted images. The images are corrupted "
        "on the fly, or read from files (--corrupted). With --task retrieval, measure 1 - mAP of a network that hashes "
        "images. Running the same command again resumes an interrupted measurement.",
        examples=(
            "timm-pushpull benchmark --model resnet18_cifar_pushpull.cifar10 --dataset uoft-cs/cifar10 \\\n"
            "      --preset cifar10-c --output results.json",
            "timm-pushpull benchmark --model resnet50 --corrupted ImageNet-C --output resnet50.json",
            "timm-pushpull benchmark --model resnet50 --convert-stem --model-args alpha=1 \\\n"
            "      --dataset my_images --output converted.json",
            "torchrun --nproc_per_node 8 -m timm_pushpull benchmark --model ... --output results.json",
        ),
    )
    parser.add_argument("--model", required=True, help="a registered name, local-dir:FOLDER or hf-hub:ID")
    parser.add_argument(
        "--weights",
        help="a safetensors file, a checkpoint (.pth), local-dir:FOLDER or hf-hub:ID (default: those of --model)",
    )
    parser.add_argument(
        "--convert-stem",
        action="store_true",
        help="make the first convolution of --model a push-pull unit, with the weights of the convolution",
    )
    parser.add_argument(
        "--model-args",
        "--model-kwargs",
        nargs="*",
        action=KeyValues,
        default={},
        metavar="KEY=VALUE",
        help="arguments of the model, as in avg_size=5 (default: none)",
    )
    parser.add_argument(
        "--dataset",
        help="a folder or Hub id of an image dataset, or digits (default: none; needed without --corrupted)",
    )
    parser.add_argument(
        "--corrupted",
        metavar="PLACE",
        help="a folder or Hub id of files like CIFAR-10-C, ImageNet-C or Tiny-ImageNet-C; --dataset then gives only "
        "the clean images (default: corrupt --dataset on the fly)",
    )
    parser.add_argument("--task", default=TASKS[0], help=f"{' or '.join(TASKS)} (default: %(default)s)")
    parser.add_argument(
        "--database-split",
        default="train",
        help="retrieval: split of --dataset whose clean images are retrieved (default: %(default)s)",
    )
    parser.add_argument("--top", type=int, metavar="N", help="retrieval: ranks that count for mAP (default: 200)")
    add_split_options(parser)
    add_corruption_options(
        parser,
        CORRUPTIONS,
        "the 15 of ImageNet-C",
        otherwise="; with --corrupted, the set's own, else by its image size",
    )
    add_frost_option(parser)
    add_jpeg_option(parser)
    parser.add_argument("--image-size", type=int, metavar="PX", help="input size (default: the model's)")
    parser.add_argument("--details", action="store_true", help="also measure top-5 and calibration errors")
    parser.add_argument("--batch-size", type=int, metavar="N", help="per process (default: 64 on a CPU, else 512)")
    parser.add_argument(
        "--workers", type=int, metavar="N", help="threads that corrupt (default: 1 on a CPU, else one per core)"
    )
    parser.add_argument("--precision", default="auto", help="auto, bf16 or fp32 (default: %(default)s)")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="results file to write, JSON")
    parser.add_argument("--overwrite", action="store_true", help="measure again from the start where the output exists")
    parser.set_defaults(run=_benchmark)


def _check(options: argparse.Namespace) -> None:
    """Check the options, and bring them into their final form, before anything slow is imported or loaded.

    Raises:
        InputError: An option has a value that is not allowed, or does not go with another.
    """
    for name in ("batch_size", "workers", "image_size"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise InputError(f"--{name.replace('_', '-')} is {value}; use 1 or more")
    if not options.dataset and not options.corrupted:
        raise InputError("nothing to measure on; give --dataset or --corrupted")
    if options.task not in TASKS:
        raise unknown("task", options.task, TASKS)
    retrieves = options.task == "retrieval"
    if retrieves and not options.dataset:
        raise InputError("retrieval needs images to retrieve; give their --dataset")
    if retrieves and options.details:
        raise InputError("--details is for classifiers; leave it out with --task retrieval")
    check_corruption_options(options)
    check_output(options.output)


def _benchmark(options: argparse.Namespace) -> None:
    _check(options)

    import torch

    from timm_pushpull import benchmark
    from timm_pushpull.benchmark.progress_log import refuse_other
    from timm_pushpull.data.preprocessing import model_geometry
    from timm_pushpull.models.weights import label_names, load_model, name_of
    from timm_pushpull.utils import provenance
    from timm_pushpull.utils.hardware import choose_precision, describe

    retrieves = options.task == "retrieval"
    distributed, device = _distributed()
    precision = choose_precision(options.precision, device)
    model: Any  # timm's models have attributes that nn.Module does not declare
    model, weights_sha256 = load_model(*_converted(options))
    geometry = model_geometry(model, options.image_size)
    names = label_names(model)
    source = _source(options, geometry, names)
    about = source.about(options.corruptions)
    database = None
    if retrieves:
        if names:
            raise InputError(
                f"{options.model!r} is a classifier of {len(names)} classes, not a network for retrieval; use one, or "
                f"leave --task out"
            )
        database, about["retrieval"] = _database(options, about["split"], source.classes, model.num_classes)
    else:
        benchmark.check_classes(names, source.classes, about.get("corrupted") or about["dataset"])
    measurement = Measurement(
        model=name_of(model),
        weights_sha256=weights_sha256,
        num_images=len(source.labels),
        task=options.task,
        precision=precision,
        hardware=describe(device),
        versions=provenance.versions(),
        command=provenance.command(),
        commit=provenance.commit(),
        **about,
    )
    identity = benchmark.identity(measurement, options.details)
    log_path = options.output.with_name(options.output.name + ".part")
    with only_process(options.output) if distributed.is_main else nullcontext():
        if distributed.is_main:
            remove_temporary(options.output)
        if options.overwrite and distributed.is_main:
            options.output.unlink(missing_ok=True)
            log_path.unlink(missing_ok=True)
        if not options.overwrite and options.output.exists():
            finished = Results.load(options.output)
            refuse_other(str(options.output), benchmark.identity(finished, options.details), identity)
            if distributed.is_main:
                log_path.unlink(missing_ok=True)  # left by a process that was killed after it had saved
                print_results(finished)
                say(f"{options.output} was finished before; use --overwrite to measure again")
            return
        log = benchmark.ProgressLog(log_path, identity) if distributed.is_main else None
        model.to(device, memory_format=torch.channels_last)
        shared = {
            "batch_size": options.batch_size,
            "device": device,
            "precision": precision,
            "distributed": distributed,
            "progress": distributed.is_main,
        }
        task = None
        if database is not None:
            task = benchmark.retrieval(model, database, geometry, top=about["retrieval"].top, **shared)
        evaluation = benchmark.evaluate(
            model,
            source,
            task=task,
            corruptions=options.corruptions,
            severities=options.severities,
            details=options.details,
            log=log,
            **shared,
        )
        if log is not None:
            results = measurement.results(**evaluation.as_results())
            results.save(options.output)
            log.remove()
            print_results(results)
            say(f"written to {options.output}")


def _converted(options: argparse.Namespace) -> tuple[str, str | None, dict[str, Any]]:
    """Name, weights and arguments of the model, for `load_model`."""
    from timm_pushpull.models.convert import CONVERTED

    if not options.convert_stem:
        return options.model, options.weights, options.model_args
    if ":" in options.model:
        raise InputError(f"--convert-stem is for a registered name, not for {options.model!r}; leave it out")
    return CONVERTED, options.weights, {"base": options.model, **options.model_args}


def _source(options: argparse.Namespace, geometry, names: list[str] | None):
    """The images to measure on.

    Args:
        names: The model's class names; None if it has none.
    """
    from timm_pushpull.benchmark import OnTheFlyCorruptions, PrecomputedCorruptions, restrict_to_classes
    from timm_pushpull.data.corrupted import open_corrupted

    images = load(options, options.dataset, options.split) if options.dataset else None
    if images is not None and not options.corrupted:
        images = restrict_to_classes(images, names).subset(options.limit)
        return OnTheFlyCorruptions(
            images,
            geometry,
            preset=options.preset,
            seed=options.seed,
            frost_dir=options.frost_dir,
            jpeg_quality=options.jpeg_quality or "none",
            workers=options.workers,
        )
    files = open_corrupted(options.corrupted)
    missing = [name for name in options.corruptions if name not in files.corruptions]
    if missing:
        raise InputError(
            f"{files.name!r} has no {', '.join(missing)}; measure on what is there: --corruptions "
            f"{' '.join(files.corruptions)}"
        )
    return PrecomputedCorruptions(
        files,
        geometry.size,
        clean=images,
        geometry=geometry,
        limit=options.limit,
        workers=options.workers,
        preset=options.preset_given,
    )


def _database(options: argparse.Namespace, split: str, classes: tuple[str, ...], bits: int):
    """The images to be retrieved, and the fields of the results that describe them.

    Args:
        split, classes: The query images' split and class names.
        bits: Length of a hash.
    """
    from timm_pushpull.benchmark.hashing import TOP
    from timm_pushpull.benchmark.tasks import check_top

    images = load(options, options.dataset, options.database_split)
    if images.split == split:
        raise InputError(
            f"split {split!r} holds both the queries and the database, so every image would find itself; "
            f"choose another --database-split"
        )
    # Published files may have numbers for class names, and a small subset may lack the last classes.
    if len(classes) > len(images.classes) or (
        set(classes) & set(images.classes) and images.classes[: len(classes)] != classes
    ):
        raise InputError(f"splits {split!r} and {images.split!r} of {images.name!r} have different classes")
    top = TOP if options.top is None else options.top
    check_top(top, len(images))
    return images, RetrievalSettings(bits, top, images.split, len(images))


def _distributed() -> tuple[Distributed, torch.device]:
    """The place of this process and its device, as torchrun or `accelerate launch` set them up."""
    from timm_pushpull.benchmark import Distributed
    from timm_pushpull.utils.hardware import choose_device, use_all_cores

    device = choose_device()
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return Distributed(), device
    try:
        from accelerate import PartialState
        from accelerate.utils import reduce
    except ImportError:
        raise InputError("several processes need accelerate: pip install 'timm-pushpull[train]'") from None
    state = PartialState(cpu=device.type == "cpu")
    use_all_cores(int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
    all_reduce = functools.partial(reduce, reduction="sum")
    return Distributed(state.process_index, state.num_processes, all_reduce), state.device
