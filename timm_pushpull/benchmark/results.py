"""What a benchmark measured, and where it came from: one dataclass, to and from JSON."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path

from timm_pushpull import metrics
from timm_pushpull.corruptions import CORRUPTIONS
from timm_pushpull.utils.errors import InputError
from timm_pushpull.utils.files import write_file
from timm_pushpull.utils.provenance import command, commit, versions

TASKS = ("classification", "retrieval")
_RETRIEVAL = {"hash_bits": int, "top": int, "database_split": str, "database_images": int}


@dataclass(frozen=True)
class Results:
    """The errors of one model on one data set.

    Attributes:
        weights_sha256: SHA-256 of `model.safetensors`.
        clean_error: Error on clean images, a fraction, `error_name` in words; None where there were none.
        errors: Corruption to its errors at severities 1 to 5, fractions; None where not measured.
        mce: Absolute mCE (Eq. 9) over what was measured.
        partial: Whether any of the 15 x 5 cells is missing, so that `mce` cannot be compared with published ones.
        task: classification, where an error is a wrong class, or retrieval, where it is 1 - mAP.
        retrieval: Of that task: `hash_bits`, `top` (how many of the nearest count), `database_split` and
            `database_images` (the images of the data set that are retrieved); None for the other.
        frost: Which frost textures were used, `corruptions.frost_source()`; None where frost was not measured.
        jpeg_quality: Quality of the JPEG files that the corrupted images went through; None for none.
        corrupted: Name of the published files that were measured on; None for images corrupted on the fly.
        intervals: 95 % intervals: `clean_error` and `mce` to (low, high), `errors` to one per cell.
        top5_errors, calibration_errors: As `errors`, with an entry `clean`; None where they were not asked for.
        image_size: Side of the images that the network saw, px.
        fingerprint: Of the clean pixels, 16 hexadecimal digits; None for published files.
        seconds: Time the cells took.
        precision: Arithmetic of the forward pass, bf16 or fp32.
        commit: Commit of the timm-pushpull checkout that measured, `+` behind it if it had changes; None if installed.
        training: How the weights came about, where this package trained them: `images`, `epochs`, `seconds`,
            `processes`, `hardware`, `precision`, `origin` (where the pictures are from, in words, or None) and
            `departures` (what was done otherwise than in the recipe, such as `epochs is 5, not 30`).
        baseline: What the model is compared with, `as_baseline()` of its results on the same images.
    """

    model: str
    weights_sha256: str
    dataset: str
    split: str
    preset: str
    seed: int
    num_images: int
    clean_error: float | None
    errors: dict[str, list[float | None]]
    task: str = "classification"
    retrieval: dict[str, object] | None = None
    frost: str | None = None
    jpeg_quality: int | None = None
    corrupted: str | None = None
    intervals: dict[str, object] | None = None
    top5_errors: dict[str, object] | None = None
    calibration_errors: dict[str, object] | None = None
    image_size: int | None = None
    fingerprint: str | None = None
    seconds: float | None = None
    precision: str = "fp32"
    hardware: str | None = None
    versions: dict[str, str] = field(default_factory=versions)
    command: str = field(default_factory=command)
    commit: str | None = field(default_factory=commit)
    training: dict[str, object] | None = None
    baseline: dict[str, object] | None = None

    @property
    def mce(self) -> float | None:
        return metrics.mean_corruption_error(self.errors) if self.errors else None

    def near(self, mce: float) -> bool:
        """Whether another mCE lies in the 95 % interval of this one's; not where there is no interval."""
        low, high = (self.intervals or {}).get("mce") or (math.inf, -math.inf)
        return low <= mce <= high

    @property
    def error_name(self) -> str:
        """What an error is, in a few words."""
        return f"1 - mAP@{self.retrieval['top']}" if self.retrieval else "top-1 error"

    @property
    def corruptions(self) -> list[str]:
        """Names of what was measured, in the paper's order, others after them."""
        return [name for name in CORRUPTIONS if name in self.errors] + [n for n in self.errors if n not in CORRUPTIONS]

    @property
    def partial(self) -> bool:
        return any(None in self.errors.get(corruption, [None]) for corruption in CORRUPTIONS)

    def as_baseline(self) -> dict[str, object]:
        """What the results of a model that is compared with this one hold of it."""
        return {name: getattr(self, name) for name in ("model", "weights_sha256", "clean_error", "errors")}

    def comparable_with(self, other: Results) -> None:
        """Raise InputError unless both were measured at the same task on the same corrupted images."""
        for name, mine in self._measured().items():
            if mine != (theirs := other._measured().get(name)):
                raise InputError(
                    f"{self.model} and {other.model} cannot be compared: their {name} is {mine!r} and "
                    f"{theirs!r}; measure both alike"
                )
        mine, theirs = (
            {name: [error is None for error in row] for name, row in results.errors.items()}
            for results in (self, other)
        )
        if mine != theirs:
            raise InputError(
                f"{self.model} and {other.model} cannot be compared: they were measured on different "
                f"corruptions or severities; measure both alike"
            )

    def _measured(self) -> dict[str, object]:
        """What was measured, as far as it is not the model's."""
        names = ("task", "dataset", "split", "preset", "seed", "num_images", "frost", "jpeg_quality", "corrupted")
        database = {name: value for name, value in (self.retrieval or {}).items() if name != "hash_bits"}
        return {name: getattr(self, name) for name in names} | database

    def relative_to(self, baseline: Results) -> tuple[dict[str, float], float] | None:
        """Relative errors per corruption and mrCE (Eq. 10); None where the baseline makes no error on a corruption."""
        if not self.errors or any(metrics.mean_error(row) == 0 for row in baseline.errors.values()):
            return None
        relative = metrics.relative_corruption_errors(self.errors, baseline.errors)
        return relative, metrics.mean_relative_corruption_error(self.errors, baseline.errors)

    def to_json(self) -> str:
        """JSON with every field, `mce` and `partial`, one corruption a line."""
        content = {}
        for name, value in asdict(self).items():
            content[name] = value
            if name == "errors":
                content |= {"mce": self.mce, "partial": self.partial}
        text = json.dumps(content, indent=2, allow_nan=False)
        for _ in range(2):  # numbers that belong together on one line, then pairs of them
            text = re.sub(r"\[\s+([^{}\[\]]*|(?:\[[^{}\[\]]*\],?\s+)*)\s+\]", _on_one_line, text)
        return text + "\n"

    @classmethod
    def from_json(cls, text: str, source: str = "results") -> Results:
        """Read what `to_json` wrote.

        Raises:
            InputError: Not JSON, a missing entry, an unknown task, or an error that is not a fraction; names `source`.
        """
        try:
            content = json.loads(text)
        except ValueError as error:
            raise InputError(f"{source} is not a results file: {error}") from error
        if any(re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", string) for string in _strings(content)):
            raise InputError(
                f"{source} is not a results file: it holds control characters, which a terminal would obey"
            )
        names = {entry.name for entry in fields(cls)}
        optional = {entry.name for entry in fields(cls) if entry.default is not MISSING}
        missing = sorted(names - optional - set(content if isinstance(content, dict) else ()))
        if missing:
            raise InputError(f"{source} is not a results file: it lacks {', '.join(missing)}")
        results = cls(**{name: content[name] for name in names if name in content})
        database = results.retrieval
        if results.task not in TASKS or (results.task == "retrieval") != isinstance(database, dict):
            raise InputError(f"{source} is not a results file: task is {results.task!r}, retrieval {database!r}")
        if database is not None and {name: type(value) for name, value in database.items()} != _RETRIEVAL:
            raise InputError(f"{source} is not a results file: retrieval is {database!r}")
        clean = results.clean_error
        valid = isinstance(results.errors, Mapping) and (clean is None or isinstance(clean, (int, float)))
        if not valid or (clean is not None and not (math.isfinite(clean) and 0 <= clean <= 1)):
            raise InputError(f"{source} is not a results file: clean_error is {results.clean_error!r}")
        if results.errors:
            metrics.mean_corruption_error(results.errors)
        return results

    def save(self, path: Path | str) -> None:
        write_file(path, self.to_json())

    @classmethod
    def load(cls, path: Path | str) -> Results:
        """Read a results file, or the `results.json` of a run folder."""
        path = Path(path)
        path = path / "results.json" if path.is_dir() else path
        try:
            return cls.from_json(path.read_text(encoding="utf-8"), str(path))
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"cannot read results file {str(path)!r}: {error}") from error


def _strings(content: object) -> Iterator[str]:
    """All strings in what JSON held, keys too."""
    if isinstance(content, str):
        yield content
    elif isinstance(content, (list, dict)):
        for part in content:
            yield from _strings(part)
            if isinstance(content, dict):
                yield from _strings(content[part])


def _on_one_line(match: re.Match[str]) -> str:
    return "[" + re.sub(r"\s+", " ", match[1]).strip() + "]"
