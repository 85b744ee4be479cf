"""Train push-pull networks and their plain baselines, measure them, and write release folders.

accelerate launch train/train.py                                         # digits, two networks, five minutes
accelerate launch train/train.py --recipe cifar10 --dataset FOLDER_OR_HUB_ID
accelerate launch train/train.py --recipe cifar10-retrieval --dataset FOLDER_OR_HUB_ID
accelerate launch train/train.py --recipe cifar10 --model resnet18_cifar_pushpull5 --output runs/pp5
accelerate launch --config_file train/clusters/eight_gpus.yaml train/train.py --recipe imagenet1k --dataset FOLDER
torchrun --nproc_per_node 2 train/train.py                               # the launcher does not matter
"""

from __future__ import annotations

import argparse
import os
from dataclasses import replace

import torch
from accelerate import Accelerator, PartialState
from accelerate.utils import DistributedType

from batches import epoch_order, shares
from launch import check_gpus, check_tracker, memory_advice, start_trackers
from learner import Learner
from measuring import class_error, finish, keep, plan_benchmark
from monitor import Monitor, Position
from run_folder import Checkpoints, RunFolder
from settings import Settings, parse
from splits import Data, load_data
from timm_pushpull import cli
from timm_pushpull.benchmark.results import Results
from timm_pushpull.utils import hardware
from timm_pushpull.utils.errors import InputError


def main() -> None:
    options, settings = parse()
    check_tracker(options.tracker)
    check_gpus(options.device)
    folders = [
        RunFolder(options.output if options.single else options.output / name, options.resume, options.overwrite)
        for name in settings.models
    ]
    baseline = Results.load(options.baseline) if options.baseline else None
    accelerator, settings = start_accelerator(options.device, settings)
    hardware.use_all_cores(int(os.environ.get("LOCAL_WORLD_SIZE", 1)))
    with memory_advice(settings):
        data, settings = load_data(settings, accelerator.num_processes, accelerator.device)
        if baseline:
            baseline.comparable_with(plan_benchmark(settings.models[0], data, settings, accelerator.device))

        accelerator.wait_for_everyone()  # every process has looked at the folders before one writes to them
        done = []
        for name, folder in zip(settings.models, folders, strict=True):
            results = run(folder, data, replace(settings, models=(name,)), options, accelerator, baseline)
            if results:
                baseline = baseline or results
                done.append((folder, results))
    if accelerator.is_main_process and done:
        report(done, baseline)


def start_accelerator(device: str, settings: Settings) -> tuple[Accelerator, Settings]:
    """Accelerate on the device that was asked for, and the settings that depend on it."""
    on_cpu = hardware.choose_device(device).type == "cpu"  # Accelerate has to be told, or processes would not meet
    settings = replace(
        settings, precision=hardware.choose_precision(settings.precision, PartialState(cpu=on_cpu).device)
    )
    torch.backends.cudnn.benchmark = True  # all batches have one size, or one less
    accelerator = Accelerator(cpu=on_cpu, mixed_precision="bf16" if settings.precision == "bf16" else "no")
    if accelerator.distributed_type in (DistributedType.FSDP, DistributedType.DEEPSPEED, DistributedType.MEGATRON_LM):
        raise InputError(f"{accelerator.distributed_type} is not supported; use a configuration from train/clusters")
    # Accelerate's own configuration may ask for accumulation; from here on it is ours, counted as parts of a batch.
    settings = replace(settings, accumulation=settings.accumulation or accelerator.gradient_accumulation_steps)
    accelerator.gradient_accumulation_steps = 1
    return accelerator, settings


def run(
    folder: RunFolder,
    data: Data,
    settings: Settings,
    options: argparse.Namespace,
    accelerator: Accelerator,
    baseline: Results | None,
) -> Results | None:
    """Train one network, or finish what --resume finds, and write its folder; returns its results, if measured."""
    if folder.results:
        folder.check(settings)
        accelerator.print(f"{settings.models[0]}: finished before, in {folder.path}")
        return folder.results

    accelerator.free_memory()  # of the network before this one
    if folder.is_trained:
        folder.check(settings)
        if accelerator.is_main_process:
            folder.note_limit(settings)
        accelerator.print(f"{settings.models[0]}: trained before, in {folder.path}")
    else:
        train(folder, data, settings, options, accelerator)
    if options.skip_benchmark:
        return None
    return finish(folder, data, settings, accelerator, baseline)


def train(
    folder: RunFolder, data: Data, settings: Settings, options: argparse.Namespace, accelerator: Accelerator
) -> None:
    """Train one network, from the newest state on with --resume, and write its weights."""
    learner = Learner(settings, len(data.train), accelerator)
    folder.start(settings, accelerator.is_main_process)
    identity = {**settings.recorded(), "classes": data.train.images.classes, "images": len(data.train)}
    checkpoints = Checkpoints(folder.path, identity, options.save_minutes)
    position = resume(learner, checkpoints, accelerator) if folder.resume else Position()
    with (
        start_trackers(options.tracker, folder.path, settings, accelerator),
        Monitor(position, learner.steps_per_epoch, settings, accelerator) as monitor,
    ):
        while position.epoch < settings.epochs:
            train_epoch(learner, data, monitor, checkpoints)
            test_error = class_error(learner.best, learner.objective, data, settings, accelerator)
            monitor.end_epoch(len(data.train), test_error, learner.network)
            if accelerator.is_main_process:
                folder.write_log(position.log)
                if checkpoints.due() or position.epoch == settings.epochs:
                    save(learner, monitor, checkpoints)
    keep(folder, learner.best, data, settings, position.seconds, accelerator, options.departures)


def train_epoch(learner: Learner, data: Data, monitor: Monitor, checkpoints: Checkpoints) -> None:
    """The rest of an epoch, from the monitor's position on; saves the state now and then."""
    settings, accelerator, position = learner.settings, learner.accelerator, monitor.position
    order = epoch_order(len(data.train), settings.batch_size, settings.seed, position.epoch)[position.step :]
    data.train.set_epoch(position.epoch)
    mine = shares(order, accelerator.process_index, accelerator.num_processes, settings.accumulation)
    batches = data.train.batches(mine, settings.workers)
    first = position.epoch * learner.steps_per_epoch + position.step
    learner.model.train()
    for step, batch in enumerate(order, start=first):
        rate = learner.learning_rate
        loss, wrong = learner.step(step, batches, len(batch))
        monitor.add(loss, wrong, len(batch), rate)
        if monitor.full:
            monitor.look()
            # At the end of the epoch the state is saved with its row of the log, after the test.
            if accelerator.is_main_process and checkpoints.due() and position.step < learner.steps_per_epoch:
                save(learner, monitor, checkpoints)


def save(learner: Learner, monitor: Monitor, checkpoints: Checkpoints) -> None:
    """Keep the state, unless the last step has spoiled it."""
    position = monitor.position
    if not learner.is_finite():
        monitor.stop("a weight is no number", position.step, learner.learning_rate)
    step = position.epoch * learner.steps_per_epoch + position.step
    checkpoints.save(step, {"position": position.to_dict(), "learner": learner.state_dict()})


def resume(learner: Learner, checkpoints: Checkpoints, accelerator: Accelerator) -> Position:
    """Take up the newest good state; returns where it stands."""
    found = {}

    def take(content: dict) -> None:
        found["position"] = Position(**content["position"])
        learner.load_state_dict(content["learner"])

    if not checkpoints.load(take, accelerator.print):
        return Position()
    position = found["position"]
    accelerator.print(f"resumed in epoch {position.epoch + 1}, after step {position.step}")
    return position


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
