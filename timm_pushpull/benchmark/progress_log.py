"""The progress log of a benchmark: one line per finished part, so that an interrupted run can resume."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from timm_pushpull.benchmark.results import Measurement
from timm_pushpull.benchmark.tasks import Cell
from timm_pushpull.utils import schema
from timm_pushpull.utils.errors import InputError, one_line
from timm_pushpull.utils.files import open_plain, read_plain, write_error

OTHER_OUTPUT = "choose another --output, or --overwrite"
_LIMIT = 1 << 30  # bytes
_IDENTITY = (
    *("task", "retrieval", "model", "weights_sha256", "dataset", "split", "corrupted", "preset", "seed"),
    *("num_images", "frost", "jpeg_quality", "image_size", "precision"),
)
_DEFAULTS = {"task": "classification"}  # of logs from versions without this entry


class ProgressLog:
    """A file of JSON lines: the first identifies the measurement, each other one holds a cell of a block of images.

    Args:
        path: The file. It is created with the first part and continued where it exists.
        identity: What is measured and how, `identity(...)`.
        advice: How to resolve a log of another measurement, for the error message.

    Attributes:
        parts: The finished parts, in the order in which they were written.

    Raises:
        InputError: The file belongs to another measurement, or is damaged.
    """

    def __init__(self, path: Path, identity: Mapping[str, Any], advice: str = OTHER_OUTPUT) -> None:
        self.path, self.identity = path, dict(identity)
        self.parts: list[dict[str, Any]] = []
        lines = read_plain(path, _LIMIT).splitlines(keepends=True) if os.path.lexists(path) else []
        lines = [line for line in lines if line.endswith(b"\n")]  # a kill can leave the last line incomplete
        self._size = sum(map(len, lines))
        try:
            entries = [json.loads(line) for line in lines]
        except ValueError as error:
            raise InputError(f"progress log {str(path)!r} is damaged ({one_line(error)}); remove it") from error
        if entries:
            refuse_other(str(path), entries[0], self.identity, advice)
            self.parts = entries[1:]

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
        content = "".join(json.dumps(entry) + "\n" for entry in (*lines, part)).encode()
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
    """The errors of a part, bool or int32 of shape (images of the block,)."""
    if "errors" in part:
        return np.frombuffer(base64.b64decode(part["errors"]), "<i4")
    bits = np.frombuffer(base64.b64decode(part["wrong"]), np.uint8)
    return np.unpackbits(bits, count=part["count"]).astype(bool)


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
        if (theirs := found.get(name, _DEFAULTS.get(name))) != value:
            raise InputError(f"{place!r} is of another measurement: its {name} is {theirs!r}, not {value!r}; {advice}")
