"""Train push-pull networks and their plain baselines, measure them, and write release folders.

accelerate launch train/train.py                                         # digits, two networks, six to eight minutes
accelerate launch train/train.py --recipe cifar10 --dataset FOLDER_OR_HUB_ID
accelerate launch train/train.py --recipe cifar10 --model resnet18_cifar_pushpull5 --output runs/pp5
accelerate launch --config_file train/clusters/eight_gpus.yaml train/train.py --recipe imagenet1k --dataset FOLDER
torchrun --nproc_per_node 2 train/train.py                               # the launcher does not matter

From top to bottom: `main` runs one training per network; `train` is the loop over epochs, `train_epoch` over steps,
`validate` the test after an epoch; then the weights that a run ends with. One step and checkpoints are in trainer.py,
settings and recipes in settings.py, images in data.py, the files of a run in run_folder.py, progress bar and trackers
in log.py, first and last lines in summary.py, the corruption benchmark of the trained network in benchmark.py.
"""

from __future__ import annotations

import argparse
import math
import sys
from contextlib import ExitStack, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # see train/__init__.py

from timm_pushpull import cli
from timm_pushpull.benchmark.hashing import hash_targets
from timm_pushpull.benchmark.results import InitialWeights, Results, Training
from timm_pushpull.benchmark.tasks import check_top
from timm_pushpull.corruptions.presets import preset_of_size
from timm_pushpull.data import ImageSet
from timm_pushpull.data.augment import check_size
from timm_pushpull.models import weights_name
from timm_pushpull.models.weights import check_model_name, create_model, save_model, tag_of
from timm_pushpull.utils import hardware, provenance
from timm_pushpull.utils.errors import InputError, Interrupted
from timm_pushpull.utils.files import check_name
from timm_pushpull.utils.locks import only_process
from train.batches import check_batch, check_batch_norm, epoch_order, process_shares, steps_per_epoch
from train.benchmark import check_benchmark, clean_error, evaluation_options, plan_benchmark, run_benchmark
from train.command_line import parse
from train.data import Data, load_splits, prepare_data
from train.initial import check_initial, stated_preprocessing
from train.launch import check_gpus, check_outputs, grad_accum_steps, memory_advice, start_accelerator
from train.log import TrainLog, alpha_statistics, check_tracker, print_resume, resume_advice, start_tracker
from train.optim import check_optimizer, check_optimizer_name, check_rates
from train.run_folder import RECIPE, Checkpoints, RunFolder, TrainState
from train.settings import Settings, load_recipe
from train.signals import StopRequest, stop_on_signal
from train.summary import print_start, print_summary
from train.trainer import Trainer, diverged, load_checkpoint, save_checkpoint


def main() -> None:
    options, settings = parse()
    folders = [
        RunFolder(
            options.output if options.single else options.output / check_name(name, "a model of the recipe"),
            options.resume,
            options.overwrite,
        )
        for name in settings.models
    ]
    check_options(options, settings)
    baseline = Results.load(options.baseline) if options.baseline else None
    accelerator = start_accelerator(options.device, settings.precision)
    new = [not (folder.results or folder.is_trained or folder.has_checkpoints) for folder in folders]
    check_initial(settings, [name for name, is_new in zip(settings.models, new, strict=True) if is_new])
    settings = with_preprocessing(settings, folders)
    with memory_advice(settings):
        train_images, test_images = load_splits(settings)
        settings = resolve(settings, train_images, test_images, accelerator)
        if not options.skip_benchmark:
            check_benchmark(settings)
        data = prepare_data(settings, train_images, test_images, accelerator.device)
        if baseline:
            baseline.comparable_with(plan_benchmark(data, settings, accelerator.device))

        print_start(settings, data, options.recipe, options.output, accelerator, measures=not options.skip_benchmark)
        measured = []
        runs = [
            (folder, replace(settings, models=(name,))) for folder, name in zip(folders, settings.models, strict=True)
        ]
        with ExitStack() as stack:
            for folder in folders if accelerator.is_main_process else ():
                stack.enter_context(only_process(folder.path))
            accelerator.wait_for_everyone()
            for folder, own in runs:  # another run that held the lock a moment ago may have ended since the first look
                folder.check_unchanged()
                if folder.resume:
                    folder.check(own)
            accelerator.wait_for_everyone()  # every process has looked at the folders before one writes to them
            # All now, before hours of training: to a later --resume, an old run would be one that is done.
            for folder, own in runs if accelerator.is_main_process else ():
                if not folder.resume:
                    folder.start(own)
            stack.enter_context(resume_advice(accelerator))
            for folder, own in runs:
                results = run(folder, data, own, options, accelerator, baseline)
                if results:
                    baseline = baseline or results
                    measured.append((folder, results))
    if accelerator.is_main_process and baseline and measured:
        print_summary(measured, baseline)


