"""Corrupted sets on disk, in the layouts of CIFAR-10-C (arrays), ImageNet-C (folders of images) and Hugging Face data
sets (Parquet): one module per layout, with its reader and its writer.

    corrupted = open_corrupted("CIFAR-10-C")
    for images, labels, indices in corrupted.batches("fog", severity=3, batch_size=64): ...
"""

from timm_pushpull.data.corrupted.base import CorruptedSet
from timm_pushpull.data.corrupted.generation import Outcome, generate
from timm_pushpull.data.corrupted.layouts import LAYOUTS, open_corrupted

__all__ = ["LAYOUTS", "CorruptedSet", "Outcome", "generate", "open_corrupted"]
