"""What a run shows while it learns, and what it notices: progress, log, trackers, and losses that are no numbers."""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass, field

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from settings import Settings
from timm_pushpull.layers.base import inhibition_strengths
from timm_pushpull.utils.errors import InputError
from timm_pushpull.utils.progress import progress_bar

#: Steps between two looks at the losses. Looking waits for the device and for the other processes.
WINDOW = 20


@dataclass
class Position:
    """Where a run stands: what its log will say, apart from the weights.

    Attributes:
        epoch, step: The next ones, from 0; `step` counts within the epoch.
        loss, wrong: Sums over the epoch's images so far, of all processes.
        log: One row per finished epoch.
        seconds: Time spent on training so far; not in the log, which does not depend on the machine.
    """

    epoch: int = 0
    step: int = 0
    loss: float = 0.0
    wrong: int = 0
    log: list[dict[str, float]] = field(default_factory=list)
    seconds: float = 0.0

    def to_dict(self) -> dict[str, object]:
        return asdict(self)


class Monitor:
    """Adds up losses and errors over a window of steps and over all processes, and shows them."""

    def __init__(self, position: Position, steps_per_epoch: int, settings: Settings, accelerator: Accelerator) -> None:
        self.position, self.steps_per_epoch, self.settings = position, steps_per_epoch, settings
        self.accelerator = accelerator
        done = position.epoch * steps_per_epoch + position.step
        total = settings.epochs * steps_per_epoch
        main = accelerator.is_main_process
        self.bar = progress_bar(total, settings.models[0], "step", show=main, initial=done)
        self._sums = torch.zeros(WINDOW, 2, device=accelerator.device)
        self._sizes: list[int] = []
        self._rates: list[float] = []
        self._last_rate = math.nan
        self._since = time.perf_counter()

    def __enter__(self) -> Monitor:
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.close()

    def add(self, loss: Tensor, wrong: Tensor, batch_size: int, learning_rate: float) -> None:
        """Note one step: this process's sums, images in the whole batch, and the learning rate it used."""
        self._sums[len(self._sizes), 0] = loss
        self._sums[len(self._sizes), 1] = wrong
        self._sizes.append(batch_size)
        self._rates.append(learning_rate)
        self.bar.update()

    @property
    def full(self) -> bool:
        """Whether it is time to `look`."""
        return len(self._sizes) == WINDOW or self.position.step + len(self._sizes) == self.steps_per_epoch

    def look(self) -> None:
        """Add the window up, over all processes, and move the position behind it.

        Raises:
            InputError: A loss is no number.
        """
        position, sizes = self.position, self._sizes
        sums = self.accelerator.reduce(self._sums)[: len(sizes)].tolist()
        for number, ((loss, _), size) in enumerate(zip(sums, sizes, strict=True)):
            if not math.isfinite(loss):
                self.stop(f"the loss is {loss / size}", position.step + number, self._rates[number])
        position.step += len(sizes)
        position.loss += sum(loss for loss, _ in sums)
        position.wrong += round(sum(wrong for _, wrong in sums))
        now = time.perf_counter()
        position.seconds += now - self._since
        rate, self._since = sum(sizes) / (now - self._since), now
        loss, error = (sum(column) / sum(sizes) for column in zip(*sums, strict=True))
        shown = {"loss": f"{loss:.3f}", "error": f"{error:.1%}", "images_per_s": f"{rate:.0f}"}
        self.bar.set_postfix(epoch=position.epoch + 1, **shown)
        values = {"loss": loss, "train_error": error, "learning_rate": self._rates[-1], "images_per_second": rate}
        self.accelerator.log(values, step=position.epoch * self.steps_per_epoch + position.step)
        self._last_rate = self._rates[-1]
        self._sizes, self._rates = [], []
        self._sums.zero_()

    def stop(self, what: str, step: int, learning_rate: float) -> None:
        """Raise the InputError of a run that has diverged."""
        raise InputError(
            f"{what} in epoch {self.position.epoch + 1}, step {step + 1} of {self.steps_per_epoch}, at learning rate "
            f"{learning_rate:.3g}; use a lower --lr-peak (it is {self.settings.lr_peak}), --clip-grad 1 or --precision "
            f"fp32; the last good state is kept"
        )

    def end_epoch(self, images: int, test_error: float, network: nn.Module) -> None:
        """Write the epoch's row of the log, show it, and begin the next epoch."""
        position = self.position
        row = {
            "epoch": position.epoch + 1,
            "loss": position.loss / images,
            "train_error": position.wrong / images,
            "test_error": test_error,
            "learning_rate": self._last_rate,
            **described(inhibition_strengths(network)),
        }
        position.log.append(row)
        position.epoch, position.step, position.loss, position.wrong = position.epoch + 1, 0, 0.0, 0
        self.accelerator.log(
            {name if name.startswith("alpha") else f"epoch_{name}": value for name, value in row.items()},
            step=position.epoch * self.steps_per_epoch,
        )
        alpha = f", alpha {row['alpha_mean']:.2f} +- {row['alpha_std']:.2f}" if "alpha_mean" in row else ""
        if self.accelerator.is_main_process:
            self.bar.write(
                f"epoch {row['epoch']}/{self.settings.epochs}: loss {row['loss']:.4f}, train error "
                f"{row['train_error']:.2%}, test error {row['test_error']:.2%}{alpha}"
            )
        self._since = time.perf_counter()


def described(alpha: Tensor | None) -> dict[str, float]:
    """Mean, standard deviation and extremes of alpha; empty without any."""
    if alpha is None:
        return {}
    values = {"mean": alpha.mean(), "std": alpha.std(correction=0), "min": alpha.min(), "max": alpha.max()}
    return {f"alpha_{name}": value.item() for name, value in values.items()}
