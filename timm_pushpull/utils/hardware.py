"""What the machine computes with."""

from __future__ import annotations

import os
import platform
from contextlib import AbstractContextManager
from pathlib import Path

import torch

from timm_pushpull.utils.errors import InputError

PRECISIONS = ("auto", "bf16", "fp32")


def choose_device(name: str = "auto") -> torch.device:
    """The device of this name; for `auto` the accelerator that torch sees, else the CPU.

    Raises:
        InputError: There is no such device here.
    """
    # Asked in this order because builds with an accelerator's libraries name it even where there is none.
    found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else torch.device("cpu")
    if name not in ("auto", "cpu", found.type):
        raise InputError(f"device is {name!r}, but this machine has {found.type} only; use auto or {found.type}")
    return found if name == "auto" else torch.device(name)


def choose_precision(precision: str = "auto", device: torch.device | str = "cpu") -> str:
    """bf16 or fp32; `auto` takes bf16 where the processor has instructions for it (emulated, it is slower than fp32).

    Raises:
        InputError: Not one of `PRECISIONS`.
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
    """Give each of `processes` on this machine its share of the cores.

    `accelerate launch` and torchrun set OMP_NUM_THREADS to 1, which halves the speed of two cores; another number is
    the user's own and stays.
    """
    if os.environ.get("OMP_NUM_THREADS", "1") == "1":
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        torch.set_num_threads(max(cores // processes, 1))


def autocast(precision: str, device: torch.device | str) -> AbstractContextManager:
    """The autocast context of a chosen precision."""
    return torch.autocast(torch.device(device).type, torch.bfloat16, enabled=precision == "bf16")


def describe(device: torch.device | str) -> str:
    """The processor that does the work, in words."""
    device = torch.device(device)
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        name = platform.processor() or platform.machine()
    return f"{name}, {torch.get_num_threads()} threads" if device.type == "cpu" else str(device)