def check_options(options: argparse.Namespace, settings: Settings) -> None:
    """Raise InputError for what is wrong whatever the data, before they are loaded."""
    check_tracker(options.tracker)
    check_gpus(options.device)
    for name in settings.models:
        check_model_name(name)
    check_optimizer_name(settings.opt)
    check_rates(settings)
    if not options.single and (options.output / RECIPE).exists():
        name = load_recipe(options.output / RECIPE).models[0]
        raise InputError(
            f"{str(options.output)!r} holds a run of one network; add --model {name} to go on with it, or use another "
            f"--output"
        )


def with_preprocessing(settings: Settings, folders: list[RunFolder]) -> Settings:
    """The settings with the preprocessing of the checkpoint that they name, for what they leave open.

    Runs that were begun have it in their recipes: to resume, they need the checkpoint no more.
    """
    if settings.initial_checkpoint is None:
        return settings
    if begun := next((folder.path / RECIPE for folder in folders if folder.resume), None):
        recipe = load_recipe(begun)
        stated = {name: getattr(recipe, name) for name in ("img_size", "interpolation", "mean", "std")}
    else:
        stated = stated_preprocessing(settings.initial_checkpoint)
    return replace(settings, **{name: value for name, value in stated.items() if getattr(settings, name) is None})


def resolve(settings: Settings, train: ImageSet, test: ImageSet, accelerator: Accelerator) -> Settings:
    """The settings with what the recipe leaves to the machine, the data and the first model.

    Raises:
        InputError: They do not go together, or a model does not exist.
    """
    settings = replace(
        settings,
        precision=hardware.choose_precision(settings.precision, accelerator.device),
        grad_accum_steps=grad_accum_steps(settings),
    )
    check_batch(settings, len(train), accelerator.num_processes)
    if settings.task == "retrieval":
        check_top(settings.top, len(train))
        hash_targets(len(train.classes), settings.hash_bits)  # raises now if there are none
    with torch.device("meta"):  # all models, so that a wrong argument for the last one is not found after hours
        # With the tag of pretrained weights, for their preprocessing.
        names = [weights_name(name) if settings.pretrained else name for name in settings.models]
        models = [create_model(name, **settings.model_args) for name in names]
    check_optimizer(settings, models[0], steps_per_epoch(len(train), settings.batch_size))
    cfg: dict[str, Any] = models[0].pretrained_cfg  # type: ignore[assignment]
    img_size = settings.img_size or cfg["input_size"][-1]
    test_img_size = settings.test_img_size or img_size
    for name, model in zip(settings.models, models, strict=True):
        check_outputs(name, model, img_size, test_img_size)
        check_batch_norm(settings, name, model, img_size, len(train), accelerator.num_processes)
    if settings.augmentation == "prime":
        check_size(img_size, img_size)
    return replace(
        settings,
        num_classes=len(train.classes),
        val_split=test.split,
        img_size=img_size,
        resize=settings.resize or (None if settings.scale else img_size),
        interpolation=settings.interpolation or cfg["interpolation"],
        mean=settings.mean or tuple(cfg["mean"]),
        std=settings.std or tuple(cfg["std"]),
        preset=settings.preset or preset_of_size(test_img_size),
    )


