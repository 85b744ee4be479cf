"""Push-pull inhibition for timm: `import timm_pushpull` registers the models in timm's registry."""

from importlib.metadata import version

from timm_pushpull import models
from timm_pushpull.layers.fused import set_fused
from timm_pushpull.layers.push_pull import PushPullConv2d
from timm_pushpull.layers.push_pull_2020 import PushPull2020Conv2d
from timm_pushpull.models.convert import convert_stem, set_inhibition
from timm_pushpull.utils.errors import InputError

__version__ = version("timm-pushpull")
__all__ = [
    "InputError",
    "PushPull2020Conv2d",
    "PushPullConv2d",
    "convert_stem",
    "models",
    "set_fused",
    "set_inhibition",
]
