"""Size, error and images/s of a network in the forms of docs/export.md.

    python tests/bench/bench_export.py --dataset FOLDER_OR_HUB_ID --limit 1000

Errors are measured on clean images of the split `test`; int8 is calibrated on images of `train`. Speed is the median
over rounds, in turns. Needs pip install torchao onnxruntime, and a C++ compiler.
"""

from __future__ import annotations

import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import timm
import torch
from torch import Tensor, nn

import timm_pushpull  # noqa: F401
from timm_pushpull import cli
from timm_pushpull.data.loading import load_images
from timm_pushpull.data.preprocessing import model_geometry, normalise

BATCH = 50


def to_onnx(model: nn.Module, example: Tensor, path: Path) -> Callable[[Tensor], Tensor]:
    shapes = {0: "batch", 2: "height", 3: "width"}
    dynamic = ({axis: torch.export.Dim(name, max=4096) for axis, name in shapes.items()},)
    torch.onnx.export(model, (example,), path, dynamo=True, dynamic_shapes=dynamic, external_data=False, verbose=False)
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(path, settings, providers=["CPUExecutionProvider"])
    (name,) = [value.name for value in session.get_inputs()]
    return lambda images: torch.from_numpy(session.run(None, {name: images.to(example.dtype).numpy()})[0]).float()


def to_package(model: nn.Module, example: Tensor, path: Path) -> Callable[[Tensor], Tensor]:
    program = torch.export.export(model, (example,), dynamic_shapes=({0: torch.export.Dim("batch", max=4096)},))
    torch._inductor.aoti_compile_and_package(program, package_path=str(path))
    return torch._inductor.aoti_load_package(str(path))


def to_int8(model: nn.Module, images: Tensor, path: Path) -> Callable[[Tensor], Tensor]:
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
    from torchao.quantization.pt2e.quantizer import x86_inductor_quantizer as x86

    quantizer = x86.X86InductorQuantizer().set_global(x86.get_default_x86_inductor_quantization_config())
    dynamic = ({0: torch.export.Dim("batch", max=4096)},)
    prepared = prepare_pt2e(torch.export.export(model, (images[:2],), dynamic_shapes=dynamic).module(), quantizer)
    for batch in images.split(BATCH):
        prepared(batch)
    torch._inductor.config.freezing = True
    quantized = torch.export.export(convert_pt2e(prepared), (images[:2],), dynamic_shapes=dynamic)
    torch._inductor.aoti_compile_and_package(quantized, package_path=str(path))
    return torch._inductor.aoti_load_package(str(path))


def main() -> None:
    parser = cli.Parser(description=__doc__)
    parser.add_argument(
        "--model", default="resnet18_cifar_pushpull.cifar10", help="name of the network (default: %(default)s)"
    )
    parser.add_argument("--dataset", required=True, help="folder or Hub id of an image dataset, or digits (required)")
    parser.add_argument("--limit", type=int, default=1000, help="number of test images (default: %(default)s)")
    parser.add_argument(
        "--calibration", type=int, default=500, help="training images that calibrate int8 (default: %(default)s)"
    )
    parser.add_argument(
        "--rounds", type=int, default=9, help="rounds, in which the forms take turns (default: %(default)s)"
    )
    parser.add_argument(
        "--threads", type=int, default=1, help="threads of PyTorch and ONNX Runtime (default: %(default)s)"
    )
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    warnings.simplefilter("ignore")
    model = timm.create_model(options.model, pretrained=True).eval()
    mean, std, geometry = model.pretrained_cfg["mean"], model.pretrained_cfg["std"], model_geometry(model)

    def read(split: str, limit: int) -> tuple[Tensor, Tensor]:
        subset = load_images(options.dataset, split).subset(limit)
        pixels = np.stack([geometry(subset.read(row)) for row in subset.indices])
        return normalise(pixels, mean, std).contiguous(), torch.from_numpy(subset.labels[subset.indices])

    images, labels = read("test", options.limit)
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        path = Path(folder)
        forms = {
            "PyTorch, fp32": model,
            "ONNX, fp32": to_onnx(model, images[:2], path / "fp32.onnx"),
            "ONNX, fp16": to_onnx(model.half(), images[:2].half(), path / "fp16.onnx"),
            "AOTInductor, fp32": to_package(model.float(), images[:2], path / "fp32.pt2"),
            "AOTInductor, int8": to_int8(model, read("train", options.calibration)[0], path / "int8.pt2"),
        }
        sizes = dict(zip(list(forms)[1:], [file.stat().st_size for file in map(path.joinpath, FILES)], strict=True))
        seconds: dict[str, list[float]] = {name: [] for name in forms}
        for _ in range(options.rounds):
            for name, run in forms.items():
                start = time.perf_counter()
                run(images[:BATCH])
                seconds[name].append(time.perf_counter() - start)
        print(f"{options.model}, {len(images)} images, {options.threads} threads, torch {torch.__version__}")
        print("| form | size, MB | error, % | other answers than PyTorch | images/s |\n|---|---:|---:|---:|---:|")
        answers = {
            name: torch.cat([run(batch).argmax(1) for batch in images.split(BATCH)]) for name, run in forms.items()
        }
        for name, given in answers.items():
            size = f"{sizes[name] / 1e6:.0f}" if name in sizes else "-"
            error, other = (given != labels).float().mean(), (given != answers["PyTorch, fp32"]).sum()
            speed = BATCH / statistics.median(seconds[name])
            print(f"| {name} | {size} | {100 * error:.1f} | {other} | {speed:.0f} |")


FILES = ("fp32.onnx", "fp16.onnx", "fp32.pt2", "int8.pt2")

if __name__ == "__main__":
    main()
