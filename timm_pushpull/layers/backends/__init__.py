"""What makes the push-pull unit fast, one module per kind of device, named as torch names it.

A module offers `DTYPES`, `forward` and `backward`, as in `timm_pushpull.layers.backends.cpu`. Importing or calling it
may fail on a machine that lacks something; `timm_pushpull.layers.fused` then falls back.
"""
