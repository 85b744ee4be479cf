"""Data of the corruption viewer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from timm_pushpull import metrics
from timm_pushpull.corruptions import CORRUPTIONS, EXTRA_CORRUPTIONS
from timm_pushpull.figures.report import sentences
from timm_pushpull.figures.report.corrupted_images import CorruptedImage, CorruptionSettings, corrupted_images
from timm_pushpull.figures.report.groups import Entry, Group, headings


@dataclass(frozen=True)
class Viewer:
    """Images under every corruption, and the errors of the models under the same corruptions.

    Attributes:
        images: Every image with every setting; the settings of an image are consecutive.
        errors: Preset to a list of models measured with it. Each has the heading of its group, its name, and its errors
            with intervals as text by corruption and severity; `clean` is the clean images.
    """

    images: list[CorruptedImage]
    errors: dict[str, list[dict[str, Any]]]

    @property
    def choices(self) -> dict[str, list[str]]:
        """The corruptions to choose from, by the groups of the paper."""
        names = self.images[0].settings.corruptions
        groups = {group: [name for name in members if name in names] for group, members in metrics.GROUPS.items()}
        rest = [name for name in names if not any(name in members for members in groups.values())]
        return groups | ({"Extra": rest} if rest else {})

    @property
    def content(self) -> dict[str, Any]:
        """The data for viewer.js, ready for JSON."""
        return {
            "errors": self.errors,
            "images": [
                {
                    "name": image.name,
                    "credit": image.credit,
                    "preset": image.settings.preset,
                    "note": sentences.image_note(image),
                    "clean": image.clean,
                    "corrupted": image.corrupted,
                    "small": image.lossless,
                }
                for image in self.images
            ],
        }


def viewer(groups: Sequence[Group], images: Sequence[Path], preset: str | None, frost_dir: Path | str | None) -> Viewer:
    """Create the viewer for results.

    Args:
        preset: Constants of the corruptions; by default the presets and seeds of the results.

    Raises:
        InputError: A file is not a readable image, the preset is unknown, or frost textures are incomplete.
    """
    measured = {name for group in groups for name in group.corruptions}
    names = (*CORRUPTIONS, *(name for name in EXTRA_CORRUPTIONS if name in measured))
    seeds = {group.shared.preset: group.shared.seed for group in reversed(groups)}
    presets = [preset] if preset else list(dict.fromkeys(group.shared.preset for group in groups))
    settings = [CorruptionSettings(name, seeds.get(name, 0), names) for name in presets]
    errors = {
        name: [
            _errors(heading, entry)
            for heading, group in zip(headings(groups), groups, strict=True)
            if group.shared.preset == name
            for entry in group.entries
        ]
        for name in presets
    }
    return Viewer(corrupted_images(images, settings, frost_dir), errors)


def _errors(heading: str, entry: Entry) -> dict[str, Any]:
    rows = {"clean": [_cell(entry, "clean", 0, entry.results.clean_error)]}
    for name, row in entry.results.errors.items():
        rows[name] = [_cell(entry, name, severity, error) for severity, error in enumerate(row, 1)]
    return {"heading": heading, "model": entry.name, "errors": rows}


def _cell(entry: Entry, corruption: str, severity: int, error: float | None) -> list[str]:
    return [sentences.percent(error), sentences.interval(entry.cell_interval(corruption, severity))]
