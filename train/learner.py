"""The network in training and everything that changes with it from step to step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from timm.utils import ModelEmaV3
from torch import Tensor, nn

from batches import steps_per_epoch
from objectives import objective
from settings import Settings
from sync_batch_norm import synchronise
from timm_pushpull.data.preprocessing import normalise
from timm_pushpull.models.weights import create_model
from timm_pushpull.utils.errors import InputError


class Learner:
    """Network, optimizer, learning-rate schedule and moving average.

    Attributes:
        model: What is trained, as Accelerate wraps it.
        network: The bare network inside.
        objective: What the outputs are to say.
        average: Moving average of the network's weights, if the settings ask for one.
        steps_per_epoch, total_steps: Optimizer steps, whatever the number of processes or parts of a batch.
    """

    def __init__(self, settings: Settings, images: int, accelerator: Accelerator) -> None:
        self.settings, self.accelerator = settings, accelerator
        self.objective = objective(settings)
        self.steps_per_epoch = steps_per_epoch(images, settings.batch_size)
        self.total_steps = settings.epochs * self.steps_per_epoch
        if settings.warmup * self.total_steps == 1:  # torch's schedule would divide by zero
            raise InputError(f"warmup is {settings.warmup}, one of {self.total_steps} steps; use another --warmup")
        set_seed(settings.seed)
        (name,) = settings.models
        network = create_model(name, num_classes=settings.outputs, **settings.model_args)
        network.to(memory_format=torch.channels_last)
        if settings.sync_batch_norm and accelerator.num_processes > 1:
            network = synchronise(network, accelerator.device)
        if settings.compile:
            network.compile()
        optimizer = torch.optim.SGD(
            network.parameters(),
            lr=settings.lr_start,
            momentum=settings.momentum,
            weight_decay=settings.weight_decay,
            fused=accelerator.device.type in ("cpu", "cuda"),
        )
        self.model, self.optimizer = accelerator.prepare(network, optimizer)
        self.network = accelerator.unwrap_model(self.model)
        # The bare schedule: Accelerate's would step once for every process.
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer.optimizer,
            max_lr=settings.lr_peak,
            total_steps=self.total_steps,
            pct_start=settings.warmup,
            anneal_strategy="cos",
            div_factor=settings.lr_peak / settings.lr_start,
            final_div_factor=settings.lr_start / settings.lr_end,
            cycle_momentum=settings.cycle_momentum,
            three_phase=settings.three_phase,
        )
        self.average = ModelEmaV3(self.network, decay=settings.ema_decay) if settings.ema_decay else None

    @property
    def best(self) -> nn.Module:
        """The network that is measured and released: the moving average where there is one."""
        return self.average.module if self.average else self.network

    @property
    def learning_rate(self) -> float:
        """Of the next step."""
        return self.schedule.get_last_lr()[0]

    def step(self, step: int, batches: Iterator[tuple[Tensor, Tensor]], batch_size: int) -> tuple[Tensor, Tensor]:
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
        losses, wrong = 0, 0
        for part in range(settings.accumulation):
            pixels, labels = next(batches)
            last = part == settings.accumulation - 1
            with nullcontext() if last else accelerator.no_sync(self.model):
                outputs = self.model(normalise(pixels, settings.mean, settings.std, accelerator.device))
                loss = self.objective.loss(outputs, labels)
                # Divided by the whole batch, for shares may differ by an image; DDP averages over processes.
                accelerator.backward(loss * (accelerator.num_processes / batch_size))
            losses += loss.detach()
            wrong += (self.objective.logits(outputs.detach()).argmax(dim=1) != labels).sum()
        if settings.clip_grad:
            accelerator.clip_grad_norm_(self.model.parameters(), settings.clip_grad)
        self.optimizer.step()
        self.schedule.step()
        self.optimizer.zero_grad()
        if self.average:
            self.average.update(self.network, step)
        return losses, wrong

    def is_finite(self) -> bool:
        """Whether all weights are numbers."""
        return all(bool(tensor.isfinite().all()) for tensor in self.network.state_dict().values())

    def state_dict(self) -> dict[str, Any]:
        return {name: part.state_dict() for name, part in self._parts().items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name, part in self._parts().items():
            part.load_state_dict(state[name])

    def _parts(self) -> dict[str, Any]:
        parts = {"network": self.network, "optimizer": self.optimizer, "schedule": self.schedule}
        return {**parts, "average": self.average} if self.average else parts
