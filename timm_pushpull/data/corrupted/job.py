"""What defines a generated set: two commands with the same job write the same files."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from timm_pushpull.corruptions import check_corruption, frost_source
from timm_pushpull.corruptions.functional import cells_of, check_uint64
from timm_pushpull.corruptions.presets import choose_jpeg_quality
from timm_pushpull.data.images import ImageSet
from timm_pushpull.utils import provenance
from timm_pushpull.utils.errors import InputError
from timm_pushpull.utils.json_text import with_checksum
from timm_pushpull.utils.text import shortened

# The libraries whose version may change a file.
_LIBRARIES = ("timm-pushpull", "pillow", "pyarrow")


@dataclass(frozen=True)
class Job:
    """What defines the files of a generated set. Every field is also in its manifest.

    Attributes:
        preset: Constants of the corruptions.
        seed: Of the corruptions.
        corruptions: In the order in which they are made.
        severities: In ascending order.
        format: Name of the layout.
        size: Side in px, `keep`, or None for the preset's.
        jpeg_quality: 1 to 100, or None for lossless.
        frost: Where the frost textures come from, if there is frost.
        dataset: Name of the dataset.
        dataset_config: Configuration of the dataset; None where it has only one.
        split: Name of its split.
        rows: Number of images.
        rows_sha256: Hash of the rows, their labels and the class names.
        chunk: Images per chunk.
        libraries: Versions that may change a file.
        origin: Versions, command and commit of the command that began the set; they may differ between runs.
    """

    preset: str
    seed: int
    corruptions: list[str]
    severities: list[int]
    format: str
    size: int | str | None
    jpeg_quality: int | None
    frost: str | None
    dataset: str
    dataset_config: str | None
    split: str
    rows: int
    rows_sha256: str
    chunk: int
    libraries: dict[str, str]
    origin: dict[str, object]

    @property
    def settings(self) -> dict[str, object]:
        """All that two commands into the same folder must agree on."""
        return {name: value for name, value in dataclasses.asdict(self).items() if name != "origin"}

    @property
    def cells(self) -> list[tuple[str, int]]:
        """(corruption, severity) in the order in which they are made."""
        return [(name, severity) for name in self.corruptions for severity in self.severities]

    def difference(self, stored: Mapping[str, object]) -> str | None:
        """The first setting in which `stored` differs, in words; None if it is the same job."""
        mine, theirs = _flat(self.settings), _flat(stored)
        for name, value in mine.items():
            if theirs.get(name) != value:
                return f"{name} is {shortened(theirs.get(name))} there and {shortened(value)} here"
        return None

    def to_json(self) -> str:
        """Settings and origin, with a checksum, for the record in the folder."""
        return json.dumps(with_checksum({"settings": self.settings, "origin": self.origin}), indent=2) + "\n"


def _flat(settings: Mapping[str, object]) -> dict[str, object]:
    """Settings with the entries of a mapping under names of their own."""
    flat: dict[str, object] = {}
    for name, value in settings.items():
        entries = {f"{name} of {key}": entry for key, entry in value.items()} if isinstance(value, Mapping) else {}
        flat |= entries or {name: value}
    return flat


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
    """Check the settings of a job and write them down; the arguments are those of `generate`.

    Raises:
        InputError: An unknown preset or corruption; a severity, seed or quality out of range.
    """
    cells = cells_of(corruptions, severities)
    for name, severity in cells:
        check_corruption(name, severity, preset, frost_dir)
    if not cells:
        raise InputError("no corruption or no severity is given; name at least one of each")
    check_uint64("seed", seed)
    versions = {**provenance.versions(), "pyarrow": version("pyarrow")}
    return Job(
        preset=preset,
        seed=int(seed),  # of numpy's integers JSON knows nothing
        corruptions=list(dict.fromkeys(name for name, _ in cells)),
        severities=sorted({severity for _, severity in cells}),
        format=format,
        size=size,
        jpeg_quality=choose_jpeg_quality(jpeg_quality, preset),
        frost=frost_source(frost_dir) if "frost" in corruptions else None,
        dataset=images.name,
        dataset_config=images.config,
        split=images.split,
        rows=len(images),
        rows_sha256=rows_hash(images),
        chunk=chunk,
        libraries={name: versions[name] for name in _LIBRARIES},
        origin={
            "versions": versions,
            "command": command or provenance.command(),
            "commit": provenance.commit(),
        },
    )


def rows_hash(images: ImageSet) -> str:
    """SHA-256 of the rows of the subset, of their labels and of the class names."""
    digest = hashlib.sha256(json.dumps(images.classes).encode())
    digest.update(images.indices.astype("<i8").tobytes())
    digest.update(images.labels[images.indices].astype("<i8").tobytes())
    return digest.hexdigest()
