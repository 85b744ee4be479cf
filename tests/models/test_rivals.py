"""The rivals of the paper's Table 2 equal their published definitions, and push-pull families equal converted ones."""

from __future__ import annotations

import csv
import functools
import math
import zlib

import numpy as np
import pytest
import timm
import torch
from torch import nn

from support.paths import GOLDEN_FOLDER
from timm_pushpull import InputError, PushPull2020Conv2d, convert_stem, set_inhibition
from timm_pushpull.benchmark import evaluate
from timm_pushpull.benchmark.results import Results
from timm_pushpull.data.loading import load_images
from timm_pushpull.data.preprocessing import ResizeCenterCrop
from timm_pushpull.layers.blur_pool import BlurPool2d
from timm_pushpull.models.weights import load_model, save_model
from train import train

GOLDEN = np.load(GOLDEN_FOLDER / "rivals.npz")  # tests/golden/README.md says how it was made
EXACT = {"rtol": 1e-9, "atol": 1e-12}
BLURRED = sorted(key for key in GOLDEN if key.startswith("resnet") and not key.startswith("resnet50_cifar"))
# ResNet-50's CIFAR forms have the stem of ResNet-18's and the blocks of ResNet-50's; the slow tests have them too.
BLURRED += [pytest.param(key, marks=pytest.mark.slow) for key in GOLDEN if key.startswith("resnet50_cifar")]


@functools.cache
def value(key: str, shape: tuple[int, ...]) -> torch.Tensor:
    """The tensor of this name in every network, from numpy's legacy generator, scaled like an initialisation."""
    draws = np.random.RandomState(zlib.crc32(key.encode())).standard_normal(shape)
    if key.endswith("alpha"):
        draws = np.abs(draws)
    elif len(shape) == 4:
        draws *= math.sqrt(2 / (shape[0] * shape[2] * shape[3]))
    elif len(shape) == 2:
        draws /= math.sqrt(shape[1])
    else:
        draws = 1 + 0.1 * np.abs(draws) if key.endswith(("running_var", "weight")) else 0.1 * draws
    return torch.from_numpy(draws)


def image(*shape: int) -> torch.Tensor:
    return torch.from_numpy(np.random.RandomState(7).standard_normal(shape))


@pytest.mark.parametrize("key", [key for key in GOLDEN if key.startswith("blur/")])
def test_blur_pool_is_the_published_one(key):
    _, filt_size, stride, size = key.split("/")
    blur = BlurPool2d(3, int(filt_size), int(stride)).double()
    expected = torch.from_numpy(GOLDEN[key])
    torch.testing.assert_close(blur(image(2, 3, *map(int, size.split("x")))), expected, **EXACT)


@pytest.mark.parametrize("key", BLURRED)
def test_blurred_network_is_the_published_one(key):
    name, _, every = key.partition("/")
    options = {"blur_every_block": True} if every else {}
    with torch.device("meta"):  # the weights come below
        model = timm.create_model(name, num_classes=10, **options).eval()
    model = model.to_empty(device="cpu").double()
    for blur in model.modules():
        if isinstance(blur, BlurPool2d):
            blur.init_non_persistent_buffers()
    for tensor_name, tensor in model.state_dict().items():
        if not tensor_name.endswith("num_batches_tracked"):
            tensor.copy_(value(tensor_name, tuple(tensor.shape)))
    size = (32, 37) if "cifar" in name else (75, 98)  # odd sizes tell on which side a map is padded
    with torch.no_grad():
        torch.testing.assert_close(model(image(1, 3, *size)), torch.from_numpy(GOLDEN[key]), **EXACT)


@pytest.mark.parametrize("name", ["resnet18_blurconv1", "resnet50_blurconv2", "resnet50_cifar_blurconv2_pushpull"])
def test_every_stride_is_taken_by_a_blur_and_plain_weights_fit(name):
    with torch.device("meta"):
        model = timm.create_model(name)
        plain = timm.create_model(name.split("_blurconv")[0])
        dilated = timm.create_model(name, output_stride=4 if "cifar" in name else 16)
    shapes = {key: tensor.shape for key, tensor in model.state_dict().items() if key != "conv1.alpha"}
    assert shapes == {key: tensor.shape for key, tensor in plain.state_dict().items()}

    def strides(network: nn.Module) -> list[tuple[int, int]]:
        return [m.stride for m in network.modules() if isinstance(m, nn.Conv2d) and m.stride != (1, 1)]

    def blurs(network: nn.Module) -> int:
        return sum(isinstance(m, BlurPool2d) for m in network.modules())

    assert strides(model) == strides(dilated) == []
    assert blurs(model) == len(strides(plain)) + isinstance(plain.maxpool, nn.MaxPool2d)
    assert blurs(dilated) == blurs(model) - 2  # a stage that dilates has no stride to take


