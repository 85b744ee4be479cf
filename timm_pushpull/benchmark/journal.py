"""The journal of a benchmark: every finished part on a line, so that an interrupted one goes on where it stopped."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path

import numpy as np

from timm_pushpull.benchmark.results import Results
from timm_pushpull.benchmark.tasks import Cell
from timm_pushpull.utils.errors import InputError
from timm_pushpull.utils.files import write_error

OTHER_OUTPUT = "choose another --output, or --overwrite"
_UNSAID = {"task": "classification"}  # in journals of versions that had no other


class Journal:
    """A file of JSON lines: the first says what is measured, each other one holds a cell of a block of images.

    Args:
        path: The file; it is begun at the first record, and gone on with where it exists.
        identity: What is measured and how, `identity(...)`; a journal of anything else is refused.
        advice: What to do about a journal of something else.

    Raises:
        InputError: The file is a journal of something else, or none.
    """

    def __init__(self, path: Path, identity: dict, advice: str = OTHER_OUTPUT) -> None:
        self.path, self.identity = path, identity
        self.parts: list[dict] = []
        lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
        # A line that was being written when the process was killed does not count.
        entries = [json.loads(line) for line in lines if line.endswith(b"\n")]
        self._size = sum(len(line) for line in lines if line.endswith(b"\n"))
        if entries:
            refuse_other(str(path), entries[0], identity, advice)
            self.parts = entries[1:]

    @property
    def block_images(self) -> int | None:
        """Images a block, as the first process to write here has chosen."""
        return self.parts[0]["block_images"] if self.parts else None

    def record(
        self, cell: Cell, start: int, errors: np.ndarray, details: np.ndarray | None, block_images: int, **others
    ) -> None:
        """Keep a finished part, whatever happens afterwards.

        Args:
            start: Position of the block's first image. errors: bool or int32 of shape (images of the block,).
        """
        part = {
            "cell": list(cell),
            "start": start,
            "count": len(errors),
            **packed(errors),
            "details": None if details is None else details.tolist(),
            "block_images": block_images,
            **others,
        }
        lines = [] if self._size else [self.identity]
        content = "".join(json.dumps(entry) + "\n" for entry in (*lines, part)).encode()
        try:
            with open(self.path, "r+b" if self.path.exists() else "wb") as file:
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
        self.path.unlink(missing_ok=True)


def packed(errors: np.ndarray) -> dict[str, str]:
    """The errors of a part, bool as bits, else int32 as bytes, in the entry that says which."""
    is_wrong = errors.dtype == bool
    content = np.packbits(errors) if is_wrong else errors.astype("<i4")
    return {"wrong" if is_wrong else "errors": base64.b64encode(content.tobytes()).decode()}


def unpacked(part: dict) -> np.ndarray:
    """The errors of a part, bool or int32 of shape (images of the block,)."""
    if "errors" in part:
        return np.frombuffer(base64.b64decode(part["errors"]), "<i4")
    bits = np.frombuffer(base64.b64decode(part["wrong"]), np.uint8)
    return np.unpackbits(bits, count=part["count"]).astype(bool)


def identity(results: Results, details: bool = False) -> dict[str, object]:
    """What two measurements agree on when one can go on with the other.

    Args:
        results: What they will fill.
        details: Whether top-5 and calibration errors are counted.
    """
    names = ("task", "retrieval", "model", "weights_sha256", "dataset", "split", "corrupted", "preset", "seed")
    names += ("num_images", "frost", "jpeg_quality", "image_size", "precision")
    found = {name: getattr(results, name) for name in names}
    found["versions"] = {name: results.versions.get(name) for name in ("timm-pushpull", "torch", "pillow")}
    return found | {"details": details}


def refuse_other(place: str, found: dict, wanted: dict, advice: str = OTHER_OUTPUT) -> None:
    """Raise InputError, naming the first difference, unless two measurements are of the same thing."""
    for name, value in wanted.items():
        if (theirs := found.get(name, _UNSAID.get(name))) != value:
            raise InputError(f"{place!r} is of another measurement: its {name} is {theirs!r}, not {value!r}; {advice}")
