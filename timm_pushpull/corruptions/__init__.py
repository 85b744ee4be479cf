"""The corruptions of ImageNet-C, CIFAR-10-C and Tiny-ImageNet-C (Hendrycks and Dietterich, ICLR 2019), on the fly.

    >>> corrupted = corrupt(image, "gaussian_noise", severity=3, preset="cifar10-c", seed=0, index=17)

The result depends on (seed, name, severity, index) and the image alone: not on batch size, order, worker or process
count, because every image has a random stream of its own (counter-based, Philox). With `legacy_rng` the original
generator's draws are replayed instead; that is how fidelity to the published benchmark is tested.

A preset is a table of constants, made for images of one size (224, 32 and 64 px). They apply to images of any size and
aspect by this rule: lengths in pixels stay what they are (radii of blurs, reach of glass, size of snow flakes), factors
and grey levels too. What the original ties to its image size follows the image: elastic distortions are parts of the
shorter side; the map that fog is cut from has the preset's side or the next power of two that covers the image; frost
textures that are too small are enlarged. The middle is cropped along each axis by itself.
"""

from timm_pushpull.corruptions.engine import (
    CORRUPTIONS,
    EXTRA_CORRUPTIONS,
    JPEG_QUALITY,
    PRESETS,
    SHORTEST_SIDE,
    check,
    corrupt,
    corrupt_batch,
    frost_source,
)
from timm_pushpull.corruptions.transform import Corruption

__all__ = [
    "CORRUPTIONS",
    "EXTRA_CORRUPTIONS",
    "JPEG_QUALITY",
    "PRESETS",
    "SHORTEST_SIDE",
    "Corruption",
    "check",
    "corrupt",
    "corrupt_batch",
    "frost_source",
]
