"""Everything that only a GPU can show, in about four minutes.

    python tests/bench/gpu.py --output gpu.json
    python tests/bench/gpu.py --quick                     # tiny sizes, for a look at the script on a CPU
    python tests/bench/gpu.py --parts "compiled stem"     # on a CPU too, 16 images

Prints versions and card; the errors of the unit against the published one; what the unit costs, with peak memory;
images/s of the training loop and of the benchmark; the counts of the benchmark on CPU and GPU. A part that fails is
reported and the others go on; the exit code is then 1. No part, network, round of a comparison or corruption begins
after `--seconds`; what has begun is finished. Nothing else may use the GPU.

Goals: the unit at most 1.05x in inference and 1.08x in training of ResNet-18, 1.02x and 1.03x of ResNet-50.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import platform
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # this checkout
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # its tests

import numpy as np
import timm
import torch
from torch import nn

from bench import bench_unit
from support.paths import GOLDEN_FOLDER
from timm_pushpull import PushPullConv2d, cli
from timm_pushpull.corruptions import CORRUPTIONS
from timm_pushpull.data import ImageSet, load_images
from timm_pushpull.utils.hardware import choose_precision, describe

GOALS = {"resnet18": {"infer": 1.05, "train step": 1.08}, "resnet50": {"infer": 1.02, "train step": 1.03}}


def main() -> None:
    parser = cli.Parser(description=__doc__)
    parser.add_argument("--output", type=Path, help="JSON file of all results (default: none)")
    parser.add_argument("--seconds", type=float, default=220, help="nothing begins later (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="tiny sizes")
    parser.add_argument(
        "--parts",
        nargs="+",
        choices=PARTS,
        default=list(PARTS),
        metavar="PART",
        help=f"only these of {', '.join(PARTS)} (default: all)",
    )
    options = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cpu" and not options.quick and options.parts != ["compiled stem"]:
        parser.error("there is no GPU; --quick runs the parts on the CPU, with tiny sizes")
    results: dict[str, Any] = {}
    begun = time.perf_counter()
    run = Run(device, options.quick, begun + options.seconds)
    for name in options.parts:
        passed = time.perf_counter() - begun
        print(f"\n== {name} ({passed:.0f} s)", flush=True)
        if run.is_over():
            results[name] = {"left out": f"after {passed:.0f} s"}
            print("left out")
        else:
            try:
                results[name] = PARTS[name](run)
            except Exception as error:  # the machine is lent for minutes: the other parts are wanted all the same
                results[name] = {"error": f"{type(error).__name__}: {error}"}
                print(results[name]["error"])
        if options.output:
            options.output.write_text(json.dumps(results, indent=2) + "\n")
    if any("error" in part for part in results.values()):
        sys.exit(1)


@dataclass(frozen=True)
class Run:
    """What all parts need to know; nothing begins after `deadline`, by `time.perf_counter`."""

    device: torch.device
    quick: bool
    deadline: float

    def is_over(self) -> bool:
        return time.perf_counter() > self.deadline


def environment(run: Run) -> dict[str, Any]:
    packages = ("torch", "triton", "torchvision", "timm", "accelerate", "numba", "numpy")
    found = {"python": platform.python_version(), "device": describe(run.device), "cpu": describe("cpu")}
    for name in packages:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "missing"
    if run.device.type == "cuda":
        capability = torch.cuda.get_device_capability()
        memory = torch.cuda.get_device_properties(run.device).total_memory
        found |= {"cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version()}
        found |= {"capability": f"{capability[0]}.{capability[1]}", "memory": f"{memory / 2**30:.0f} GiB"}
    print(", ".join(f"{name} {value}" for name, value in found.items()))
    return found


def golden(run: Run) -> dict[str, Any]:
    """The largest errors over the golden cases, relative to the largest number.

    Of outputs and gradients in float64 and float32, of outputs in the narrow types: there rounding turns some responses
    around, whose gradients are then others.
    """
    torch.backends.cudnn.allow_tf32 = False
    file, found = np.load(GOLDEN_FOLDER / "pushpull_unit.npz"), {}
    try:
        for dtype in (torch.float64, torch.float32, torch.bfloat16, torch.float16):
            for layout in (torch.contiguous_format, torch.channels_last):
                errors, fused = [], True
                for case in range(1 if run.quick else 9):
                    part = {name.split("/")[1]: file[name] for name in file if name.startswith(f"case{case}/")}
                    error, is_fused = golden_error(part, run.device, dtype, layout)
                    errors.append(error)
                    fused = fused and is_fused
                key = f"{dtype}, {layout}".replace("torch.", "")
                found[key] = {"error": max(errors), "fused": fused}
                print(f"{key}: {max(errors):.1e}, {'fused' if fused else 'NOT FUSED'}")
    finally:
        torch.backends.cudnn.allow_tf32 = True
    return found


def golden_error(
    case: dict[str, np.ndarray], device: torch.device, dtype: torch.dtype, layout: torch.memory_format
) -> tuple[float, bool]:
    golden = {name: torch.from_numpy(np.asarray(value)) for name, value in case.items()}
    weight, fixed = golden["weight"], golden["alpha"].ndim == 0
    unit = PushPullConv2d(
        *(weight.shape[1], weight.shape[0], *(int(golden[name]) for name in "ksp")),
        bias="bias" in golden,
        avg_size=int(golden["avg"]),
        alpha=golden["alpha"],
        trainable_alpha=not fixed,
    )
    given = {name: golden[name] for name in ("weight", "bias") if name in golden}
    unit.double().load_state_dict({**unit.state_dict(), **given})
    unit.to(device, dtype)
    x = golden["x"].to(device, dtype).contiguous(memory_format=layout).requires_grad_()
    y = unit(x)
    y.backward(golden["grad_y"].to(device, dtype))
    found = {"y": y, "grad_x": x.grad, **{f"grad_{name}": value.grad for name, value in unit.named_parameters()}}
    if dtype.itemsize < 4:
        found = {"y": y}
    errors = [
        (value.detach().double().cpu() - golden[name]).abs().max().item() / max(1, golden[name].abs().max().item())
        for name, value in found.items()
    ]
    return max(errors), "FusedPushPull" in type(y.grad_fn).__name__


def unit_cost(run: Run) -> dict[str, Any]:
    """Times of whole networks, and peak memory, beside the goals."""
    found, precision = {}, choose_precision("auto", run.device)
    for name, goals in GOALS.items():
        if run.is_over():
            break
        x = torch.randn(*((2, 3, 32, 32) if run.quick else (256, 3, 224, 224)), device=run.device)
        x = x.to(memory_format=torch.channels_last)
        rounds = 1 if run.quick else 11
        found[name] = bench_unit.measure(name, f"{name}_pushpull", x, precision, rounds, deadline=run.deadline)
        for kind, goal in goals.items():
            ratio = found[name][kind]["ours"]
            print(f"{name} {kind}: {ratio:.3f}x, goal {goal:.2f}x: {'reached' if ratio <= goal else 'MISSED'}")
    return found


def compiled(run: Run) -> dict[str, Any]:
    """The stem alone, which both networks share, eager and compiled: times relative to the compiled plain stem."""
    shape = (1, 3, 16, 16) if run.quick else (256 if run.device.type == "cuda" else 16, 3, 224, 224)
    x, found = torch.randn(shape, device=run.device).to(memory_format=torch.channels_last), {}
    precision, stems = choose_precision("auto", run.device), {}
    for label in bench_unit.FORMS:
        network = timm.create_model("resnet18" if label == "plain" else "resnet18_pushpull")
        stem = _Stem(network.to(run.device, memory_format=torch.channels_last))
        stems[label] = bench_unit.steps(stem, x, precision)
        compiled_stem = torch.compile(stem, dynamic=False, backend="eager" if run.quick else "inductor")
        stems[f"{label}, compiled"] = bench_unit.steps(compiled_stem, x, precision)
    for kind in ("infer", "train step"):
        work = {label: steps[kind] for label, steps in stems.items()}
        for label, step in work.items():
            with _form(label):
                step()
        times = bench_unit.in_turns(work, run.device, 1 if run.quick else 21, 1, _form, run.deadline)
        found[kind] = bench_unit.ratios(times, "plain, compiled")
        print(f"stem {kind}: {found[kind]}")
    return found


def _form(label: str) -> AbstractContextManager[None]:
    """The form that a row is of; torch compiles once more for another one."""
    return bench_unit.form(label.removesuffix(", compiled"))


def kernels(run: Run) -> dict[str, Any]:
    """Where the time of the stem goes, plain and push-pull: the longest kernels of a pass, in microseconds."""
    x = torch.randn(*((1, 3, 16, 16) if run.quick else (256, 3, 224, 224)), device=run.device)
    x, precision, found = x.to(memory_format=torch.channels_last), choose_precision("auto", run.device), {}
    on_gpu = run.device.type == "cuda"
    activity = torch.profiler.ProfilerActivity.CUDA if on_gpu else torch.profiler.ProfilerActivity.CPU
    time_of = "self_device_time_total" if on_gpu else "self_cpu_time_total"
    for name in ("resnet18", "resnet18_pushpull"):
        stem = _Stem(timm.create_model(name).to(run.device, memory_format=torch.channels_last))
        for kind, step in bench_unit.steps(stem, x, precision).items():
            step()
            with torch.profiler.profile(activities=[activity]) as profile:
                step()
                if on_gpu:
                    torch.cuda.synchronize()
            times = {event.key[:80]: round(getattr(event, time_of)) for event in profile.key_averages()}
            longest = dict(sorted(times.items(), key=lambda item: -item[1])[:12])
            found[f"{name} {kind}"] = {"all": sum(times.values()), **longest}
            print(f"{name} {kind}: {sum(times.values())} us")
            for key, microseconds in longest.items():
                print(f"    {microseconds:6d} {key}")
    return found


class _Stem(nn.Module):
    """The layers up to the first block, with the average of each channel as its outputs."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(network.conv1, network.bn1, network.act1, network.maxpool)
        self.num_classes = network.conv1.out_channels

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x).mean(dim=(2, 3))


