"""The Space in hub/space, and images and answers to try it with."""

from __future__ import annotations

import sys
from importlib import import_module

import numpy as np
import pytest
import timm
import torch
from PIL import Image

from support.paths import ROOT
from timm_pushpull.data.preprocessing import normalise

gradio = pytest.importorskip("gradio")
SPACE = ROOT / "hub" / "space"
sys.path.insert(0, str(SPACE))  # where python looks when it runs app.py
app, curve, networks = map(import_module, ("app", "curve", "networks"))

CIFAR, IMAGENETTE = "resnet18_cifar_pushpull.cifar10", "resnet18_pushpull.imagenette"
PLAIN_CIFAR, PLAIN_IMAGENETTE = "resnet18_cifar.cifar10", "resnet18.imagenette"
CARD = (SPACE / "README.md").read_text(encoding="utf-8")


def example_image(seed: int = 0) -> Image.Image:
    """Coloured patches, 60 x 48 px."""
    patches = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(patches).resize((60, 48), Image.Resampling.BICUBIC)


def answers(image: np.ndarray, name: str) -> np.ndarray:
    """What a timm model says about an image of its size."""
    model = timm.create_model(name, pretrained=True).eval()
    cfg = model.pretrained_cfg
    with torch.inference_mode():
        return model(normalise(image[None].copy(), cfg["mean"], cfg["std"])).softmax(1)[0].numpy()