def test_blurred_push_pull_stem_is_the_unit_and_then_the_blur():
    stem = timm.create_model("resnet18_blurconv2_pushpull", alpha=0.5, avg_size=5).conv1
    assert (stem.alpha == 0.5).all()
    x = torch.randn(2, 3, 20, 23)
    y = stem(x)
    torch.testing.assert_close(y, stem.blur(stem.plain_forward(x)), rtol=1e-4, atol=1e-5)
    assert y.shape[-2:] == (10, 12)
    y.sum().backward()
    assert stem.alpha.grad.abs().sum() > 0
    scripted = torch.jit.script(stem)
    torch.testing.assert_close(scripted(x), y, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("resnet18_cifar_blurconv1", []),
        ("resnet18_cifar_blurconv2_pushpull", ["blur_every_block=true"]),
        ("resnet18_cifar_pushpull2020", ["trainable_alpha=true"]),
    ],
)
def test_rivals_train_are_measured_and_load_again(tmp_path, image_folder, run_inside, name, options):
    small = {"layers": [1, 1, 1, 1], "channels": [16, 16, 16, 16]}
    run = tmp_path / "run"
    process = run_inside(
        train.main, "train.py", "--model", name, "--dataset", image_folder, "--output", run, "--epochs", "1",
        "--batch-size", "8", "--precision", "fp32", "--benchmark-limit", "2", "--model-args",
        *(f"{key}={value}" for key, value in small.items()), *options,
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    with open(run / "log.csv", newline="") as file:
        (row,) = csv.DictReader(file)
    assert ("alpha_mean" in row) == ("pushpull" in name)
    if "pushpull2020" in name:
        assert 0.3 < float(row["alpha_mean"]) < 0.7  # it starts at 0.5 and has moved
        assert float(row["alpha_std"]) > 0
    results = Results.load(run)
    assert not results.partial
    again = evaluate(load_model(f"local-dir:{run}")[0], load_images(image_folder).subset(2), corruptions=[])
    assert again.clean_error == results.clean_error


def upsampled(kernel: np.ndarray, size: int) -> np.ndarray:
    """Bilinear interpolation with aligned corners, one output at a time."""
    last = kernel.shape[-1] - 1
    out = np.zeros((*kernel.shape[:2], size, size))
    for i, j in np.ndindex(size, size):
        y, x = i * last / (size - 1), j * last / (size - 1)
        top, left = min(int(y), last - 1), min(int(x), last - 1)
        dy, dx = y - top, x - left
        upper = (1 - dx) * kernel[..., top, left] + dx * kernel[..., top, left + 1]
        lower = (1 - dx) * kernel[..., top + 1, left] + dx * kernel[..., top + 1, left + 1]
        out[..., i, j] = (1 - dy) * upper + dy * lower
    return out


def correlate(x: np.ndarray, kernel: np.ndarray, stride: int, centre: int, count: tuple[int, int]) -> np.ndarray:
    """Responses of kernels whose centre starts at `centre` (in x's rows and columns) and moves by `stride`."""
    reach = kernel.shape[-1] // 2
    far = reach + x.shape[-1]
    padded = np.pad(x, ((0, 0), (0, 0), (far, far), (far, far)))
    out = np.zeros((len(x), len(kernel), *count))
    for i, j in np.ndindex(*count):
        row, column = far + centre + i * stride - reach, far + centre + j * stride - reach
        window = padded[:, None, :, row : row + kernel.shape[-1], column : column + kernel.shape[-1]]
        out[:, :, i, j] = (window * kernel).sum(axis=(2, 3, 4))
    return out


@pytest.mark.parametrize(
    ("k", "stride", "padding", "scale", "pull_size"),
    [(3, 1, 1, 2, 7), (7, 2, 3, 2, 15), (5, 2, 0, 1.5, 7), (3, 2, "valid", 1, 3), (3, 1, "same", 3, 9)],
)
@pytest.mark.parametrize("bias", [False, True])
def test_push_pull_2020_is_its_definition(k, stride, padding, scale, pull_size, bias):
    torch.manual_seed(0)
    layer = PushPull2020Conv2d(2, 4, k, stride, padding, bias=bias, alpha=[0.0, 0.5, 1, 2], scale=scale).double()
    x = torch.randn(2, 2, 11, 14, dtype=torch.float64)
    y = layer(x).detach().numpy()
    kernel = layer.weight.detach().numpy()
    shift = layer.bias.detach().numpy().reshape(-1, 1, 1) if bias else 0
    pad = {"valid": 0, "same": k // 2}.get(padding, padding)
    where = {"stride": stride, "centre": k // 2 - pad, "count": y.shape[-2:]}
    push = correlate(x.numpy(), kernel, **where) + shift
    pull = correlate(x.numpy(), -upsampled(kernel, pull_size), **where) - shift
    expected = np.maximum(push, 0) - np.array([0, 0.5, 1, 2]).reshape(-1, 1, 1) * np.maximum(pull, 0)
    assert y.shape[-2:] == tuple((size + 2 * pad - k) // stride + 1 for size in (11, 14))
    np.testing.assert_allclose(y, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("dilation", [1, 2])
def test_push_pull_2020_gradients(dilation):
    torch.manual_seed(0)
    layer = PushPull2020Conv2d(2, 3, 3, 2, 1, dilation, bias=True, trainable_alpha=True).double()
    x = torch.randn(1, 2, 7, 8, dtype=torch.float64, requires_grad=True)

    def forward(x, weight, bias, alpha):
        return torch.func.functional_call(layer, {"weight": weight, "bias": bias, "alpha": alpha}, (x,))

    assert torch.autograd.gradcheck(forward, (x, layer.weight, layer.bias, layer.alpha))


def test_push_pull_2020_alpha():
    fixed = PushPull2020Conv2d(3, 8, 3)
    assert fixed.state_dict().keys() == {"weight", "alpha"}
    assert (fixed.alpha == 1).all()
    assert not isinstance(fixed.alpha, nn.Parameter)
    torch.manual_seed(0)
    trained = PushPull2020Conv2d(3, 1000, 3, trainable_alpha=True).alpha
    reach = 1 / math.sqrt(3 * 1000)
    assert 0.5 - reach <= trained.min() < 0.5 - 0.9 * reach
    assert 0.5 + 0.9 * reach < trained.max() <= 0.5 + reach
    negative, none = (PushPull2020Conv2d(3, 8, 3, alpha=alpha, trainable_alpha=True) for alpha in (-1, 0))
    negative.weight = none.weight
    x = torch.randn(2, 3, 9, 9)
    torch.testing.assert_close(negative(x), none(x))
    torch.testing.assert_close(none(x), nn.functional.conv2d(x, none.weight).relu())


def test_push_pull_2020_refuses():
    for options, message in (({"kernel_size": 4}, "kernel_size"), ({"kernel_size": 3, "scale": 0.5}, "scale is 0.5")):
        with pytest.raises(ValueError, match=message):
            PushPull2020Conv2d(3, 8, **options)
    with pytest.raises(InputError, match="give one number or 8"):
        PushPull2020Conv2d(3, 8, 3, alpha=[1.0, 2.0])
    with pytest.raises(ValueError, match="padding_mode is 'circular'"):
        PushPull2020Conv2d.from_conv(nn.Conv2d(3, 8, 3, padding_mode="circular"))
    saved = PushPull2020Conv2d(3, 8, 3, scale=3).state_dict()
    with pytest.raises(RuntimeError, match=r"has scale 2\.0 but these weights were saved with 3"):
        PushPull2020Conv2d(3, 8, 3).load_state_dict(saved)


def test_push_pull_2020_options_and_plain_weights():
    plain = timm.create_model("resnet18_cifar", num_classes=5)
    overlay = {"state_dict": plain.state_dict(), "num_classes": 5}
    options = {"alpha": 0.25, "scale": 3, "trainable_alpha": True, "num_classes": 5}
    load = functools.partial(timm.create_model, "resnet18_cifar_pushpull2020", pretrained=True, **options)
    model = load(pretrained_cfg_overlay=overlay).eval()
    assert model.conv1.pull_size == [9, 9]
    assert isinstance(model.conv1.alpha, nn.Parameter)
    assert (model.conv1.alpha == 0.25).all()
    assert model.conv1.weight.equal(plain.conv1.weight)
    assert model.fc.weight.equal(plain.fc.weight)
    # Unlike the push-pull unit, it can be fitted to grey images: its pull kernel is linear in the weights.
    grey = load(pretrained_cfg_overlay=overlay, in_chans=1).eval()
    grey.conv1.bias = model.conv1.bias
    x = torch.randn(2, 1, 32, 32)
    torch.testing.assert_close(grey(x), model(x.repeat(1, 3, 1, 1)), rtol=1e-4, atol=1e-5)
    set_inhibition(model, 0.5)
    assert (model.conv1.alpha == 0.5).all()


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("convnext_tiny_pushpull", 64),
        ("regnety_008_pushpull", 64),
        ("mobilenetv3_large_100_pushpull", 64),
        ("efficientnet_b0_pushpull", 64),
    ],
)
def test_family_is_timms_network_with_a_converted_stem(name, size):
    model = timm.create_model(name, alpha=0.5).eval()
    converted = convert_stem(timm.create_model(name.removesuffix("_pushpull")), avg_size=3).eval()
    converted.load_state_dict(model.state_dict())
    x = torch.randn(2, 3, size, size)
    with torch.no_grad():
        torch.testing.assert_close(model(x), converted(x))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("mobilenetv3_large_100_pushpull", {"avg_size": 5}),
        ("resnet18_cifar_pushpull2020", {"scale": 3, "trainable_alpha": True}),
        ("resnet18_cifar_blurconv2", {"blur_every_block": True}),
    ],
)
def test_saved_models_load_as_they_were(name, options, tmp_path):
    model = timm.create_model(name, num_classes=3, **options).eval()
    preprocessing = {"geometry": ResizeCenterCrop(32, 32, "bilinear"), "mean": (0.5,) * 3, "std": (0.5,) * 3}
    save_model(model, tmp_path, classes=["a", "b", "c"], tag="test", model_args=options, **preprocessing)
    loaded, _ = load_model(f"local-dir:{tmp_path}")
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert loaded(x).equal(model(x))
