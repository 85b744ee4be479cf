"""What the rows of the paper's Table 2 cost, as a Markdown table for the docs.

    python tests/bench/bench_architectures.py                 # 224 px, bf16 where the processor has it, channels last
    python tests/bench/bench_architectures.py --rounds 0      # without times
    python tests/bench/bench_architectures.py -o model_cards/architectures.md   # the page

Images/s are over those of the row's plain network (ResNet-50 at that size) in the same round, medians over the rounds,
all in one process. Rows that differ in the training alone share a network and its figures. Times mean something only
when nothing else runs.
"""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

import timm
import torch
from torch import nn
from tqdm import tqdm

import timm_pushpull  # noqa: F401  registers the models
from timm_pushpull import cli
from timm_pushpull.models.complexity import multiply_adds, parameters
from timm_pushpull.utils.files import write_file
from timm_pushpull.utils.hardware import PRECISIONS, autocast, choose_precision, describe
from timm_pushpull.utils.markdown import table
from timm_pushpull.utils.provenance import commit

TESTS = Path(__file__).resolve().parents[1]

PLAIN = "timm's own network"
CIFAR = "test_models.py::test_cifar_stem"
UNIT = "test_push_pull.py::test_output_and_gradients_equal_the_published_unit"
BLUR = "test_rivals.py::test_blurred_network_is_the_published_one"
YEAR_2020 = "test_rivals.py::test_push_pull_2020_is_its_definition"
FAMILY = "test_rivals.py::test_family_is_timms_network_with_a_converted_stem"


@dataclass(frozen=True)
class Row:
    """A row of the table: its label in the paper, the network, its plain network for the ratio, and the evidence."""

    label: str
    name: str
    evidence: str
    baseline: str = "resnet50"
    size: int = 224


def cifar(label: str, name: str, evidence: str) -> Row:
    return Row(f"CIFAR-10: {label}", name, evidence, "resnet50_cifar", 32)


ROWS = (
    cifar("ResNet50", "resnet50_cifar", CIFAR),
    cifar("PushPull avg3", "resnet50_cifar_pushpull", UNIT),
    cifar("PushPull avg5", "resnet50_cifar_pushpull5", UNIT),
    cifar("PushPull of 2020", "resnet50_cifar_pushpull2020", YEAR_2020),
    cifar("BlurConv1", "resnet50_cifar_blurconv1", BLUR),
    cifar("BlurConv2", "resnet50_cifar_blurconv2", BLUR),
    Row("ResNet50, also with AugMix, AutoAug, PRIME, TrivialAug", "resnet50", PLAIN),
    Row("PushPull avg3 (PP3), also with these", "resnet50_pushpull", UNIT),
    Row("PushPull avg5 (PP5)", "resnet50_pushpull5", UNIT),
    Row("PushPull of 2020", "resnet50_pushpull2020", YEAR_2020),
    Row("BlurConv1", "resnet50_blurconv1", BLUR),
    Row("BlurConv2", "resnet50_blurconv2", BLUR),
    Row("BlurConv2+PP3", "resnet50_blurconv2_pushpull", BLUR),
    Row("EffNet-b0", "efficientnet_b0", PLAIN),
    Row("EffNet-b0 + PP3", "efficientnet_b0_pushpull", FAMILY),
    Row("beyond the paper", "convnext_tiny_pushpull", FAMILY),
    Row("beyond the paper", "regnety_008_pushpull", FAMILY),
    Row("beyond the paper", "mobilenetv3_large_100_pushpull", FAMILY),
)


def check_evidence() -> None:
    """Raises ValueError where a row names a test that is not there."""
    for evidence in {row.evidence for row in ROWS} - {PLAIN}:
        file, _, test = evidence.partition("::")
        if f"def {test}(" not in next(TESTS.rglob(file)).read_text():
            raise ValueError(f"there is no test {evidence}")


def seconds(model: nn.Module, x: torch.Tensor, precision: str) -> float:
    start = time.perf_counter()
    with torch.no_grad(), autocast(precision, x.device):
        model(x)
    return time.perf_counter() - start


def speeds(baseline: str, size: int, args: argparse.Namespace, precision: str) -> dict[str, float]:
    """Images/s of each network over those of its baseline."""
    names = [baseline, *(row.name for row in ROWS if row.baseline == baseline and row.name != baseline)]
    models = {name: timm.create_model(name).eval().to(memory_format=torch.channels_last) for name in names}
    x = torch.randn(args.batch_size, 3, size, size).to(memory_format=torch.channels_last)
    for model in models.values():  # the first call compiles and packs
        seconds(model, x, precision)
    ratios = {name: [] for name in names}
    for turn in tqdm(range(args.rounds), desc=baseline, leave=False):
        first = turn % len(names)  # each finds the memory as each of the others leaves it
        times = {name: seconds(models[name], x, precision) for name in names[first:] + names[:first]}
        for name in names:
            ratios[name].append(times[baseline] / times[name])
    return {name: statistics.median(values) for name, values in ratios.items()}


def main() -> None:
    parser = cli.Parser(description=__doc__)
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        default="auto",
        help="auto takes bf16 where the device has it (default: %(default)s)",
    )
    parser.add_argument("--batch-size", type=int, default=16, help="images per batch (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=15, help="0 leaves the times out (default: %(default)s)")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="page to write (default: print)")
    args = parser.parse_args()

    check_evidence()
    precision = choose_precision(args.precision, "cpu")
    relative = {}
    for baseline, size in dict.fromkeys((row.baseline, row.size) for row in ROWS):
        relative |= speeds(baseline, size, args, precision) if args.rounds else {}
    text = page(relative, args, precision)
    if args.output:
        write_file(args.output, text)
    else:
        print(text, end="")


def page(relative: dict[str, float], args: argparse.Namespace, precision: str) -> str:
    """The table under a heading that says what was measured, and how."""
    rows = []
    for row in ROWS:
        with torch.device("meta"):
            model = timm.create_model(row.name)
            cost = [f"{parameters(model) / 1e6:.2f}", f"{multiply_adds(model, row.size) / 1e9:.3f}"]
        speed = f"{relative[row.name]:.2f}" if args.rounds else "-"
        evidence = row.evidence if row.evidence == PLAIN else f"`{row.evidence}`"
        rows.append([row.label, f"`{row.name}`", *cost, speed, evidence])
    header = ["row of Table 2", "name", "parameters, M", "GMACs", "images/s over ResNet-50's", "checked by"]
    return (
        "# Architectures: the rows of the paper's Table 2\n\n"
        "What each row is called here, what it costs, and the test in `tests/` that checks it. "
        "Networks for CIFAR-10 have 10 classes and take 32 px, the others 1,000 and 224 px. Images/s (inference) are "
        f"over those of the plain ResNet-50 of that size in the same round, medians of {args.rounds} rounds of "
        f"{args.batch_size} images: {describe(torch.device('cpu'))}, torch {torch.__version__}, {precision}, "
        "channels_last, all in one process. Differences below a tenth are noise. "
        "Written by `python tests/bench/bench_architectures.py -o "
        "model_cards/architectures.md`, commit "
        f"`{(commit() or 'none')[:10]}`.\n\n{table(header, rows, words=2)}\n"
    )


if __name__ == "__main__":
    main()