def run(
    folder: RunFolder,
    data: Data,
    settings: Settings,
    options: argparse.Namespace,
    accelerator: Accelerator,
    baseline: Results | None,
) -> Results | None:
    """Train and measure one network, or what --resume finds left to do; returns its results, if it is measured."""
    if accelerator.is_main_process:
        folder.remove_temporary()
    if folder.results:
        accelerator.print(f"{settings.names[0]}: finished before, in {folder.path}")
        return folder.results
    accelerator.free_memory()  # of the network before this one
    if folder.is_trained:
        if accelerator.is_main_process:
            folder.write_benchmark_limit(settings)
        accelerator.print(f"{settings.names[0]}: trained before, in {folder.path}")
    else:
        train(folder, data, settings, options, accelerator)
    if options.skip_benchmark:
        return None
    results = run_benchmark(folder, data, settings, accelerator, baseline)
    if accelerator.is_main_process and not options.keep_checkpoints:
        folder.remove_checkpoints()
    return results


# The loop.


def train(
    folder: RunFolder, data: Data, settings: Settings, options: argparse.Namespace, accelerator: Accelerator
) -> None:
    """Train one network, with --resume from its newest checkpoint on, and write its weights."""
    trainer = Trainer(settings, len(data.train), accelerator)
    run_identity = {**settings.recorded(), "classes": data.train.images.classes, "images": len(data.train)}
    checkpoints = Checkpoints(folder.path, run_identity, options.save_minutes)
    state = (load_checkpoint(trainer, checkpoints) if folder.resume else None) or trainer.start()
    with (
        stop_on_signal(says_so=accelerator.is_main_process) as stop,
        start_tracker(options.tracker, folder.path, settings, accelerator),
        TrainLog(trainer.global_step(state), trainer.total_steps, settings, accelerator) as log,
    ):
        while state.epoch < settings.epochs:
            train_epoch(trainer, data, state, log, checkpoints, stop)
            row = {
                "epoch": state.epoch + 1,
                "loss": state.loss / len(data.train),
                "train_error": state.wrong / len(data.train),
                "test_error": validate(trainer, data),
                "learning_rate": state.lr,
                **alpha_statistics(trainer.network),
            }
            state.log.append(row)
            state.epoch, state.step, state.loss, state.wrong = state.epoch + 1, 0, 0.0, 0
            log.log_epoch(row, trainer.global_step(state))
            asked = torch.tensor(float(stop.signal is not None), device=accelerator.device)
            stops = accelerator.reduce(asked).item() > 0 and state.epoch < settings.epochs
            if accelerator.is_main_process:
                folder.write_log(state.log)
                if not stops and (checkpoints.due() or state.epoch == settings.epochs):
                    save_checkpoint(trainer, state, checkpoints)
            if stops:
                raise interrupted(trainer, state, log, checkpoints, stop)
        save_weights(folder, trainer, data, state, options.overrides)


