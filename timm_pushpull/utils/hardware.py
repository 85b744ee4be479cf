"""Device, precision and number of threads."""

from __future__ import annotations

import os
import platform
from contextlib import AbstractContextManager
from pathlib import Path

import torch

from timm_pushpull.utils.errors import InputError

PRECISIONS = ("auto", "bf16", "fp32")


def choose_device(name: str = "auto") -> torch.device:
    """The device of a name; `auto` is the available accelerator, or the CPU.

    Raises:
        InputError: This machine does not have the device.
    """
    # Check is_available first: torch builds for an accelerator name it even on machines without one.
    accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    found = accelerator or torch.device("cpu")
    if name not in ("auto", "cpu", found.type):
        raise InputError(f"device is {name!r}, but this machine has {found.type} only; use auto or {found.type}")
    return found if name == "auto" else torch.device(name)


def choose_precision(precision: str = "auto", device: torch.device | str = "cpu") -> str:
    """`bf16` or `fp32`; `auto` is bf16 if the processor has instructions for it, because emulated bf16 is slower.

    Raises:
        InputError: `precision` is not one of `PRECISIONS`.
    """
    if precision not in PRECISIONS:
        raise InputError(f"precision is {precision!r}; use {', '.join(PRECISIONS)}")
    if precision != "auto":
        return precision
    kind = torch.device(device).type
    if kind == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    elif kind == "cpu":
        native = any(
            getattr(torch.cpu, test, lambda: False)()
            for test in ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
        )
    else:
        native = False
    return "bf16" if native else "fp32"


def use_all_cores(processes: int = 1) -> None:
    """Let this process use its share of the cores, if `processes` run on this machine.

    `accelerate launch` and torchrun set OMP_NUM_THREADS to 1, which leaves cores idle. Any other value is the user's
    choice and stays.
    """
    if os.environ.get("OMP_NUM_THREADS", "1") == "1":
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        torch.set_num_threads(max(cores // processes, 1))


def autocast(precision: str, device: torch.device | str) -> AbstractContextManager:
    """The autocast context for `bf16` or `fp32`.

    Raises:
        InputError: Another precision.
    """
    if precision not in ("bf16", "fp32"):
        raise InputError(f"precision is {precision!r}; use bf16 or fp32")
    return torch.autocast(torch.device(device).type, torch.bfloat16, enabled=precision == "bf16")


def upload(tensor: torch.Tensor, device: torch.device | str) -> torch.Tensor:
    """Copy a tensor to a device, to CUDA from pinned memory: other copies wait until the device has nothing to do."""
    device = torch.device(device)
    if device.type != "cuda" or tensor.is_cuda:
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def describe(device: torch.device | str) -> str:
    """Name of the processor, for results and model cards."""
    device = torch.device(device)
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        name = platform.processor() or platform.machine()
    return f"{name}, {torch.get_num_threads()} threads" if device.type == "cpu" else str(device)
