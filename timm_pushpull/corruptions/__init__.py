"""The corruptions of ImageNet-C, CIFAR-10-C and Tiny-ImageNet-C (Hendrycks and Dietterich, ICLR 2019).

    >>> import numpy as np
    >>> from timm_pushpull.corruptions import corrupt
    >>> image = np.zeros((32, 32, 3), np.uint8)
    >>> corrupted = corrupt(image, "gaussian_noise", severity=3, preset="cifar10-c", seed=0, index=17)

The result depends on the image and on (seed, name, severity, index) alone, not on batch size, order or number of
workers: every image has its own counter-based random stream (Philox). With `legacy_rng` the draws of the published
generator are replayed instead. The tests use this to show that the pixels are those of the published code.

A `Preset` holds constants for images of one size (224, 32 or 64 px). Images may have up to 65,500 px per side, and
time and memory grow with their pixels. For other sizes and aspect ratios:

- Lengths in pixels stay the same: blur radii, the shift of glass blur, the size of snowflakes.
- Factors and pixel values stay the same.
- Elastic distortions are relative to the shorter side.
- The plasma map of fog has the next power of two that covers both the image and the preset's size. It repeats along a
  side of more than 2048 px that is more than eight times the other.
- Frost textures that are smaller than the image are enlarged.
- Zoom blur and snow crop the centre of each axis separately.
"""

from timm_pushpull.corruptions.functional import (
    CORRUPTIONS,
    EXTRA_CORRUPTIONS,
    MAX_SIDE,
    check_corruption,
    corrupt,
    corrupt_batch,
    frost_source,
)
from timm_pushpull.corruptions.presets import PRESETS, SEVERITIES, Preset, get_preset, register_preset
from timm_pushpull.corruptions.transform import Corruption

__all__ = [
    "CORRUPTIONS",
    "EXTRA_CORRUPTIONS",
    "MAX_SIDE",
    "PRESETS",
    "SEVERITIES",
    "Corruption",
    "Preset",
    "check_corruption",
    "corrupt",
    "corrupt_batch",
    "frost_source",
    "get_preset",
    "register_preset",
]
