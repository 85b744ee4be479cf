"""Push-pull inhibition for timm: `import timm_pushpull` registers the models in timm's registry."""

from importlib.metadata import version

from timm_pushpull import models
from timm_pushpull.convert import convert_stem, set_inhibition
from timm_pushpull.errors import InputError
from timm_pushpull.fused import set_fused
from timm_pushpull.push_pull import PushPullConv2d

__version__ = version("timm-pushpull")
__all__ = ["InputError", "PushPullConv2d", "convert_stem", "models", "set_fused", "set_inhibition"]
