"""Fused implementations of the push-pull unit, one module per device type with torch's name for it.

A backend has `DTYPES`, `forward` and `backward` with the signatures of `timm_pushpull.layers.backends.cpu`.
`timm_pushpull.layers.fused` does not use a backend that cannot be imported or that fails on a small trial.
"""
