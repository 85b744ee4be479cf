"""Train push-pull networks and their plain baselines, measure them, and write release folders.

accelerate launch train/train.py                                         # digits, two networks, five minutes
accelerate launch train/train.py --recipe cifar10 --dataset FOLDER_OR_HUB_ID
accelerate launch train/train.py --recipe cifar10 --model resnet18_cifar_pushpull5 --output runs/pp5
torchrun --nproc_per_node 2 train/train.py                               # the launcher does not matter
"""

from __future__ import annotations

import math
import os
import time
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from accelerate import Accelerator, PartialState
from accelerate.utils import broadcast, set_seed
from torch import nn
from tqdm import tqdm

from batches import TrainingImages, epoch_order, steps_per_epoch
from run_folder import RunFolder
from settings import Settings, parse
from timm_pushpull import cli, hardware
from timm_pushpull.benchmark import Evaluation, evaluate
from timm_pushpull.card import model_card
from timm_pushpull.corruptions import CORRUPTIONS, JPEG_QUALITY, frost_source
from timm_pushpull.data import ImageSet, load_images, read_batches
from timm_pushpull.errors import InputError
from timm_pushpull.preprocess import Geometry, normalise
from timm_pushpull.progress import progress_bar
from timm_pushpull.results import Results
from timm_pushpull.weights import create_model, load_model, pooling, save_model


@dataclass(frozen=True)
class Data:
    """The images of a run and how they reach the network."""

    train: TrainingImages
    test: ImageSet
    geometry: Geometry


def main() -> None:
    options, settings = parse()
    folders = [
        RunFolder(options.output if options.single else options.output / name, options.resume, options.overwrite)
        for name in settings.models
    ]
    baseline = Results.load(options.baseline) if options.baseline else None
    on_cpu = hardware.choose_device().type == "cpu"  # Accelerate has to be told, or processes would not find each other
    device = PartialState(cpu=on_cpu).device
    settings = replace(settings, precision=hardware.choose_precision(settings.precision, device))
    accelerator = Accelerator(cpu=on_cpu, mixed_precision="bf16" if settings.precision == "bf16" else "no")
    hardware.use_all_cores(int(os.environ.get("LOCAL_WORLD_SIZE", 1)))
    data, settings = load_data(settings, accelerator.num_processes)
    if baseline:
        baseline.comparable_with(unmeasured(settings.models[0], data, settings, accelerator.device))

    accelerator.wait_for_everyone()  # every process has looked at the folders before one writes to them
    done = []
    for name, folder in zip(settings.models, folders, strict=True):
        results = run(folder, data, replace(settings, models=(name,)), accelerator, baseline)
        baseline = baseline or results
        done.append((folder, results))
    if accelerator.is_main_process:
        report(done, baseline)


def load_data(settings: Settings, processes: int) -> tuple[Data, Settings]:
    """Load both splits, check them against the settings, and fill in what the settings leave to data and model."""
    columns = {"image_column": settings.image_column, "label_column": settings.label_column}
    train = load_images(settings.dataset, settings.train_split, train=True, **columns).limited(settings.limit)
    test = load_images(settings.dataset, settings.test_split, **columns).limited(settings.limit)
    if train.classes[: len(test.classes)] == test.classes:
        test = replace(test, classes=train.classes)  # bare numbers: test images may lack the last ones
    else:
        raise InputError(f"splits {train.split!r} and {test.split!r} of {train.name!r} have different classes")
    if settings.num_classes not in (None, len(train.classes)):
        raise InputError(
            f"num_classes is {settings.num_classes}, but the labels of {train.name!r} have "
            f"{len(train.classes)} classes; leave num_classes out or choose another --label-column"
        )
    if not processes <= settings.batch_size <= len(train):
        raise InputError(
            f"batch_size is {settings.batch_size}; use one from {processes}, the number of processes, to "
            f"{len(train)}, the number of training images"
        )

    with torch.device("meta"):
        models = [create_model(name) for name in settings.models]  # also says now if the last one does not exist
    cfg = models[0].pretrained_cfg
    size = settings.image_size or cfg["input_size"][-1]
    settings = replace(
        settings,
        num_classes=len(train.classes),
        image_size=size,
        resize=settings.resize or size,
        test_split=test.split,
        interpolation=settings.interpolation or cfg["interpolation"],
        mean=settings.mean or tuple(cfg["mean"]),
        std=settings.std or tuple(cfg["std"]),
    )
    geometry = Geometry(size, settings.resize, settings.interpolation)
    images = TrainingImages(train, geometry, settings.crop_padding, settings.flip, settings.seed)
    data = Data(images, test, replace(geometry, resize=size))
    if images.in_memory:  # then it is cheap to find damaged test images before the training and not after an epoch
        for _ in read_batches(test, data.geometry, batch_size=256):
            pass
    return data, settings


