"""Image datasets, preprocessing, training augmentation, and corrupted sets on disk."""

from timm_pushpull.data.corrupted import CorruptedSet, generate, open_corrupted
from timm_pushpull.data.images import ImageSet
from timm_pushpull.data.loading import load_images
from timm_pushpull.data.preprocessing import ResizeCenterCrop, model_geometry, normalise

__all__ = [
    "CorruptedSet",
    "ImageSet",
    "ResizeCenterCrop",
    "generate",
    "load_images",
    "model_geometry",
    "normalise",
    "open_corrupted",
]
