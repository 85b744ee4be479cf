"""Small image folders, written on the fly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def make_image_folder(folder: Path) -> Path:
    """Write two classes that differ in brightness, 24 training and 10 test images of several sizes."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 12), ("test", 5)):
        for name, darkest in (("dark", 0), ("light", 140)):
            (folder / split / name).mkdir(parents=True)
            for number in range(count):
                size = (40 + number % 3, 36, 3)
                pixels = rng.integers(darkest, darkest + 100, size, dtype=np.uint8)
                Image.fromarray(pixels).save(folder / split / name / f"{number}.png")
    return folder