def run(
    folder: RunFolder, data: Data, settings: Settings, accelerator: Accelerator, baseline: Results | None
) -> Results:
    """Train one network, or finish what --resume finds, and write its folder; returns what was measured of it."""
    (name,) = settings.models
    if folder.results:
        folder.check(settings)
        accelerator.print(f"{name}: finished before, in {folder.path}")
        return folder.results

    set_seed(settings.seed)
    model = create_model(name, num_classes=settings.num_classes).to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(
        model.parameters(), lr=settings.lr_start, momentum=settings.momentum, weight_decay=settings.weight_decay
    )
    model, optimizer = accelerator.prepare(model, optimizer)
    steps = steps_per_epoch(len(data.train), settings.batch_size)
    total_steps = settings.epochs * steps
    if settings.warmup * total_steps == 1:  # torch's schedule would divide by zero
        raise InputError(f"warmup is {settings.warmup}, one of {total_steps} steps; use another --warmup")
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        max_lr=settings.lr_peak,
        total_steps=total_steps,
        pct_start=settings.warmup,
        anneal_strategy="cos",
        div_factor=settings.lr_peak / settings.lr_start,
        final_div_factor=settings.lr_start / settings.lr_end,
        cycle_momentum=False,
    )
    parts = {"model": accelerator.unwrap_model(model), "optimizer": optimizer, "schedule": schedule}
    log = folder.start(settings, parts, accelerator)

    bar = progress_bar(total_steps, name, "step", show=accelerator.is_main_process, initial=len(log) * steps)
    with bar as progress:
        for epoch in range(len(log), settings.epochs):
            row = train_epoch(epoch, model, optimizer, schedule, data.train, settings, accelerator, progress)
            row["test_error"] = measure(parts["model"], data, settings, accelerator, progress=False).clean_error
            log.append(row)
            if accelerator.is_main_process:
                folder.save(parts, log)
                progress.write(
                    f"epoch {epoch + 1}/{settings.epochs}: loss {row['loss']:.4f}, train error "
                    f"{row['train_error']:.2%}, test error {row['test_error']:.2%}, "
                    f"{row['images_per_second']:.0f} images/s"
                )
    return finish(folder, parts["model"], data, settings, log, accelerator, baseline)


def train_epoch(
    epoch: int,
    model: nn.Module,
    optimizer,
    schedule,
    images: TrainingImages,
    settings: Settings,
    accelerator: Accelerator,
    progress: tqdm,
) -> dict[str, float]:
    """One pass over the training images; returns its row of the log."""
    device, rank, processes = accelerator.device, accelerator.process_index, accelerator.num_processes
    images.set_epoch(epoch)
    order = epoch_order(len(images), settings.batch_size, settings.seed, epoch)
    loader = images.loader([batch[rank::processes] for batch in order], settings.workers, device.type == "cuda")
    model.train()
    sums, seen = torch.zeros(2, device=device), 0  # loss, wrong answers
    started = time.perf_counter()
    for step, batch in enumerate(loader):
        if isinstance(batch, InputError):
            raise batch
        labels = batch[1].to(device, non_blocking=True)
        logits = model(normalise(batch[0], settings.mean, settings.std, device))
        loss = F.cross_entropy(logits, labels, reduction="sum")
        # Divided by the whole batch, because the processes' shares may differ by an image; DDP averages over processes.
        accelerator.backward(loss * (processes / len(order[step])))
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()

        with torch.no_grad():
            sums += torch.stack([loss, (logits.argmax(dim=1) != labels).sum()])
        seen += len(labels)
        progress.update()
        if step % 20 == 0:  # not oftener: reading a value waits for the device
            loss, error = (total / seen for total in sums.tolist())
            check_loss(loss, epoch, settings)
            rate = processes * seen / (time.perf_counter() - started)
            progress.set_postfix(epoch=epoch + 1, loss=f"{loss:.3f}", error=f"{error:.1%}", images_per_s=f"{rate:.0f}")
    loss, error = (total / len(images) for total in accelerator.reduce(sums).tolist())
    check_loss(loss, epoch, settings)
    seconds = time.perf_counter() - started
    return {
        "epoch": epoch + 1,
        "loss": loss,
        "train_error": error,
        "learning_rate": schedule.get_last_lr()[0],
        "seconds": seconds,
        "images_per_second": len(images) / seconds,
    }


