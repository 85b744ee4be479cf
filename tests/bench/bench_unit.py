"""What the push-pull unit costs: the plain network, the published formulation and ours, turn by turn in one process.

    python tests/bench/bench_unit.py                                  # the figures of docs/unit.md, 2 cores
    python tests/bench/bench_unit.py --device cuda --batch-size 256

Prints, as medians over the rounds, the time of each form over the time of the plain network in the same round; before
that the first call of ours in this process, which compiles its kernels or reads them from disk; after that the peak of
the memory that torch hands out in a training step. Times mean something only when nothing else runs.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import timm
import torch
from torch import nn
from tqdm import tqdm

import timm_pushpull
from timm_pushpull import cli
from timm_pushpull.utils.hardware import PRECISIONS, autocast, choose_precision, describe

FORMS = ("plain", "published", "ours")


@contextmanager
def form(name: str) -> Iterator[None]:
    """The published formulation is two convolutions: the unit's plain form."""
    timm_pushpull.set_fused(name != "published")
    try:
        yield
    finally:
        timm_pushpull.set_fused(True)


def steps(model: nn.Module, x: torch.Tensor, precision: str) -> dict[str, Callable[[], None]]:
    target = torch.randint(model.num_classes, (len(x),), device=x.device)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)

    def infer() -> None:
        model.eval()
        with torch.no_grad(), autocast(precision, x.device):
            model(x)

    def train() -> None:
        model.train()
        with autocast(precision, x.device):
            loss = nn.functional.cross_entropy(model(x), target)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return {"infer": infer, "train step": train}


def seconds(step: Callable[[], None], device: torch.device, repeats: int) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(repeats):
        step()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - start) / repeats


def peak_bytes(step: Callable[[], None], device: torch.device) -> int:
    """The most memory that torch's allocator had handed out at once during a step."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        step()
        return torch.cuda.max_memory_allocated()
    with torch.profiler.profile(profile_memory=True, activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        step()
    changes = [event.nbytes() for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    held = peak = 0
    for change in changes:
        held += change
        peak = max(peak, held)
    return peak


def main() -> None:
    parser = cli.Parser(description=__doc__)
    parser.add_argument(
        "--models", nargs="+", default=["resnet18", "resnet50"], help="plain networks (default: %(default)s)"
    )
    parser.add_argument("--suffix", default="_pushpull", help="_pushpull or _pushpull5 (default: %(default)s)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: %(default)s)")
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        default="auto",
        help="auto takes bf16 where the device has it (default: %(default)s)",
    )
    parser.add_argument("--batch-size", type=int, default=16, help="images per batch (default: %(default)s)")
    parser.add_argument("--size", type=int, default=224, help="side of the images in pixels (default: %(default)s)")
    parser.add_argument(
        "--layout",
        choices=("channels_last", "contiguous_format"),
        default="channels_last",
        help="memory format (default: %(default)s)",
    )
    parser.add_argument(
        "--rounds", type=int, default=15, help="rounds, in which the forms take turns (default: %(default)s)"
    )
    parser.add_argument("--repeats", type=int, default=1, help="steps per round and form (default: %(default)s)")
    args = parser.parse_args()

    device, precision = torch.device(args.device), choose_precision(args.precision, args.device)
    layout = getattr(torch, args.layout)
    x = torch.randn(args.batch_size, 3, args.size, args.size, device=device).to(memory_format=layout)
    print(f"{describe(device)}; torch {torch.__version__}, {precision}, {args.layout}, {tuple(x.shape)}")
    for name in args.models:
        measure(name, name + args.suffix, x, precision, args.rounds, args.repeats)


def measure(
    plain_name: str,
    name: str,
    x: torch.Tensor,
    precision: str,
    rounds: int,
    repeats: int = 1,
    deadline: float = math.inf,
) -> dict[str, dict[str, float]]:
    """Measure the forms of a network with the unit against the plain network, and print the results.

    Args:
        x: Images, shape (N, 3, H, W), whose device and memory format the networks get.
        deadline: As in `in_turns`.

    Returns:
        For `infer` and `train step` the milliseconds of the plain network and the ratios of the others; for `peak
        memory` the MiB of the plain network and the ratios.
    """
    device, results = x.device, {}
    layout = torch.channels_last if x.is_contiguous(memory_format=torch.channels_last) else torch.contiguous_format

    def steps_of(arch: str) -> dict[str, Callable[[], None]]:
        return steps(timm.create_model(arch).to(device, memory_format=layout), x, precision)

    unit = steps_of(name)
    work = {"plain": steps_of(plain_name), "published": unit, "ours": unit}
    for kind in unit:
        for label in FORMS:
            with form(label):
                first = seconds(work[label][kind], device, 1)
                if label == "ours":
                    second = seconds(work[label][kind], device, 1)
                    print(f"{plain_name} {kind}: first call of ours {first:.2f} s, second {second:.2f} s")
        times = in_turns({label: work[label][kind] for label in FORMS}, device, rounds, repeats, form, deadline)
        results[kind] = ratios(times)
        print(f"{plain_name} {kind}: {_line(results[kind], 'ms')}")
    del work, unit  # on a GPU, the other network would count too
    peaks = {}
    for label in FORMS:
        step = steps_of(plain_name if label == "plain" else name)["train step"]
        with form(label):
            step()  # the optimizer's state comes with the first step
            peaks[label] = peak_bytes(step, device)
        del step
    others = {label: peaks[label] / peaks["plain"] for label in FORMS[1:]}
    results["peak memory"] = {"plain": peaks["plain"] / 2**20, **others}
    print(f"{plain_name} train step, peak memory: {_line(results['peak memory'], 'MiB')}")
    return results


def in_turns(
    work: dict[str, Callable[[], None]],
    device: torch.device,
    rounds: int,
    repeats: int,
    context: Callable[[str], AbstractContextManager] = lambda _: nullcontext(),
    deadline: float = math.inf,
) -> dict[str, list[float]]:
    """Seconds of each work in every round; each finds the memory as each of the others leaves it.

    Args:
        deadline: By `time.perf_counter`; after it, only the round at hand is finished.
    """
    times: dict[str, list[float]] = {label: [] for label in work}
    labels = list(work)
    for turn in tqdm(range(rounds), leave=False):
        if turn and time.perf_counter() > deadline:
            break
        first = turn % len(labels)
        for label in labels[first:] + labels[:first]:
            with context(label):
                times[label].append(seconds(work[label], device, repeats))
    return times


def ratios(times: dict[str, list[float]], base: str = "plain") -> dict[str, float]:
    """The median time of the base in ms, and the medians of the others' ratios to it in the same round."""
    others = {
        label: statistics.median(own / other for own, other in zip(values, times[base], strict=True))
        for label, values in times.items()
        if label != base
    }
    return {base: statistics.median(times[base]) * 1e3, **others}


def _line(values: dict[str, float], unit: str) -> str:
    (base, absolute), *others = values.items()
    return f"{base} {absolute:.1f} {unit}, " + ", ".join(f"{label} {ratio:.3f}x" for label, ratio in others)


if __name__ == "__main__":
    main()
