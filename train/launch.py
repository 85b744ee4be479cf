"""The start of a run on the machine at hand, and one line of advice where the machine does not suffice."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from accelerate import Accelerator, PartialState
from accelerate.utils import DistributedType, DynamoBackend
from torch import nn

from timm_pushpull.utils import hardware
from timm_pushpull.utils.errors import InputError, one_line
from train.settings import Settings

_PROJECT = "timm-pushpull"
_ACCUMULATION = "ACCELERATE_GRADIENT_ACCUMULATION_STEPS"


def check_gpus(device: str) -> None:
    """Raise InputError where Accelerate was told to start processes for several GPUs and there is none.

    Its launcher says nothing, and the processes would train on the CPU. It sets ACCELERATE_USE_CPU for those that it
    starts otherwise.
    """
    launched = {"ACCELERATE_MIXED_PRECISION", "LOCAL_RANK"} <= os.environ.keys()
    for_gpus = launched and "ACCELERATE_USE_CPU" not in os.environ
    if for_gpus and device == "auto" and hardware.choose_device().type == "cpu":
        raise InputError(
            "Accelerate was told to use several GPUs, but this machine has none; leave out --multi_gpu, use "
            "--config_file train/clusters/cpu.yaml, or add --device cpu"
        )


def start_accelerator(device: str, precision: str) -> Accelerator:
    """Accelerate on a device, with this precision of the forward pass; `auto` for either.

    Raises:
        InputError: There is no such device, or Accelerate is configured for what train.py does not do.
    """
    asked = os.environ.get("ACCELERATE_MIXED_PRECISION", "no").lower()
    if asked not in ("no", "bf16"):
        raise InputError(
            f"Accelerate was told to use the mixed precision {asked!r}; train.py has bf16 and fp32: use "
            f"--mixed_precision bf16 or no"
        )
    if asked == "bf16" and precision == "fp32":
        raise InputError("Accelerate was told to use bf16, but the precision is fp32; make them agree")
    if asked == "bf16":
        precision = "bf16"
    on_cpu = hardware.choose_device(device).type == "cpu"  # Accelerate has to be told, or processes would not meet
    torch.backends.cudnn.benchmark = True  # all batches have one size, or one less
    try:
        chosen = hardware.choose_precision(precision, PartialState(cpu=on_cpu).device)
        accelerator = Accelerator(cpu=on_cpu, mixed_precision="bf16" if chosen == "bf16" else "no")
    except InputError:
        raise
    except Exception as error:  # whatever Accelerate and its plugins make of flags and variables
        raise InputError(
            f"Accelerate does not start: {one_line(error)}; correct the launcher's options or ACCELERATE_*"
        ) from error
    if accelerator.distributed_type in (DistributedType.FSDP, DistributedType.DEEPSPEED, DistributedType.MEGATRON_LM):
        raise InputError(f"{accelerator.distributed_type} is not supported; use a configuration from train/clusters")
    backend = accelerator.state.dynamo_plugin.backend
    if backend != DynamoBackend.NO:  # it would rename the weights
        raise InputError(
            f"Accelerate was told to compile with dynamo ({backend.value.lower()}); leave that to train.py: "
            f"--dynamo_backend no for the launcher, --torchcompile for train.py"
        )
    accelerator.gradient_accumulation_steps = 1  # it would divide losses by its own number; ours is a setting
    hardware.use_all_cores(int(os.environ.get("LOCAL_WORLD_SIZE", 1)))
    return accelerator


def grad_accum_steps(settings: Settings) -> int:
    """The settings' number of accumulated parts, or else that of Accelerate's own configuration.

    Raises:
        InputError: The latter is not a whole number of at least 1.
    """
    if settings.grad_accum_steps:
        return settings.grad_accum_steps
    configured = os.environ.get(_ACCUMULATION, "1")
    if not configured.isdecimal() or int(configured) < 1:
        raise InputError(f"{_ACCUMULATION} is {configured!r}; use 1 or more, or --grad-accum-steps")
    return int(configured)


def check_outputs(name: str, model: nn.Module, img_size: int, test_img_size: int) -> None:
    """Check on the meta device, before data are read, that a network classifies images of these sizes.

    Raises:
        InputError: It fails on them, or its outputs are not one vector per image.
    """
    _check_outputs(name, model, img_size, "--img-size")
    if test_img_size != img_size:
        _check_outputs(name, model, test_img_size, "--test-img-size")


def _check_outputs(name: str, model: nn.Module, img_size: int, flag: str) -> None:
    images = torch.empty(2, 3, img_size, img_size, device="meta")
    try:
        outputs = model.eval()(images)
    except NotImplementedError:
        return
    except Exception as error:
        if "meta" in str(error):  # it needs the numbers
            return
        advice = f"add --model-args img_size={img_size}" if "match model" in str(error) else "check --model-args"
        raise InputError(
            f"{name} fails on images of {img_size} px: {one_line(error)}; use another {flag}, or {advice}"
        ) from error
    if not isinstance(outputs, torch.Tensor) or outputs.ndim != 2:
        shape = tuple(outputs.shape[1:]) if isinstance(outputs, torch.Tensor) else type(outputs).__name__
        raise InputError(f"{name} gives {shape} for an image, not one number per class; check --model-args")


@contextmanager
def memory_advice(settings: Settings) -> Iterator[None]:
    """Turn "out of memory", of the GPU or of the machine, into one line with the way out."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not (isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "can't allocate memory" in str(error)):
            raise
        parts = grad_accum_steps(settings)
        raise InputError(
            f"out of memory with batch_size {settings.batch_size} in {parts} parts; use --grad-accum-steps {2 * parts} "
            f"for the same steps in less memory, or a smaller --batch-size or --img-size"
        ) from error
