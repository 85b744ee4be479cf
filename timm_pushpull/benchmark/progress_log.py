"""The progress log of a benchmark: one line per finished part, so that an interrupted run can resume."""

from __future__ import annotations

import base64
import json
import math
import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from timm_pushpull.benchmark.evaluation import DETAILS
from timm_pushpull.benchmark.results import Measurement
from timm_pushpull.benchmark.tasks import UNIT, Cell
from timm_pushpull.utils import schema
from timm_pushpull.utils.errors import InputError
from timm_pushpull.utils.files import open_plain, read_plain, write_error
from timm_pushpull.utils.json_text import check_checksum, parse_object, with_checksum
from timm_pushpull.utils.text import shortened

OTHER_OUTPUT = "choose another --output, or --overwrite"
_LIMIT = 1 << 30  # bytes
_IDENTITY = (
    *(
        "task",
        "retrieval",
        "model",
        "weights_sha256",
        "dataset",
        "dataset_config",
        "split",
        "corrupted",
        "preset",
        "seed",
    ),
    *("num_images", "frost", "jpeg_quality", "image_size", "precision"),
)


@dataclass(frozen=True)
class _Part:
    """The types of a line; `unpack_errors` checks its errors."""

    cell: tuple[str, schema.Count]
    start: schema.Count
    count: schema.Positive
    block_images: schema.Positive
    details: Annotated[list[schema.Count], schema.Length(DETAILS)] | None
    digest: schema.Count
    seconds: schema.Seconds


class ProgressLog:
    """A file of JSON lines: the first identifies the measurement, each other one holds a cell of a block of images.

    Every line has a checksum of all that it says. A damaged line is left out with a warning, so that its part is
    measured again.

    Args:
        path: The file. It is created with the first part and continued where it exists.
        identity: What is measured and how, `identity(...)`.
        advice: How to resolve a log of another measurement, for the error message.

    Attributes:
        parts: The finished parts, in the order in which they were written.

    Raises:
        InputError: The file belongs to another measurement or an older version, or its first line is damaged.
    """

    def __init__(self, path: Path, identity: Mapping[str, Any], advice: str = OTHER_OUTPUT) -> None:
        self.path, self.identity = path, dict(identity)
        self.parts: list[dict[str, Any]] = []
        lines = read_plain(path, _LIMIT).splitlines(keepends=True) if os.path.lexists(path) else []
        lines = [line for line in lines if line.endswith(b"\n")]  # a kill can leave the last line incomplete
        self._size = sum(map(len, lines))
        if not lines:
            return
        try:
            found = check_checksum(parse_object(lines[0]))
        except ValueError as error:
            raise InputError(
                f"progress log {str(path)!r} is damaged, or of an older version: in its first line, {error}; {advice}"
            ) from error
        refuse_other(str(path), found, self.identity, advice)
        read = [_read_part(line) for line in lines[1:]]
        if damaged := read.count(None):
            warnings.warn(
                f"progress log {str(path)!r} is damaged in {damaged} of its {len(read)} parts, measured again",
                stacklevel=2,
            )
        # Of lines about the same part, the first counts.
        parts = {(*part["cell"], part["start"]): part for part in reversed(read) if part is not None}
        self.parts = list(reversed(parts.values()))

    @property
    def block_images(self) -> int | None:
        """Images per block, as chosen by the run that began the log."""
        return self.parts[0]["block_images"] if self.parts else None

    def append(
        self, cell: Cell, start: int, errors: np.ndarray, details: np.ndarray | None, block_images: int, **others: Any
    ) -> None:
        """Write a finished part to disk before returning.

        Args:
            start: Position of the block's first image.
            errors: bool or int32 of shape (images of the block,).
            details: Counts of the block, int64 of shape (DETAILS,), or None.
        """
        part = {
            "cell": list(cell),
            "start": start,
            "count": len(errors),
            **pack_errors(errors),
            "details": None if details is None else details.tolist(),
            "block_images": block_images,
            **others,
        }
        lines = [] if self._size else [self.identity]
        content = "".join(json.dumps(with_checksum(entry)) + "\n" for entry in (*lines, part)).encode()
        try:
            with open_plain(self.path, "r+b", create=True) as file:
                file.truncate(self._size)
                file.seek(self._size)
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise write_error(self.path, error) from error
        self._size += len(content)
        self.parts.append(part)

    def remove(self) -> None:
        """Delete the file."""
        self.path.unlink(missing_ok=True)


def pack_errors(errors: np.ndarray) -> dict[str, str]:
    """The errors of a part in base64: bool as bits under `wrong`, int32 as little-endian bytes under `errors`."""
    is_wrong = errors.dtype == bool
    content = np.packbits(errors) if is_wrong else errors.astype("<i4")
    return {"wrong" if is_wrong else "errors": base64.b64encode(content.tobytes()).decode()}


def unpack_errors(part: Mapping[str, Any]) -> np.ndarray:
    """The errors of a part, bool or int32 of shape (images of the block,).

    Raises:
        ValueError: They are not in base64, or not as many as the part has images.
    """
    is_wrong = "wrong" in part
    text, count = part["wrong" if is_wrong else "errors"], part["count"]
    content = base64.b64decode(text, validate=True)
    if len(content) != (math.ceil(count / 8) if is_wrong else 4 * count):
        raise ValueError(f"{len(content)} bytes are not the errors of {count} images")
    if is_wrong:
        return np.unpackbits(np.frombuffer(content, np.uint8), count=count).astype(bool)
    return np.frombuffer(content, "<i4")


def _read_part(line: bytes) -> dict[str, Any] | None:
    """What a line holds; None if it is damaged."""
    try:
        part = check_checksum(parse_object(line))
        schema.load(_Part, line, "the line", "part of a measurement")
        errors = unpack_errors(part)
    except (ValueError, KeyError, TypeError):
        return None
    return part if errors.dtype == bool or ((errors >= 0) & (errors <= UNIT)).all() else None


def identity(measurement: Measurement, details: bool = False) -> dict[str, Any]:
    """What two measurements must share so that one can resume the other.

    Args:
        details: Whether top-5 and calibration errors are counted.
    """
    found = {name: schema.dump(getattr(measurement, name)) for name in _IDENTITY}
    found["versions"] = {name: measurement.versions.get(name) for name in ("timm-pushpull", "torch", "pillow")}
    return found | {"details": details}


def refuse_other(place: str, found: Mapping[str, Any], wanted: Mapping[str, Any], advice: str = OTHER_OUTPUT) -> None:
    """Raise InputError, naming the first difference, unless two identities agree."""
    for name, value in wanted.items():
        if (theirs := found.get(name)) != value:
            raise InputError(
                f"{place!r} is of another measurement: its {name} is {shortened(theirs)}, not {shortened(value)}; "
                f"{advice}"
            )
