"""`python -m timm_pushpull.cli`."""

from timm_pushpull.cli import main

if __name__ == "__main__":
    main()
