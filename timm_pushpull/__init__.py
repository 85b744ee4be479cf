"""Push-pull inhibition for timm: `import timm_pushpull` registers the models in timm's registry."""

from importlib.metadata import version

from timm_pushpull import models
from timm_pushpull.errors import InputError
from timm_pushpull.push_pull import PushPullConv2d

__version__ = version("timm-pushpull")
__all__ = ["InputError", "PushPullConv2d", "models"]
