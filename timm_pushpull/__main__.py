"""`python -m timm_pushpull` runs the command `timm-pushpull`."""

from timm_pushpull.cli import main

if __name__ == "__main__":
    main()
