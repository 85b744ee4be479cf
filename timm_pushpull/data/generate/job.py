"""What defines a generated set: two commands with the same job make the same files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

from timm_pushpull.corruptions import check_corruption, frost_source, get_preset
from timm_pushpull.corruptions.functional import check_uint64
from timm_pushpull.data.images import ImageSet
from timm_pushpull.utils import provenance
from timm_pushpull.utils.errors import InputError, unknown

FORMATS = ("npy", "imagefolder", "parquet")
_DECIDING = ("timm-pushpull", "pillow", "pyarrow")


@dataclass(frozen=True)
class Job:
    """What defines the files of a generated set; every entry of `settings` is also in its manifest.

    Attributes:
        settings: What two commands into the same folder must agree on.
        origin: Versions, command and commit of the command that began it.
    """

    settings: dict[str, object]
    origin: dict[str, object]

    @property
    def cells(self) -> list[tuple[str, int]]:
        """(corruption, severity) in the order of their making."""
        return [(name, severity) for name in self.settings["corruptions"] for severity in self.settings["severities"]]

    def difference(self, stored: Mapping[str, object]) -> str | None:
        """The first setting in which `stored` differs, in words; None if it is the same job."""
        for name, mine in self.settings.items():
            theirs = stored.get(name)
            if isinstance(mine, dict) and isinstance(theirs, dict):
                name, mine, theirs = next(
                    ((f"{name} of {key}", mine.get(key), theirs.get(key)) for key in {**mine, **theirs}
                     if mine.get(key) != theirs.get(key)),
                    (name, None, None),
                )  # fmt: skip
            if theirs != mine:
                return f"{name} is {theirs!r} there and {mine!r} here"
        return None

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=2) + "\n"


def make_job(
    images: ImageSet,
    *,
    preset: str,
    format: str,
    corruptions: Sequence[str],
    severities: Sequence[int],
    seed: int,
    size: int | str | None,
    jpeg_quality: int | str | None,
    frost_dir: Path | str | None,
    chunk: int,
    command: str | None,
) -> Job:
    """Check a job's settings and write them down.

    Raises:
        InputError: An unknown preset, format or corruption; a severity, seed or quality out of range.
    """
    if format not in FORMATS:
        raise unknown("format", format, FORMATS)
    for name in corruptions:
        for severity in severities:
            check_corruption(name, severity, preset, frost_dir)
    if not corruptions or not severities:
        raise InputError("no corruption or no severity is asked for; name at least one of both")
    check_uint64("seed", seed)
    if jpeg_quality is None:
        jpeg_quality = get_preset(preset).jpeg_quality
    elif jpeg_quality == "none":
        jpeg_quality = None
    elif not 1 <= jpeg_quality <= 100:
        raise InputError(f"the JPEG quality is {jpeg_quality}; use 1 to 100, or none")
    versions = {**provenance.versions(), "pyarrow": version("pyarrow")}
    settings = {
        "preset": preset,
        "seed": seed,
        "corruptions": list(dict.fromkeys(corruptions)),
        "severities": sorted(set(severities)),
        "format": format,
        "size": size,
        "jpeg_quality": jpeg_quality,
        "frost": frost_source(frost_dir) if "frost" in corruptions else None,
        "dataset": images.name,
        "split": images.split,
        "rows": len(images),
        "rows_sha256": _rows_hash(images),
        "chunk": chunk,
        "libraries": {name: versions[name] for name in _DECIDING},
    }
    origin = {"versions": versions, "command": command or provenance.command(), "commit": provenance.commit()}
    return Job(settings, origin)


def _rows_hash(images: ImageSet) -> str:
    """SHA-256 of the selected rows' numbers, of their labels and of the class names."""
    digest = hashlib.sha256(json.dumps(images.classes).encode())
    digest.update(images.indices.astype("<i8").tobytes())
    digest.update(images.labels[images.indices].astype("<i8").tobytes())
    return digest.hexdigest()
