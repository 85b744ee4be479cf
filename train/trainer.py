"""The network in training, one step of it, and its checkpoints."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from timm.utils import ModelEmaV3
from torch import Tensor, nn

from timm_pushpull.data.preprocessing import normalise
from timm_pushpull.models.weights import create_model
from timm_pushpull.utils.errors import InputError
from timm_pushpull.utils.text import printable
from train.batches import steps_per_epoch
from train.initial import load_initial, read_initial
from train.objectives import create_objective
from train.optim import create_optimizer, create_scheduler
from train.run_folder import Checkpoints, TrainState
from train.settings import Settings
from train.sync_bn import convert_sync_bn


class Trainer:
    """Network, optimizer, learning-rate schedule and moving average: all that changes from step to step.

    Attributes:
        model: What is trained, as Accelerate wraps it.
        network: The bare network inside.
        objective: The loss of the outputs, and the class that they stand for.
        model_ema: Moving average of the network's weights, if the settings ask for one.
        steps_per_epoch, total_steps: Optimizer steps, whatever the number of processes or parts of a batch.
    """

    def __init__(self, settings: Settings, images: int, accelerator: Accelerator) -> None:
        self.settings, self.accelerator = settings, accelerator
        assert settings.mean is not None
        assert settings.std is not None
        self.mean, self.std, self.grad_accum_steps = settings.mean, settings.std, settings.grad_accum_steps or 1
        self.objective = create_objective(settings)
        self.steps_per_epoch = steps_per_epoch(images, settings.batch_size)
        self.total_steps = settings.epochs * self.steps_per_epoch
        set_seed(settings.seed)
        (name,) = settings.models
        network = create_model(name, num_classes=settings.outputs, **settings.model_args)
        network.to(memory_format=torch.channels_last)
        if settings.sync_bn and accelerator.num_processes > 1:
            network = convert_sync_bn(network, accelerator.device)
        if settings.torchcompile:
            network.compile()
        optimizer = create_optimizer(settings, network, accelerator.device)
        self.model, self.optimizer = accelerator.prepare(network, optimizer)
        self.network = accelerator.unwrap_model(self.model)
        # Of the bare optimizer: Accelerate's would step once for every process.
        self.scheduler = create_scheduler(settings, self.optimizer.optimizer, self.steps_per_epoch)
        self.model_ema = (
            ModelEmaV3(self.network, decay=settings.model_ema_decay, use_warmup=settings.model_ema_warmup)
            if settings.model_ema_decay
            else None
        )

    def start(self) -> TrainState:
        """The state of a new run, whose network gets the weights that the settings name, if any."""
        initial = read_initial(self.settings, self.settings.models[0])
        if initial is None:
            return TrainState()
        load_initial(self.network, initial, self.settings)
        if self.model_ema:
            self.model_ema.set(self.network)
        self.accelerator.print(printable(f"started from {initial.record.repository or initial.record.name}"))
        return TrainState(initial_weights=asdict(initial.record))

    @property
    def released(self) -> nn.Module:
        """The network that is tested and saved: the moving average where there is one."""
        return self.model_ema.module if self.model_ema else self.network

    @property
    def next_lr(self) -> float:
        """Learning rate of the next step, before factors of layers."""
        group = self.optimizer.param_groups[0]
        return float(group["lr"] / group.get("lr_scale", 1))

    def global_step(self, state: TrainState) -> int:
        """Number of the next step in the whole run, from 0."""
        return state.epoch * self.steps_per_epoch + state.step

    def train_step(self, step: int, batches: Iterator[tuple[Tensor, Tensor]], batch_size: int) -> tuple[Tensor, Tensor]:
        """One optimizer step.

        Args:
            step: Its number in the whole run, from 0.
            batches: Where the parts of this process's share of the batch come from.
            batch_size: Images in the whole batch, over all processes.

        Returns:
            This process's sum of losses and number of wrong answers, tensors without gradient.
        """
        settings, accelerator = self.settings, self.accelerator
        # Dropout and the like draw from a state that depends on the step alone: a resumed run needs nothing stored.
        key = np.random.SeedSequence([settings.seed, step, accelerator.process_index])
        torch.manual_seed(int(key.generate_state(1, np.uint64)[0]))
        losses, wrong = torch.zeros((), device=accelerator.device), torch.zeros((), device=accelerator.device)
        for part in range(self.grad_accum_steps):
            pixels, targets = next(batches)
            is_last = part == self.grad_accum_steps - 1
            with nullcontext() if is_last else accelerator.no_sync(self.model):
                outputs = self.model(normalise(pixels, self.mean, self.std, accelerator.device))
                loss = self.objective.loss(outputs, targets)
                # Divided by the whole batch, for shares may differ by an image; DDP averages over processes.
                accelerator.backward(loss * (accelerator.num_processes / batch_size))
            losses += loss.detach()
            labels = targets.argmax(dim=1) if targets.is_floating_point() else targets
            wrong += (self.objective.logits(outputs.detach()).argmax(dim=1) != labels).sum()
        if settings.clip_grad:
            accelerator.clip_grad_norm_(self.model.parameters(), settings.clip_grad)
        self.optimizer.step()
        self.scheduler.step()
        self.optimizer.zero_grad()
        if self.model_ema:
            self.model_ema.update(self.network, step)
        return losses, wrong

    def state_dict(self) -> dict[str, Any]:
        return {name: part.state_dict() for name, part in self._parts().items()}

    def load_state_dict(self, content: dict[str, Any]) -> None:
        for name, part in self._parts().items():
            part.load_state_dict(content[name])

    def _parts(self) -> dict[str, Any]:
        parts = {"network": self.network, "optimizer": self.optimizer, "scheduler": self.scheduler}
        return {**parts, "model_ema": self.model_ema} if self.model_ema else parts


def save_checkpoint(trainer: Trainer, state: TrainState, checkpoints: Checkpoints) -> None:
    """Write all that the next step depends on; a network that the last step has spoiled is never saved.

    Raises:
        InputError: A weight is infinite or NaN.
    """
    if not all(bool(tensor.isfinite().all()) for tensor in trainer.network.state_dict().values()):
        raise diverged("a weight is not finite", state, state.step, trainer.next_lr, trainer)
    content = {"train_state": asdict(state), "trainer": trainer.state_dict()}
    checkpoints.save(trainer.global_step(state), content)


def load_checkpoint(trainer: Trainer, checkpoints: Checkpoints) -> TrainState | None:
    """Restore the newest good checkpoint, if there is one yet."""
    found: list[TrainState] = []

    def restore(content: dict[str, Any]) -> None:
        found[:] = [TrainState(**content["train_state"])]
        trainer.load_state_dict(content["trainer"])

    if not checkpoints.load(restore, lambda line: trainer.accelerator.print(printable(line))):
        return None
    (state,) = found
    trainer.accelerator.print(f"resumed in epoch {state.epoch + 1}, after step {state.step}")
    return state


def diverged(what: str, state: TrainState, step: int, lr: float, trainer: Trainer) -> InputError:
    """The error of a run that cannot continue, at a step counted from 0 within the epoch."""
    return InputError(
        f"{what} in epoch {state.epoch + 1}, step {step + 1} of {trainer.steps_per_epoch}, at learning rate {lr:.3g}; "
        f"use a lower --lr (it is {trainer.settings.lr}), --clip-grad 1 or --precision fp32; the last good checkpoint "
        f"is kept"
    )
