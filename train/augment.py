"""Augmentation under timm's names: random resized crops, colour jitter, random erasing, mixup and cutmix.

The formulas are torchvision's and timm's. What is ours is where the draws come from: those of an image from its key in
the epoch, those of a batch from seed, epoch and number of the batch. So they depend neither on the number of workers or
processes nor on where a run was resumed.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from timm.data.auto_augment import augment_and_mix_transform, auto_augment_transform, rand_augment_transform
from timm.data.random_erasing import RandomErasing
from timm.data.transforms import str_to_pil_interp
from torch import Tensor
from torchvision import transforms

from timm_pushpull.data import ImageSet
from timm_pushpull.data.augment.policies import seeded
from timm_pushpull.utils.errors import InputError, one_line
from timm_pushpull.utils.hardware import upload

#: Two steps of one image must not share a seed: each changes its key by its own number (a policy uses the key itself).
_CROP, _JITTER, _ERASING, _POLICY = 1, 2, 3, 4
_REDUCTIONS = (8, 4, 2)  # what libjpeg decodes at


@contextmanager
def _all_seeded(key: int) -> Iterator[None]:
    """As `seeded`, for timm, which also draws from the generators of Python and numpy."""
    states = random.getstate(), np.random.get_state()
    try:
        random.seed(key)
        np.random.seed(key & 0xFFFFFFFF)
        with seeded(key):
            yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])


@dataclass(frozen=True)
class RandomResizedCrop:
    """A crop of random area and aspect ratio, resized to a square, as torchvision's and timm's transform of that name.

    Attributes:
        size: Side of the square, px.
        scale: Smallest and largest area of the crop, as a share of the image's.
        ratio: Smallest and largest aspect ratio, width by height.
        interpolation: nearest, bilinear, bicubic or lanczos; or random, bilinear or bicubic, as in timm.
    """

    size: int
    scale: tuple[float, ...]
    ratio: tuple[float, ...]
    interpolation: str

    def draw(self, size: tuple[int, int], key: int) -> tuple[tuple[int, int, int, int], Image.Resampling]:
        """The box (left, top, right, bottom) in an image of this (width, height), and how it is resized."""
        names = ("bilinear", "bicubic") if self.interpolation == "random" else (self.interpolation,)
        with seeded(key ^ _CROP):
            shape = torch.empty((1, size[1], size[0]), device="meta")
            top, left, height, width = transforms.RandomResizedCrop.get_params(
                shape, list(self.scale), list(self.ratio)
            )
            name = names[int(torch.randint(len(names), (1,)))]
        return (left, top, left + width, top + height), Image.Resampling[name.upper()]

    def __call__(self, image: Image.Image, key: int, full_size: tuple[int, int] | None = None) -> np.ndarray:
        """The crop, uint8 of shape (size, size, 3).

        Args:
            key: Seed of the draws, below 2^63.
            full_size: Width and height before the image was reduced, if it was.
        """
        full_size = full_size or image.size
        box, resampling = self.draw(full_size, key)
        if image.size != full_size:
            across, down = (side / full for side, full in zip(image.size, full_size, strict=True))
            left, top, right, bottom = box
            box = (round(left * across), round(top * down), round(right * across), round(bottom * down))
        return self.cut(image, box, resampling)

    def cut(self, image: Image.Image, box: tuple[int, int, int, int], resampling: Image.Resampling) -> np.ndarray:
        """A crop that is drawn, uint8 of shape (size, size, 3)."""
        return np.asarray(image.crop(box).resize((self.size, self.size), resampling))

    def read(self, images: ImageSet, row: int, key: int) -> np.ndarray:
        """The crop of an image that is decoded for it: a JPEG file as small as leaves the crop its resolution.

        Raises:
            InputError: The file is damaged or not an image.
        """
        full_size: tuple[int, int] | None = None

        def reduction(size: tuple[int, int]) -> int:
            nonlocal full_size
            full_size = size
            (left, top, right, bottom), _ = self.draw(size, key)
            smallest = min(right - left, bottom - top)
            return next((by for by in _REDUCTIONS if smallest >= by * self.size), 1)

        image = images.read(row, reduction)
        return self(image, key, full_size)


def color_jitter(image: np.ndarray, strength: float, key: int) -> np.ndarray:
    """torchvision's ColorJitter of brightness, contrast and saturation by one strength, as in timm.

    Args:
        image: uint8 of shape (H, W, 3).
        strength: Factors are uniform in [max(0, 1 - strength), 1 + strength].
        key: Seed of the draws, below 2^63.
    """
    with seeded(key ^ _JITTER):
        jitter = transforms.ColorJitter(strength, strength, strength)
        return np.asarray(jitter(Image.fromarray(image)))


class TimmPolicy:
    """A policy that timm's `--aa` names: rand-..., augmix-... or one of AutoAugment's.

    Args:
        config: As in `rand-m9-mstd0.5-inc1`.
        size: Side of the images, px.
        mean: Of each channel, for intensities in [0, 1]; it fills what a transform leaves empty.
        interpolation: Of transforms that move pixels, as in timm: random for bilinear or bicubic by chance.

    Raises:
        InputError: timm knows no such policy.
    """

    def __init__(self, config: str, size: int, mean: tuple[float, ...], interpolation: str = "random") -> None:
        # As in timm.data.transforms_factory.
        hparams: dict[str, Any] = {
            "translate_const": int(size * 0.45),
            "img_mean": tuple(min(255, round(255 * part)) for part in mean),
        }
        if interpolation != "random":
            hparams["interpolation"] = str_to_pil_interp(interpolation)
        if config.startswith("augmix"):
            hparams["translate_pct"] = 0.3
        create = {"rand": rand_augment_transform, "augmix": augment_and_mix_transform}
        try:
            self._transform = create.get(config.split("-")[0], auto_augment_transform)(config, hparams)
        except (AssertionError, ValueError, KeyError, IndexError) as error:
            raise InputError(
                f"aa is {config!r}, which timm does not know ({one_line(error)}); use one such as "
                f"rand-m9-mstd0.5-inc1, augmix-m3 or original"
            ) from error

    def __call__(self, image: np.ndarray, key: int) -> np.ndarray:
        """Augment an image, uint8 of shape (H, W, 3); `key` is the seed of the draws, below 2^63."""
        with _all_seeded(key ^ _POLICY):
            return np.asarray(self._transform(Image.fromarray(image)))


class Erasing:
    """timm's RandomErasing (Zhong et al., AAAI 2020): rectangles of noise over some of the images.

    Args:
        probability: Of an image to be erased at all.
        mode: `pixel` for noise per pixel, `rand` per rectangle, `const` for the mean.
        count: Rectangles per image at most.
        mean, std: Of each channel, for intensities in [0, 1]: what is drawn stands for normalised pixels.
    """

    def __init__(
        self, probability: float, mode: str, count: int, mean: tuple[float, ...], std: tuple[float, ...]
    ) -> None:
        self._erase = RandomErasing(probability, mode=mode, max_count=count, device="cpu")
        self.mean, self.std = (torch.tensor(values).view(1, 1, 3) for values in (mean, std))

    def __call__(self, images: Tensor, keys: np.ndarray) -> Tensor:
        """The batch with what is erased.

        Args:
            images: Grey levels of shape (N, H, W, 3).
            keys: Seeds of the images' draws, below 2^63, of shape (N,).

        Returns:
            float32 of the same shape.
        """
        images, numbers, patches = images.float(), [], []
        for number, key in enumerate(keys):
            patch = self._patch(images.shape[1], images.shape[2], int(key))
            if not patch.isnan().all():
                numbers.append(number)
                patches.append(255 * (self.mean + self.std * patch))
        if numbers:  # at once, so that a GPU is not waited for
            erased, rows = (upload(tensor, images.device) for tensor in (torch.stack(patches), torch.tensor(numbers)))
            images[rows] = torch.where(erased.isnan(), images[rows], erased)
        return images

    def _patch(self, height: int, width: int, key: int) -> Tensor:
        """Normalised pixels of shape (H, W, 3), NaN where the image stays."""
        with _all_seeded(key ^ _ERASING):
            return self._erase(torch.full((3, height, width), torch.nan)).permute(1, 2, 0)


@dataclass(frozen=True)
class Mixing:
    """mixup (Zhang et al., ICLR 2018) and cutmix (Yun et al., ICCV 2019) of a batch, as timm's `Mixup` in batch mode.

    Two images that follow each other in the batch are each other's partners, so that a batch can be divided among
    processes by pairs. The order of the images is random, and so are the pairs. The last of an odd number is not mixed.

    Attributes:
        mixup, cutmix: alpha of the beta distribution of the mixing weight; 0 for none.
        probability: Of a batch to be mixed.
        switch_probability: Of a batch to get cutmix where it could have either.
        off_epoch: Epoch, counted from 0, from which on nothing is mixed; 0 for never.
        num_classes: Number of classes.
        seed: Seed of the run.
    """

    mixup: float
    cutmix: float
    probability: float
    switch_probability: float
    off_epoch: int
    num_classes: int
    seed: int

    def __call__(self, images: Tensor, labels: Tensor, epoch: int, batch: int) -> tuple[Tensor, Tensor]:
        """The mixed images and their targets.

        Args:
            images: Grey levels of shape (N, H, W, 3), pairs after each other.
            labels: int64 of shape (N,).
            epoch, batch: Numbers of the epoch and of the batch in it, which decide the draws.

        Returns:
            (images, targets): float32 or, after cutmix, of the same kind as before; probabilities, float32 of shape
            (N, classes).
        """
        targets = F.one_hot(labels, self.num_classes).float()
        if self.off_epoch and epoch >= self.off_epoch:
            return images, targets
        rng = np.random.RandomState(np.random.MT19937(np.random.SeedSequence([self.seed, epoch, batch])))
        weight, box = self._draw(rng, images.shape[1], images.shape[2])
        if weight == 1:
            return images, targets
        partner = (torch.arange(len(images), device=images.device) ^ 1).clamp(max=len(images) - 1)
        if box:
            rows, columns = box
            images = images.clone()
            images[:, rows, columns] = images[partner][:, rows, columns]
        else:
            images = images.float()
            images = images * weight + images[partner] * (1 - weight)
        return images, targets * weight + targets[partner] * (1 - weight)

    def _draw(self, rng: np.random.RandomState, height: int, width: int) -> tuple[float, tuple[slice, slice] | None]:
        """The weight of the image itself, and what of it is replaced, in timm's order of draws."""
        if rng.rand() >= self.probability:
            return 1.0, None
        both = self.mixup > 0 and self.cutmix > 0
        cuts = rng.rand() < self.switch_probability if both else self.cutmix > 0
        if not cuts:
            return float(rng.beta(self.mixup, self.mixup)), None
        side = np.sqrt(1 - rng.beta(self.cutmix, self.cutmix))
        cut_height, cut_width = int(height * side), int(width * side)
        down, right = rng.randint(0, height), rng.randint(0, width)
        rows = slice(max(down - cut_height // 2, 0), min(down + (cut_height + 1) // 2, height))
        columns = slice(max(right - cut_width // 2, 0), min(right + (cut_width + 1) // 2, width))
        area = (rows.stop - rows.start) * (columns.stop - columns.start)
        return 1 - area / (height * width), (rows, columns)
