"""Optimizer and learning-rate schedule: the paper's SGD in one cycle, or any of timm's under timm's names.

A schedule is counted in optimizer steps, whatever the number of processes or parts of a batch.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from timm.optim import create_optimizer_v2, list_optimizers
from timm.scheduler import create_scheduler_v2
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import OneCycleLR

from timm_pushpull.utils.errors import InputError, one_line, unknown
from train.settings import ONE_CYCLE, Settings

#: Optimizers of timm that need second derivatives, or draw random numbers that no checkpoint holds.
_EXCLUDED = ("adahessian", "kron", "kronc", "kronw")
_LOOKAHEAD = "lookahead_"


class Scheduler(Protocol):
    """What the training loop needs of a schedule."""

    def step(self) -> None:
        """Set the learning rates of the next optimizer step."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: dict[str, Any]) -> None: ...


def check_optimizer(settings: Settings, network: nn.Module, steps_per_epoch: int) -> None:
    """Raise InputError for an unknown optimizer, arguments that it does not take, or a schedule that does not fit.

    Args:
        network: One of the networks, on the meta device.
    """
    create_scheduler(settings, create_optimizer(settings, network, torch.device("meta")), steps_per_epoch)


def check_optimizer_name(given: str) -> None:
    """Raise InputError unless this is an optimizer of timm that can be resumed."""
    name = given.lower().removeprefix(_LOOKAHEAD)
    if name in _EXCLUDED:
        raise InputError(
            f"optimizer {given!r} is not supported, because it needs second derivatives, or random numbers that no "
            f"checkpoint holds; use another, such as adamw"
        )
    known = [entry for entry in list_optimizers() if entry not in _EXCLUDED]
    if name not in known:
        raise unknown("optimizer", given, known)


def create_optimizer(settings: Settings, network: nn.Module, device: torch.device) -> Optimizer:
    """The optimizer of a network.

    Without `filter_bias_and_bn` and `layer_decay` all parameters are treated alike. With them timm groups parameters:
    alpha, a vector, belongs to those without weight decay, as biases do, and to the layer of the stem.

    Raises:
        InputError: timm has no such optimizer, or it does not take these arguments.
    """
    check_optimizer_name(settings.opt)
    name = settings.opt.lower()
    arguments: dict[str, Any] = dict(settings.opt_kwargs)
    if settings.opt_eps is not None:
        arguments["eps"] = settings.opt_eps
    if settings.opt_betas is not None:
        arguments["betas"] = settings.opt_betas
    if name in ("momentum", "sgd") and device.type in ("cpu", "cuda"):
        arguments.setdefault("fused", True)
    grouped = settings.filter_bias_and_bn or settings.layer_decay is not None
    try:
        return create_optimizer_v2(
            network if grouped else network.parameters(),
            opt=name,
            lr=settings.lr,
            weight_decay=settings.weight_decay,
            momentum=settings.momentum,
            filter_bias_and_bn=settings.filter_bias_and_bn,
            layer_decay=settings.layer_decay,
            **arguments,
        )
    except Exception as error:  # each optimizer has its own: arguments out of bounds, a package that is not installed
        raise InputError(f"optimizer {settings.opt!r} cannot be created: {one_line(error)}") from error


def create_scheduler(settings: Settings, optimizer: Optimizer, steps_per_epoch: int) -> Scheduler:
    """The schedule of an optimizer's learning rates.

    Raises:
        InputError: It does not fit the number of steps, begins or ends above its highest rate, or the optimizer has no
            momentum to cycle.
    """
    check_rates(settings)
    if settings.sched == ONE_CYCLE:
        return _one_cycle(settings, optimizer, settings.epochs * steps_per_epoch)
    if settings.warmup_epochs >= settings.epochs:
        raise InputError(
            f"warmup_epochs is {settings.warmup_epochs:g} of {settings.epochs} epochs; use fewer, or more --epochs"
        )
    scheduler, _ = create_scheduler_v2(
        optimizer,
        sched=settings.sched,
        num_epochs=settings.epochs,
        decay_epochs=settings.decay_epochs,
        decay_milestones=list(settings.decay_milestones),
        decay_rate=settings.decay_rate,
        min_lr=0.0 if settings.min_lr is None else settings.min_lr,
        warmup_lr=min(1e-5, settings.lr) if settings.warmup_lr is None else settings.warmup_lr,
        warmup_epochs=settings.warmup_epochs,
        step_on_epochs=False,
        updates_per_epoch=steps_per_epoch,
    )
    return _TimmScheduler(scheduler)


def check_rates(settings: Settings) -> None:
    """Raise InputError for a first or last learning rate above the highest."""
    warms_up = settings.sched == ONE_CYCLE or settings.warmup_epochs
    for name in ("warmup_lr", "min_lr") if warms_up else ("min_lr",):
        value = getattr(settings, name)
        if value is not None and value > settings.lr:
            raise InputError(
                f"{name} is {value:g}, above the highest learning rate, lr, which is {settings.lr:g}; use a lower "
                f"--{name.replace('_', '-')}, or none for its default"
            )


def _one_cycle(settings: Settings, optimizer: Optimizer, total_steps: int) -> OneCycleLR:
    if settings.warmup * total_steps == 1:  # torch's schedule would divide by zero
        raise InputError(f"warmup is {settings.warmup}, one of {total_steps} steps; use another --warmup")
    first, last = settings.warmup_lr, settings.min_lr
    if not first or not last:
        raise InputError(f"{'min_lr' if first else 'warmup_lr'} is 0; one cycle needs a value above 0")
    scales = [group.get("lr_scale", 1) for group in optimizer.param_groups]
    try:
        return OneCycleLR(
            optimizer,
            max_lr=[settings.lr * scale for scale in scales],
            total_steps=total_steps,
            pct_start=settings.warmup,
            anneal_strategy="cos",
            div_factor=settings.lr / first,
            final_div_factor=first / last,
            cycle_momentum=settings.cycle_momentum,
            three_phase=settings.three_phase,
        )
    except ValueError as error:
        raise InputError(f"one cycle does not fit optimizer {settings.opt!r}: {one_line(error)}") from error


class _TimmScheduler:
    """A schedule of timm, whose learning rates follow from the number of the step alone."""

    def __init__(self, scheduler: Any) -> None:
        self._scheduler = scheduler
        self.load_state_dict({"steps": 0})

    def step(self) -> None:
        self.load_state_dict({"steps": self._steps + 1})

    def state_dict(self) -> dict[str, Any]:
        return {"steps": self._steps}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._steps = state_dict["steps"]
        self._scheduler.step_update(self._steps)
