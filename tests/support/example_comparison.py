"""`timm-pushpull compare`, and the rows that it prints."""

from __future__ import annotations

from timm_pushpull import cli


def compare(run_inside, *arguments):
    return run_inside(cli.main, "timm-pushpull", "compare", *arguments)


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]