def train_epoch(
    trainer: Trainer, data: Data, state: TrainState, log: TrainLog, checkpoints: Checkpoints, stop: StopRequest
) -> None:
    """The rest of an epoch, from `state` on, which is updated after every window of steps; saves checkpoints.

    Raises:
        Interrupted: One of the processes is to stop; a checkpoint is saved.
    """
    settings, accelerator = trainer.settings, trainer.accelerator
    data.train.set_epoch(state.epoch)
    order = epoch_order(len(data.train), settings.batch_size, settings.seed, state.epoch)[state.step :]
    rank, world_size, parts = accelerator.process_index, accelerator.num_processes, trainer.grad_accum_steps
    shares = process_shares(order, rank, world_size, parts, data.train.group)
    batches = data.train.batches(shares, settings.workers, state.step, parts)
    first, last = trainer.global_step(state), trainer.global_step(state) + len(order) - 1
    window = log.window
    window.start()
    trainer.model.train()
    for global_step, batch in enumerate(order, start=first):
        lr = trainer.next_lr
        loss, wrong = trainer.train_step(global_step, batches, len(batch))
        window.add(loss, wrong, len(batch), lr)
        log.bar.update()
        # A process on its own stops after any step; several have to agree on one.
        stops_alone = stop.signal is not None and world_size == 1
        if not (window.is_full() or stops_alone or global_step == last):
            continue
        steps, seconds, stops = window.reduce(stop.signal is not None)
        for number, step in enumerate(steps):
            if not math.isfinite(step.loss):
                raise diverged(f"the loss is {step.loss / step.images}", state, state.step + number, step.lr, trainer)
        state.step += len(steps)
        for step in steps:  # one by one: rounding must not depend on where windows end
            state.loss += step.loss
        state.wrong += round(sum(step.wrong for step in steps))
        state.seconds += seconds
        state.lr = steps[-1].lr
        log.log_window(steps, seconds, state.epoch, trainer.global_step(state))
        if stops:
            raise interrupted(trainer, state, log, checkpoints, stop)
        # At the end of the epoch the checkpoint is saved with the row of the log, after the test.
        if accelerator.is_main_process and checkpoints.due() and global_step < last:
            save_checkpoint(trainer, state, checkpoints)


def interrupted(
    trainer: Trainer, state: TrainState, log: TrainLog, checkpoints: Checkpoints, stop: StopRequest
) -> Interrupted:
    """The error that ends all processes, after a checkpoint."""
    log.bar.close()
    if trainer.accelerator.is_main_process:
        save_checkpoint(trainer, state, checkpoints)
        print_resume(state.epoch, state.step)
    trainer.accelerator.wait_for_everyone()  # a launcher ends all processes as soon as one has ended
    return stop.error(message="")


def validate(trainer: Trainer, data: Data) -> float:
    """Share of the test images whose predicted class is wrong; a hash stands for the class with the nearest hash.

    Retrieval's own 1 - mAP is close to it, but would need a pass over the training images too.
    """
    if trainer.accelerator.num_processes > 1:
        # Batch norm's statistics differ between processes; those of the main process are saved.
        broadcast(list(trainer.released.buffers()))
    classifier = trainer.objective.classifier(trainer.released)
    # A compiled network would be compiled once more, for one pass over the test images.
    with torch.compiler.set_stance("force_eager") if trainer.settings.torchcompile else nullcontext():
        return clean_error(classifier, data, evaluation_options(trainer.settings, trainer.accelerator))


def save_weights(folder: RunFolder, trainer: Trainer, data: Data, state: TrainState, overrides: list[str]) -> None:
    """Write the trained weights, their config and, last, what results will say of the training."""
    settings, accelerator = trainer.settings, trainer.accelerator
    retrieves = settings.task == "retrieval"
    if accelerator.is_main_process:
        training = Training(
            images=len(data.train),
            epochs=settings.epochs,
            seconds=round(state.seconds, 1),
            processes=accelerator.num_processes,
            hardware=hardware.describe(accelerator.device),
            precision=settings.precision,
            origin=data.train.images.origin or None,
            overrides=overrides,
            initial_weights=InitialWeights(**state.initial_weights) if state.initial_weights else None,
            versions=provenance.versions(),
            commit=provenance.commit(),
        )
        weights_sha256 = save_model(
            trainer.released,
            folder.path,
            classes=None if retrieves else data.test.classes,
            geometry=data.geometry,
            mean=trainer.mean,
            std=trainer.std,
            tag=tag_of(data.test.name) + ("_retrieval" if retrieves else ""),
            half=settings.half_weights,
            model_args=settings.model_args,
            license=training.weights_license,
        )
        folder.write_training(weights_sha256, training)
    accelerator.wait_for_everyone()


if __name__ == "__main__":
    cli.run(main, "train.py")
