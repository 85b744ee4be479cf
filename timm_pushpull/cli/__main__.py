"""`python -m timm_pushpull.cli`."""

from timm_pushpull.cli import main

main()
