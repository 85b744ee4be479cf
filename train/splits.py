"""The two splits of a run, checked against its settings."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from batches import TrainingImages, steps_per_epoch
from settings import RECIPES, Settings
from timm_pushpull.benchmark.hashing import hash_targets
from timm_pushpull.benchmark.tasks import check_top
from timm_pushpull.corruptions import get_preset
from timm_pushpull.data.augment import check_size
from timm_pushpull.data.images import ImageSet, read_batches
from timm_pushpull.data.loading import load_images, read_classes
from timm_pushpull.data.preprocessing import ResizeCenterCrop
from timm_pushpull.models.weights import create_model
from timm_pushpull.utils.errors import InputError


@dataclass(frozen=True)
class Data:
    """The images of a run and how they reach the network."""

    train: TrainingImages
    test: ImageSet
    geometry: ResizeCenterCrop


def load_data(settings: Settings, processes: int, device: torch.device) -> tuple[Data, Settings]:
    """Load both splits, check them against the settings, and fill in what the settings leave to data and model.

    Raises:
        InputError: Splits that cannot be read or do not go together, or a batch that does not fit them.
    """
    columns = {"image_column": settings.image_column, "label_column": settings.label_column}
    train = load_images(settings.dataset, settings.train_split, train=True, **columns)
    test = load_images(settings.dataset, settings.test_split, **columns)
    if train.classes[: len(test.classes)] == test.classes:
        test = replace(test, classes=train.classes)  # bare numbers: test images may lack the last ones
    else:
        raise InputError(f"splits {train.split!r} and {test.split!r} of {train.name!r} have different classes")
    if settings.classes:
        named = RECIPES / "classes" / f"{settings.classes}.txt"
        names = read_classes(named if named.is_file() else Path(settings.classes))
        train, test = train.select_classes(names), test.select_classes(names)
    train, test = train.subset(settings.limit), test.subset(settings.limit)
    if settings.num_classes not in (None, len(train.classes)):
        raise InputError(
            f"num_classes is {settings.num_classes}, but the labels of {train.name!r} have "
            f"{len(train.classes)} classes; leave num_classes out or choose another --label-column"
        )
    check_batch(settings, len(train), processes)
    if settings.task == "retrieval":
        check_top(settings.top, len(train))
        hash_targets(len(train.classes), settings.hash_bits)  # says now if there are none

    with torch.device("meta"):
        models = [
            create_model(name, **settings.model_args) for name in settings.models
        ]  # also says now if the last one does not exist
    cfg = models[0].pretrained_cfg
    size = settings.image_size or cfg["input_size"][-1]
    settings = replace(
        settings,
        num_classes=len(train.classes),
        image_size=size,
        resize=settings.resize or size,
        test_split=test.split,
        interpolation=settings.interpolation or cfg["interpolation"],
        mean=settings.mean or tuple(cfg["mean"]),
        std=settings.std or tuple(cfg["std"]),
    )
    if settings.augmentation == "prime":
        check_size(size, size)
    geometry = ResizeCenterCrop(size, settings.resize, settings.interpolation)
    images = TrainingImages(
        train,
        geometry,
        settings.crop_padding,
        settings.flip,
        settings.seed,
        device,
        settings.augmentation,
        get_preset(settings.preset).augmentation,
    )
    data = Data(images, test, replace(geometry, resize=size))
    if images.in_memory:  # then it is cheap to find damaged test images before the training and not after an epoch
        for _ in read_batches(test, data.geometry, batch_size=256):
            pass
    return data, settings


def check_batch(settings: Settings, images: int, processes: int) -> None:
    """Raise InputError unless every batch has an image for every process and every part of its share."""
    parts = processes * settings.accumulation
    if images < parts:
        raise InputError(
            f"there are {images} training images for {processes} processes with {settings.accumulation} parts each; "
            f"use fewer processes or more images"
        )
    smallest = images // steps_per_epoch(images, settings.batch_size)
    if settings.batch_size > images or smallest < parts:
        raise InputError(
            f"batch_size is {settings.batch_size}; use one from {parts} (processes times accumulation) to {images}, "
            f"the number of training images"
        )