def training(run: Run) -> dict[str, Any]:
    from bench import bench_training  # needs packages that the others do without

    cases = [("resnet18_cifar", 64, 32, 100, 5), ("resnet18_cifar", 512, 32, 40, 5), ("resnet50", 256, 224, 40, 2)]
    found = {}
    for model, batch_size, size, steps, rounds in [("resnet18_cifar", 8, 32, 2, 1)] if run.quick else cases:
        if run.is_over():
            break
        options = argparse.Namespace(
            model=model, batch_size=batch_size, image_size=size, steps=steps, rounds=rounds, workers=14, in_memory=False
        )
        with TemporaryDirectory() as folder:
            found[f"{model}, {batch_size}"] = bench_training.measure(options, Path(folder), run.deadline)
    return found


def benchmark(run: Run) -> dict[str, Any]:
    from bench import bench_benchmark

    options = argparse.Namespace(
        **{"model": "resnet18_cifar", "dataset": "digits", "split": "train", "limit": len(digits(run.quick))},
        **{"batch_size": None, "workers": None},
    )
    return bench_benchmark.measure(options, ("brightness",) if run.quick else CORRUPTIONS, run.deadline)


def digits(quick: bool) -> ImageSet:
    return load_images("digits", "train").subset(4 if quick else 1000)  # the test split has 355