def check_loss(loss: float, epoch: int, settings: Settings) -> None:
    if not math.isfinite(loss):
        raise InputError(
            f"the loss is {loss} in epoch {epoch + 1}; lower --lr-peak (it is {settings.lr_peak}) or use "
            f"--precision fp32; the state after the last whole epoch is kept"
        )


def measure(
    model: nn.Module,
    data: Data,
    settings: Settings,
    accelerator: Accelerator,
    *,
    progress: bool,
    limit: int | None = None,
    corruptions: tuple[str, ...] = (),
) -> Evaluation:
    """Errors on clean images and under corruptions, counted over all processes."""
    if accelerator.num_processes > 1:
        broadcast(list(model.buffers()))  # batch norm's statistics differ between processes; the main one's are saved
    return evaluate(
        model.eval(),
        data.test.limited(limit),
        data.geometry,
        mean=settings.mean,
        std=settings.std,
        preset=settings.preset,
        corruptions=corruptions,
        jpeg_quality=JPEG_QUALITY[settings.preset],
        device=accelerator.device,
        precision=settings.precision,
        rank=accelerator.process_index,
        processes=accelerator.num_processes,
        add_up=accelerator.reduce,
        progress=progress and accelerator.is_main_process,
    )


def unmeasured(name: str, data: Data, settings: Settings, device: torch.device) -> Results:
    """The results of a network before they are measured: what they will be about."""
    return Results(
        model=name,
        weights_sha256="",
        dataset=data.test.name,
        split=data.test.split,
        preset=settings.preset,
        seed=0,
        num_images=len(data.test.limited(settings.benchmark_limit)),
        clean_error=0,
        errors={corruption: [0] * 5 for corruption in CORRUPTIONS},
        frost=frost_source(),
        jpeg_quality=JPEG_QUALITY[settings.preset],
        precision=settings.precision,
        hardware=hardware.describe(device),
    )


def finish(
    folder: RunFolder,
    model: nn.Module,
    data: Data,
    settings: Settings,
    log: list[dict[str, float]],
    accelerator: Accelerator,
    baseline: Results | None,
) -> Results:
    """Write the weights, load them as a user would, measure those, write the card and, last, the results."""
    (name,) = settings.models
    tag = data.test.name.split("/")[-1]
    if accelerator.is_main_process:
        save_model(
            model,
            folder.path,
            classes=data.test.classes,
            geometry=data.geometry,
            mean=settings.mean,
            std=settings.std,
            tag=tag,
            half=settings.half_weights,
        )
    accelerator.wait_for_everyone()
    model, weights_sha256 = load_model(f"local-dir:{folder.path}")
    model.to(accelerator.device, memory_format=torch.channels_last)
    evaluation = measure(
        model, data, settings, accelerator, progress=True, limit=settings.benchmark_limit, corruptions=CORRUPTIONS
    )
    results = replace(
        unmeasured(name, data, settings, accelerator.device),
        weights_sha256=weights_sha256,
        image_size=data.geometry.size,
        **evaluation.as_results(),
    )
    card = model_card(
        results,
        title=f"{name}.{tag}",
        recipe=settings.recorded(),
        avg_size=pooling(model),
        parameters=sum(p.numel() for p in model.parameters()),
        baseline=baseline,
        training=describe_training(data, settings, log, accelerator.num_processes, results.hardware),
    )
    if accelerator.is_main_process:
        folder.finish(card, results)
    accelerator.wait_for_everyone()
    return results


def describe_training(
    data: Data, settings: Settings, log: list[dict[str, float]], processes: int, processor: str
) -> str:
    """The card's words on data, time and hardware."""
    images, size, seconds = data.train.images, settings.image_size, sum(row["seconds"] for row in log)
    origin = f": {images.origin}" if images.origin else ""
    rate = len(log) * len(images) / seconds
    return (
        f"Trained on {len(images):,} images of `{images.name}`, split `{images.split}`, {len(images.classes)} classes, "
        f"at {size}x{size} px{origin}.\n\n{settings.epochs} epochs took {seconds / 60:.1f} minutes "
        f"({rate:.0f} images/s) on {processes} x {processor}, {settings.precision}."
    )


def report(done: list[tuple[RunFolder, Results]], baseline: Results) -> None:
    """The last lines: what was reached, and how to load it."""
    measured = [results for _, results in done]
    print()
    cli.print_comparison([*([baseline] if baseline not in measured else []), *measured])
    print("\nLoad the result:")
    for folder, _ in done:
        print(
            f'  python -c "import timm, timm_pushpull; '
            f"model = timm.create_model('local-dir:{folder.path}', pretrained=True)\""
        )


if __name__ == "__main__":
    cli.run(main, "train.py")
