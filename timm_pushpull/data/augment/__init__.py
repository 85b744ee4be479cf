"""Augmentation of training images: torchvision's policies on single images, PRIME on batches.

None of them uses the corruptions that models are tested on (`timm_pushpull.corruptions`).
"""

from timm_pushpull.data.augment.policies import POLICIES, Policy
from timm_pushpull.data.augment.prime import PRIME_PRESETS, check_size, prime

#: All augmentations by their names in recipes.
AUGMENTATIONS = (*POLICIES, "prime")

__all__ = ["AUGMENTATIONS", "POLICIES", "PRIME_PRESETS", "Policy", "check_size", "prime"]
