"""What makes the push-pull unit fast, one module per kind of device, named as torch names it.

A module offers `DTYPES`, `forward` and `backward` as in `timm_pushpull.kernels.cpu`. Importing it, or calling it, may
fail on machines that lack something; `timm_pushpull.fused` then does without.
"""
