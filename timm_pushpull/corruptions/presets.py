"""Presets: what distinguishes ImageNet-C, CIFAR-10-C and Tiny-ImageNet-C from each other.

The constants are those of the published generators (Hendrycks and Dietterich, ICLR 2019): make_imagenet_c.py for
`imagenet-c`, make_cifar_c.py for `cifar10-c` and make_tinyimagenet_c.py for `tiny-imagenet-c`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from timm_pushpull.utils.errors import InputError, unknown

SEVERITIES = (1, 2, 3, 4, 5)


@dataclass(frozen=True)
class Preset:
    """The settings of a preset. To add one, create a `Preset` and pass it to `register_preset`.

    Attributes:
        name: Its name in calls, commands, `results.json` and manifests.
        constants: The constants of each corruption, one entry per severity 1 to 5. Use either ints or floats for the
            same constant in all rows, because the loops are compiled once per type.
        image_size: Side in px of the square images that the constants are made for.
        crop_mode: How `generate` makes a square, as in timm: `center` resizes the shorter side to
            `size / crop_pct` and crops the centre; `squash` resizes to the square and ignores the aspect ratio.
        crop_pct: Part of the resized side that the centre crop keeps.
        keep_size: `generate` leaves images at their size unless it is given a size.
        min_size: The shortest side in px for which the constants make sense.
        jpeg_quality: Quality of the JPEG files in which the corrupted images were published; None for arrays.
        frost_scale: Factor on the size of the frost textures.
        elastic_size: Side in px that elastic distortions are relative to at `image_size`; None for `image_size`.
        augmentation: The variant of AutoAugment policies and of PRIME for training on such images: `imagenet` or
            `cifar`.

    Raises:
        InputError: A corruption without five rows of constants, or an unknown `crop_mode`.
    """

    name: str
    constants: Mapping[str, tuple[Any, ...]]
    image_size: int
    crop_mode: str = "center"
    crop_pct: float = 1.0
    keep_size: bool = False
    min_size: int = 32
    jpeg_quality: int | None = None
    frost_scale: float = 1.0
    elastic_size: int | None = None
    augmentation: str = "imagenet"

    def __post_init__(self) -> None:
        if self.crop_mode not in ("center", "squash"):
            raise InputError(f"crop_mode is {self.crop_mode!r}; use center or squash")
        for corruption, rows in self.constants.items():
            if len(rows) != len(SEVERITIES):
                raise InputError(f"preset {self.name!r} has {len(rows)} rows of constants for {corruption}; give 5")

    def constants_for(self, corruption: str, severity: int) -> Any:
        """What a corruption is called with: the constants of a severity, then what else depends on the preset."""
        constants = self.constants[corruption][severity - 1]
        if corruption == "elastic_transform":
            return (*constants, self.image_size, self.elastic_size or self.image_size)
        if corruption == "fog":
            return (*constants, self.image_size)
        if corruption == "frost":
            return (*constants, self.frost_scale)
        return constants


IMAGENET_C = Preset(
    name="imagenet-c",
    image_size=224,
    crop_pct=0.875,
    jpeg_quality=85,
    elastic_size=244,  # the generator divides by 224 but multiplies by 244
    constants={
        "gaussian_noise": (0.08, 0.12, 0.18, 0.26, 0.38),  # standard deviation of intensities in [0, 1]
        "shot_noise": (60, 25, 12, 5, 3),  # photons at intensity 1
        "impulse_noise": (0.03, 0.06, 0.09, 0.17, 0.27),  # fraction of values replaced
        "defocus_blur": ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),  # disk radius, sigma of its smoothing
        "glass_blur": ((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)),  # sigma, max shift, passes
        "motion_blur": ((10, 3.0), (15, 5.0), (15, 8.0), (15, 12.0), (20, 15.0)),  # radius, sigma
        # largest zoom factor, step between factors
        "zoom_blur": ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03)),
        # noise mean, noise std, zoom, threshold, motion blur radius, motion blur sigma, weight of the image
        "snow": (
            (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
            (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
            (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
            (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
            (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
        ),
        "frost": ((1.0, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75)),  # weights of image and texture
        "fog": ((1.5, 2.0), (2.0, 2.0), (2.5, 1.7), (2.5, 1.5), (3.0, 1.4)),  # strength, decay of the plasma fractal
        "brightness": (0.1, 0.2, 0.3, 0.4, 0.5),  # added to V of HSV
        "contrast": (0.4, 0.3, 0.2, 0.1, 0.05),  # factor on the distance to the channel mean
        # strength, sigma and corner shift, as fractions of the side
        "elastic_transform": (
            (2, 0.7, 0.1),
            (2, 0.08, 0.2),
            (0.05, 0.01, 0.02),
            (0.07, 0.01, 0.02),
            (0.12, 0.01, 0.02),
        ),
        "pixelate": (0.6, 0.5, 0.4, 0.3, 0.25),  # factor on the sides
        "jpeg_compression": (25, 18, 15, 10, 7),  # JPEG quality
        "speckle_noise": (0.15, 0.2, 0.35, 0.45, 0.6),  # standard deviation relative to the value
        "gaussian_blur": (1, 2, 3, 4, 6),  # sigma in px
        # noise mean, noise std, sigma of its smoothing, threshold, strength (mud: sigma), 0 water or 1 mud
        "spatter": (
            (0.65, 0.3, 4, 0.69, 0.6, 0),
            (0.65, 0.3, 3, 0.68, 0.6, 0),
            (0.65, 0.3, 2, 0.68, 0.5, 0),
            (0.65, 0.3, 1, 0.65, 1.5, 1),
            (0.67, 0.4, 1, 0.65, 1.5, 1),
        ),
        "saturate": ((0.3, 0.0), (0.1, 0.0), (2.0, 0.0), (5.0, 0.1), (20.0, 0.2)),  # factor on S of HSV, added to S
    },
)

CIFAR10_C = Preset(
    name="cifar10-c",
    image_size=32,
    keep_size=True,
    min_size=8,
    frost_scale=0.2,
    augmentation="cifar",
    constants={
        "gaussian_noise": (0.04, 0.06, 0.08, 0.09, 0.10),
        "shot_noise": (500, 250, 100, 75, 50),
        "impulse_noise": (0.01, 0.02, 0.03, 0.05, 0.07),
        "defocus_blur": ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),
        "glass_blur": ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)),
        "motion_blur": ((6, 1.0), (6, 1.5), (6, 2.0), (8, 2.0), (9, 2.5)),
        "zoom_blur": ((1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01)),
        "snow": (
            (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
            (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
            (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
            (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
            (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
        ),
        "frost": ((1.0, 0.2), (1.0, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45)),
        "fog": ((0.2, 3.0), (0.5, 3.0), (0.75, 2.5), (1.0, 2.0), (1.5, 1.75)),
        "brightness": (0.05, 0.1, 0.15, 0.2, 0.3),
        "contrast": (0.75, 0.5, 0.4, 0.3, 0.15),
        "elastic_transform": (
            (0, 0, 0.08),
            (0.05, 0.2, 0.07),
            (0.08, 0.06, 0.06),
            (0.1, 0.04, 0.05),
            (0.1, 0.03, 0.03),
        ),
        "pixelate": (0.95, 0.9, 0.85, 0.75, 0.65),
        "jpeg_compression": (80, 65, 58, 50, 40),
        "speckle_noise": (0.06, 0.1, 0.12, 0.16, 0.2),
        "gaussian_blur": (0.4, 0.6, 0.7, 0.8, 1),
        "spatter": (
            (0.62, 0.1, 0.7, 0.7, 0.5, 0),
            (0.65, 0.1, 0.8, 0.7, 0.5, 0),
            (0.65, 0.3, 1, 0.69, 0.5, 0),
            (0.65, 0.1, 0.7, 0.69, 0.6, 1),
            (0.65, 0.1, 0.5, 0.68, 0.6, 1),
        ),
        "saturate": ((0.3, 0.0), (0.1, 0.0), (1.5, 0.0), (2.0, 0.1), (2.5, 0.2)),
    },
)

TINY_IMAGENET_C = Preset(
    name="tiny-imagenet-c",
    image_size=64,
    crop_mode="squash",
    jpeg_quality=85,
    frost_scale=0.3,
    constants={
        "gaussian_noise": (0.04, 0.08, 0.12, 0.15, 0.18),
        "shot_noise": (250, 100, 50, 30, 15),
        "impulse_noise": (0.01, 0.02, 0.05, 0.08, 0.14),
        "defocus_blur": ((0.5, 0.6), (1, 0.1), (1.5, 0.1), (2.5, 0.01), (3, 0.1)),
        "glass_blur": ((0.1, 1, 1), (0.5, 1, 1), (0.6, 1, 2), (0.7, 2, 1), (0.9, 2, 2)),
        "motion_blur": ((10, 1.0), (10, 1.5), (10, 2.0), (10, 2.5), (12, 3.0)),
        "zoom_blur": ((1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01)),
        "snow": (
            (0.1, 0.2, 1, 0.6, 8, 3, 0.8),
            (0.1, 0.2, 1, 0.5, 10, 4, 0.8),
            (0.15, 0.3, 1.75, 0.55, 10, 4, 0.7),
            (0.25, 0.3, 2.25, 0.6, 12, 6, 0.65),
            (0.3, 0.3, 1.25, 0.65, 14, 12, 0.6),
        ),
        "frost": ((1.0, 0.3), (0.9, 0.4), (0.8, 0.45), (0.75, 0.5), (0.7, 0.55)),
        "fog": ((0.4, 3.0), (0.7, 3.0), (1.0, 2.5), (1.5, 2.0), (2.0, 1.75)),
        "brightness": (0.1, 0.2, 0.3, 0.4, 0.5),
        "contrast": (0.4, 0.3, 0.2, 0.1, 0.05),
        "elastic_transform": (
            (0, 0, 0.08),
            (0.05, 0.3, 0.06),
            (0.1, 0.08, 0.06),
            (0.1, 0.03, 0.03),
            (0.16, 0.03, 0.02),
        ),
        "pixelate": (0.9, 0.8, 0.7, 0.6, 0.5),
        "jpeg_compression": (65, 58, 50, 40, 25),
        "speckle_noise": (0.15, 0.2, 0.25, 0.3, 0.35),
        "gaussian_blur": (0.5, 0.75, 1, 1.25, 1.5),
        "spatter": (
            (0.62, 0.1, 0.7, 0.7, 0.6, 0),
            (0.65, 0.1, 0.8, 0.7, 0.6, 0),
            (0.65, 0.3, 1, 0.69, 0.6, 0),
            (0.65, 0.1, 0.7, 0.68, 0.6, 1),
            (0.65, 0.1, 0.5, 0.67, 0.6, 1),
        ),
        "saturate": ((0.3, 0.0), (0.1, 0.0), (2.0, 0.0), (5.0, 0.1), (30.0, 0.2)),
    },
)

#: All presets by name.
PRESETS: dict[str, Preset] = {preset.name: preset for preset in (IMAGENET_C, CIFAR10_C, TINY_IMAGENET_C)}


def register_preset(preset: Preset) -> Preset:
    """Make a preset available under its name, in `corrupt`, the benchmark, `generate` and training.

    Raises:
        InputError: There is a preset of this name already.
    """
    if preset.name in PRESETS:
        raise InputError(f"preset {preset.name!r} exists already; choose another name")
    PRESETS[preset.name] = preset
    return preset


def get_preset(name: str) -> Preset:
    """The preset of a name.

    Raises:
        InputError: There is none.
    """
    if not isinstance(name, str) or name not in PRESETS:
        raise unknown("preset", name, PRESETS)
    return PRESETS[name]


def preset_of_size(side: int) -> str:
    """The preset for images of so many pixels: that of the smallest published set whose images are at least as large.

    Args:
        side: The shorter side, px.
    """
    return next((preset.name for preset in (CIFAR10_C, TINY_IMAGENET_C) if side <= preset.image_size), IMAGENET_C.name)


def choose_jpeg_quality(quality: int | str | None, preset: str) -> int | None:
    """The JPEG quality of corrupted images: None means that of the preset, and `none` lossless.

    Raises:
        InputError: It is not 1 to 100; an unknown preset.
    """
    if quality is None:
        return get_preset(preset).jpeg_quality
    if quality == "none":
        return None
    if isinstance(quality, str) or not 1 <= quality <= 100:
        raise InputError(f"jpeg_quality is {quality!r}; use 1 to 100, or none")
    return quality