def counts(run: Run) -> dict[str, Any]:
    """How many images are wrong in each cell, in float32 on the CPU and on the GPU."""
    from timm_pushpull.benchmark import evaluate
    from timm_pushpull.data.preprocessing import ResizeCenterCrop

    images = digits(run.quick)
    torch.manual_seed(0)
    model = timm.create_model("resnet18_cifar_pushpull", num_classes=len(images.classes)).eval()
    settings = {"mean": (0.5,) * 3, "std": (0.5,) * 3, "preset": "cifar10-c", "precision": "fp32", "progress": False}
    errors: tuple[dict, dict] = ({}, {})
    torch.backends.cudnn.allow_tf32 = False
    try:
        for name in ("brightness",) if run.quick else CORRUPTIONS:
            if errors[0] and run.is_over():
                break
            for mine, device in zip(errors, (torch.device("cpu"), run.device), strict=True):
                more = {"corruptions": (name,), "clean": not mine, "device": device}
                mine |= evaluate(model.to(device), images, ResizeCenterCrop(32, 32), **settings, **more).image_errors
    finally:
        torch.backends.cudnn.allow_tf32 = True
    wrong = [{"/".join(map(str, cell)): int(values.sum()) for cell, values in one.items()} for one in errors]
    other = sum(int((errors[0][cell] != errors[1][cell]).sum()) for cell in errors[0])
    same = sum(wrong[0][cell] == wrong[1][cell] for cell in wrong[0])
    print(f"{same} of {len(wrong[0])} cells have equal counts; {other} images differ, {len(images):,} images per cell")
    found = {"images": len(images), "equal cells": same, "cells": len(wrong[0]), "different images": other}
    return {**found, "cpu": wrong[0], "gpu": wrong[1]}


PARTS: dict[str, Callable[[Run], dict[str, Any]]] = {
    "versions and card": environment,
    "golden cases": golden,
    "unit and peak memory": unit_cost,
    "kernels of the stem": kernels,
    "compiled stem": compiled,
    "training loop": training,
    "benchmark": benchmark,
    "counts on CPU and GPU": counts,
}


if __name__ == "__main__":
    main()
