"""The corruption viewer: what its script chooses from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from timm_pushpull import metrics
from timm_pushpull.corruptions import CORRUPTIONS, EXTRA_CORRUPTIONS
from timm_pushpull.figures.report import sentences
from timm_pushpull.figures.report.corrupted_images import Corrupted, Setting, corrupted_pictures
from timm_pushpull.figures.report.groups import Entry, Group, headings


@dataclass(frozen=True)
class Viewer:
    """Pictures under every corruption, and what the models make of the same corruptions.

    Attributes:
        pictures: Every picture under every setting, the settings of a picture together.
        errors: Preset to what was measured with it: heading of the group, name of the model, and its errors and their
            intervals in words by corruption and severity; `clean` is the clean images.
    """

    pictures: list[Corrupted]
    errors: dict[str, list[dict]]

    @property
    def choices(self) -> dict[str, list[str]]:
        """Corruptions of the first setting by the paper's groups."""
        names = self.pictures[0].setting.corruptions
        groups = {group: [name for name in members if name in names] for group, members in metrics.GROUPS.items()}
        rest = [name for name in names if not any(name in members for members in groups.values())]
        return groups | ({"Extra": rest} if rest else {})

    @property
    def content(self) -> dict:
        """What the script needs, as JSON holds it."""
        return {
            "errors": self.errors,
            "pictures": [
                {
                    "name": picture.name,
                    "credit": picture.credit,
                    "preset": picture.setting.preset,
                    "note": sentences.picture_note(picture),
                    "clean": picture.clean,
                    "images": picture.images,
                    "small": picture.lossless,
                }
                for picture in self.pictures
            ],
        }


def viewer(groups: Sequence[Group], images: Sequence[Path], preset: str | None, frost_dir: Path | str | None) -> Viewer:
    """The viewer for these results: with their presets and seeds, or with one preset.

    Raises:
        InputError: No picture, no preset, or frost textures that are incomplete.
    """
    measured = {name for group in groups for name in group.corruptions}
    names = (*CORRUPTIONS, *(name for name in EXTRA_CORRUPTIONS if name in measured))
    seeds = {group.shared.preset: group.shared.seed for group in reversed(groups)}
    presets = [preset] if preset else dict.fromkeys(group.shared.preset for group in groups)
    settings = [Setting(name, seeds.get(name, 0), names) for name in presets]
    pictures = corrupted_pictures(images, settings, frost_dir)
    errors = {
        name: [
            _errors(heading, entry)
            for heading, group in zip(headings(groups), groups, strict=True)
            if group.shared.preset == name
            for entry in group.entries
        ]
        for name in presets
    }
    return Viewer(pictures, errors)


def _errors(heading: str, entry: Entry) -> dict:
    rows = {"clean": [_cell(entry, "clean", 0, entry.results.clean_error)]}
    for name, row in entry.results.errors.items():
        rows[name] = [_cell(entry, name, severity, error) for severity, error in enumerate(row, 1)]
    return {"heading": heading, "model": entry.name, "errors": rows}


def _cell(entry: Entry, corruption: str, severity: int, error: float | None) -> list[str]:
    return [sentences.percent(error), sentences.interval(entry.cell_interval(corruption, severity))]
