"""torchvision's augmentation policies, with random draws that depend only on a key."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from PIL import Image
from torchvision.transforms import v2

from timm_pushpull.utils.errors import unknown

# AutoAugment has a learned policy for each kind of data; the other augmentations are the same for all.
_LEARNED = {"imagenet": v2.AutoAugmentPolicy.IMAGENET, "cifar": v2.AutoAugmentPolicy.CIFAR10}
#: Constructors of torchvision's transforms by name; the argument is the kind of data.
POLICIES: dict[str, Callable[[str], v2.Transform]] = {
    "augmix": lambda data: v2.AugMix(),
    "autoaugment": lambda data: v2.AutoAugment(_LEARNED[data]),
    "trivialaugment": lambda data: v2.TrivialAugmentWide(),
    "randaugment": lambda data: v2.RandAugment(),
}


_SEEDED = threading.RLock()


@contextmanager
def seeded(key: int) -> Iterator[None]:
    """Seed torch's global CPU generator, from which torchvision draws, and restore it afterwards.

    So other draws, such as dropout's, do not change, unless another thread draws meanwhile. Threads that use this wait
    for each other.

    Args:
        key: The seed, below 2^63.
    """
    with _SEEDED:
        state = torch.default_generator.get_state()
        try:
            torch.default_generator.manual_seed(key)
            yield
        finally:
            torch.default_generator.set_state(state)


class Policy:
    """An augmentation policy of torchvision with default arguments.

    Args:
        name: augmix (Hendrycks et al., ICLR 2020), autoaugment (Cubuk et al., CVPR 2019), trivialaugment (Müller and
            Hutter, ICCV 2021; TrivialAugmentWide) or randaugment (Cubuk et al., NeurIPS 2020).
        data: imagenet or cifar, on which AutoAugment's policies were learned.

    Raises:
        InputError: An unknown policy or kind of data.
    """

    def __init__(self, name: str, data: str = "imagenet") -> None:
        if name not in POLICIES:
            raise unknown("policy", name, POLICIES)
        if data not in _LEARNED:
            raise unknown("kind of data", data, _LEARNED)
        self._transform = POLICIES[name](data)

    def __call__(self, image: np.ndarray, key: int) -> np.ndarray:
        """Augment an image; not in several threads of one process at a time (see `seeded`).

        Args:
            image: uint8 of shape (H, W, 3).
            key: Seed of the draws, below 2^63.

        Returns:
            uint8 of the same shape.
        """
        with seeded(key):
            return np.asarray(self._transform(Image.fromarray(image)))
