"""Which images are in which batch of an epoch, and in which process's share of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from timm_pushpull.utils.errors import InputError
from train.settings import Settings

ORDER, AUGMENTATION = 0, 1


def draws(seed: int, epoch: int, purpose: int) -> np.random.Generator:
    """The random numbers of an epoch for `ORDER` or `AUGMENTATION`, on whatever process and after whatever resume."""
    return np.random.Generator(np.random.Philox(key=np.array([seed, 2 * epoch + purpose], dtype=np.uint64)))


def epoch_order(count: int, batch_size: int, seed: int, epoch: int) -> list[np.ndarray]:
    """Positions of the images in every batch of an epoch: each image once, in batches that differ by at most one image
    (so that the last one is never too small for batch norm)."""
    order = draws(seed, epoch, ORDER).permutation(count)
    return np.array_split(order, steps_per_epoch(count, batch_size))


def steps_per_epoch(count: int, batch_size: int) -> int:
    return -(-count // batch_size)


def smallest_batch(count: int, batch_size: int) -> int:
    """Images in the smallest batch of an epoch, which may be fewer than `batch_size`."""
    return count // steps_per_epoch(count, batch_size)


def process_shares(
    batches: Sequence[np.ndarray], rank: int, world_size: int, grad_accum_steps: int, group: int = 1
) -> list[np.ndarray]:
    """The images of one process: its share of every batch, in `grad_accum_steps` parts; in order.

    Args:
        group: So many images that follow each other in a batch stay together, 2 for those that are mixed.
    """
    shares = []
    for batch in batches:
        mine = np.arange(0, len(batch), group)[rank::world_size]
        for starts in np.array_split(mine, grad_accum_steps):
            places = (starts[:, None] + np.arange(group)).ravel()
            shares.append(batch[places[places < len(batch)]])
    return shares


def check_batch(settings: Settings, images: int, world_size: int) -> None:
    """Raise InputError unless every batch has an image for every process and every part of its share."""
    assert settings.grad_accum_steps
    parts = world_size * settings.grad_accum_steps * (2 if settings.mixes else 1)
    if images < parts:
        raise InputError(
            f"there are {images} training images for {world_size} processes with {settings.grad_accum_steps} parts "
            f"each{', of two images at least to mix' if settings.mixes else ''}; use fewer processes or more images"
        )
    if settings.batch_size > images or smallest_batch(images, settings.batch_size) < parts:
        smallest = next(size for size in range(parts, images + 1) if smallest_batch(images, size) >= parts)
        raise InputError(
            f"batch_size is {settings.batch_size}; use one from {smallest} to {images}, the number of training images: "
            f"every batch needs {parts} (processes times grad_accum_steps"
            f"{', twice to mix images' if settings.mixes else ''})"
        )


def check_batch_norm(
    settings: Settings, name: str, model: nn.Module, img_size: int, images: int, world_size: int
) -> None:
    """Raise InputError for a network that cannot be trained with parts of one image, where there are such parts.

    It is tried: torch refuses a batch norm over one value per channel, as of one image after pooling, and not one over
    the pixels of an image.

    Args:
        model: The network on the meta device.
    """
    is_shared = settings.sync_bn and world_size > 1
    if is_shared or _smallest_part(settings, settings.batch_size, images, world_size) > 1:
        return
    try:
        model.train()(torch.empty(1, 3, img_size, img_size, device="meta"))
    except Exception as error:  # `check_outputs` tells of all others
        if "more than 1 value per channel" not in str(error):
            return
        sizes = range(settings.batch_size + 1, images + 1)
        larger = next((one for one in sizes if _smallest_part(settings, one, images, world_size) > 1), None)
        raise InputError(
            f"batch_size is {settings.batch_size}, which leaves parts of one image ({world_size} processes times "
            f"grad_accum_steps {settings.grad_accum_steps}), and batch norm in {name} needs two; use "
            f"{f'--batch-size {larger}' if larger else 'fewer processes or parts'}"
        ) from error


def _smallest_part(settings: Settings, batch_size: int, images: int, world_size: int) -> int:
    """Images in the smallest part of any process's share of any batch."""
    assert settings.grad_accum_steps
    steps, group = steps_per_epoch(images, batch_size), 2 if settings.mixes else 1
    batches = [np.arange(size) for size in {images // steps, -(-images // steps)}]  # the larger may end in half a pair
    return min(
        len(part)
        for rank in range(world_size)
        for part in process_shares(batches, rank, world_size, settings.grad_accum_steps, group)
    )
