"""The data of a run: its two splits, and how their images are prepared."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from timm_pushpull.corruptions.presets import get_preset
from timm_pushpull.data import ImageSet, load_images
from timm_pushpull.data.images import read_batches
from timm_pushpull.data.loading import read_classes
from timm_pushpull.data.preprocessing import ResizeCenterCrop
from timm_pushpull.utils.errors import InputError
from train.augment import Erasing, Mixing, RandomResizedCrop, TimmPolicy
from train.settings import RECIPES, Settings
from train.training_images import TrainingImages, fits_into_memory


@dataclass(frozen=True)
class Data:
    """The images of a run and how they reach the network.

    Attributes:
        geometry: Resize and crop of the test images.
        decoded: The test images so resized and cropped, uint8 of shape (N, size, size, 3), for the test after every
            epoch; None where they do not fit into memory.
    """

    train: TrainingImages
    test: ImageSet
    geometry: ResizeCenterCrop
    decoded: np.ndarray | None = None


def load_splits(settings: Settings) -> tuple[ImageSet, ImageSet]:
    """The training and the test images, with the settings' classes and limit.

    Raises:
        InputError: Splits that cannot be read or do not go together, or that have another number of classes.
    """
    names = None
    if settings.classes:  # before images are downloaded
        named = RECIPES / "classes" / f"{settings.classes}.txt"
        names = read_classes(named if named.is_file() else Path(settings.classes))
    columns: dict[str, Any] = {
        "config": settings.dataset_config,
        "image_column": settings.image_column,
        "label_column": settings.label_column,
    }
    train = load_images(settings.dataset, settings.train_split, train=True, **columns)
    test = load_images(settings.dataset, settings.val_split, **columns)
    if settings.val_split is None and test.split == train.split:
        raise InputError(
            f"{train.name!r} has no images to test on: its only split is {train.split!r}; put them into a folder of "
            f"their own, such as test/CLASS, or choose a --val-split"
        )
    if set(test.classes) <= set(train.classes):
        test = test.renumbered(train.classes)  # test images may lack some classes
    else:
        other = min(set(test.classes) - set(train.classes))
        raise InputError(
            f"split {test.split!r} of {train.name!r} has the class {other!r}, which split {train.split!r} lacks; add "
            f"training images of it, or remove the class"
        )
    if names:
        train, test = train.select_classes(names), test.select_classes(names)
    if len(train.classes) < 2:
        raise InputError(
            f"{train.name!r}, split {train.split!r}, has the class {train.classes[0]!r} only, so there is nothing "
            f"to learn; put the images of each class into a folder of their own, or choose a --label-column"
        )
    train, test = train.subset(settings.limit), test.subset(settings.limit)
    if settings.num_classes not in (None, len(train.classes)):
        raise InputError(
            f"num_classes is {settings.num_classes}, but the labels of {train.name!r} have "
            f"{len(train.classes)} classes; use --num-classes none or choose another --label-column"
        )
    return train, test


def prepare_data(settings: Settings, train: ImageSet, test: ImageSet, device: torch.device) -> Data:
    """The splits as a run uses them.

    Args:
        settings: With an image size, resize, interpolation and preset.

    Raises:
        InputError: An image that cannot be read, where the images fit into memory.
    """
    assert settings.img_size
    assert settings.interpolation
    assert settings.preset
    size, test_size = settings.img_size, settings.test_img_size or settings.img_size
    geometry = ResizeCenterCrop(size, settings.resize or size, settings.interpolation)
    images = TrainingImages(
        train,
        geometry,
        settings.crop_padding,
        settings.hflip,
        settings.seed,
        device,
        settings.augmentation,
        get_preset(settings.preset).augmentation,
        vflip=settings.vflip,
        color_jitter=settings.color_jitter,
        **_timm_augmentation(settings),
    )
    geometry = ResizeCenterCrop(test_size, int(test_size / (settings.crop_pct or 1)), settings.interpolation)
    decoded = None
    if images.in_memory and fits_into_memory(3 * test_size**2 * len(test)):
        # Damaged test images are found now and not after an epoch.
        decoded = np.stack([image for batch, _ in read_batches(test, geometry, batch_size=256) for image in batch])
    return Data(images, test, geometry, decoded)


def _timm_augmentation(settings: Settings) -> dict[str, Any]:
    """What timm's flags add to the paper's crop and flip, as arguments of `TrainingImages`."""
    found: dict[str, Any] = {}
    interpolation = settings.train_interpolation or settings.interpolation
    assert interpolation
    if settings.scale:
        assert settings.img_size
        ratio = settings.ratio or (3 / 4, 4 / 3)
        found["resized_crop"] = RandomResizedCrop(settings.img_size, settings.scale, ratio, interpolation)
    if settings.aa:
        assert settings.img_size
        assert settings.mean
        found["timm_policy"] = TimmPolicy(settings.aa, settings.img_size, settings.mean, interpolation)
    if settings.reprob:
        assert settings.mean
        assert settings.std
        found["erasing"] = Erasing(settings.reprob, settings.remode, settings.recount, settings.mean, settings.std)
    if settings.mixes:
        assert settings.num_classes
        found["mixing"] = Mixing(
            settings.mixup,
            settings.cutmix,
            settings.mixup_prob,
            settings.mixup_switch_prob,
            settings.mixup_off_epoch,
            settings.num_classes,
            settings.seed,
        )
    return found
