"""torchvision's augmentation policies, with draws that depend on a key alone."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torchvision.transforms import v2

from timm_pushpull.utils.errors import unknown

#: AutoAugment has a policy for each kind of data; the others have none, or one for all.
_LEARNED = {"imagenet": v2.AutoAugmentPolicy.IMAGENET, "cifar": v2.AutoAugmentPolicy.CIFAR10}
POLICIES = {
    "augmix": lambda data: v2.AugMix(),
    "autoaugment": lambda data: v2.AutoAugment(_LEARNED[data]),
    "trivialaugment": lambda data: v2.TrivialAugmentWide(),
    "randaugment": lambda data: v2.RandAugment(),
}


class Policy:
    """A policy of torchvision at its defaults.

    Args:
        name: augmix (Hendrycks et al., ICLR 2020), autoaugment (Cubuk et al., CVPR 2019), trivialaugment (Müller and
            Hutter, ICCV 2021; the wide one) or randaugment (Cubuk et al., NeurIPS 2020).
        data: imagenet or cifar; AutoAugment's policies were learned on these.

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
        """Augment an image, uint8 of shape (H, W, 3); the same key, below 2^63, gives the same draws.

        torchvision draws from torch's global CPU generator. That is set for this image and then put back, so that what
        else draws from it (dropout, for one) is not disturbed. Not for several threads of one process at a time.
        """
        state = torch.default_generator.get_state()
        try:
            torch.default_generator.manual_seed(key)
            return np.asarray(self._transform(Image.fromarray(image)))
        finally:
            torch.default_generator.set_state(state)
