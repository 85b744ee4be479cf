"""What a benchmark is about, what it measured, and where the figures come from: dataclasses, to and from JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from timm_pushpull import metrics
from timm_pushpull.corruptions import CORRUPTIONS
from timm_pushpull.utils import schema
from timm_pushpull.utils.errors import InputError
from timm_pushpull.utils.files import write_file
from timm_pushpull.utils.schema import Count, Fraction, Length, Positive, Seconds

#: The licence of the package, and of weights that were trained from scratch.
APACHE = "apache-2.0"
TASKS = ("classification", "retrieval")
Task = Literal["classification", "retrieval"]

#: Errors at severities 1 to 5; None where not measured.
Row = Annotated[list[Fraction | None], Length(5)]
Interval = tuple[Fraction, Fraction]

#: The keys of a results file in their order; `mce` and `partial` follow from the others.
KEYS = (
    *("model", "weights_sha256", "dataset", "split", "preset", "seed", "num_images", "clean_error", "errors", "mce"),
    *(
        "partial",
        "task",
        "dataset_config",
        "retrieval",
        "frost",
        "jpeg_quality",
        "corrupted",
        "intervals",
        "top5_errors",
    ),
    *("calibration_errors", "image_size", "fingerprint", "seconds", "precision", "hardware", "versions", "command"),
    *("commit", "training", "baseline"),
)

#: What two measurements share where their errors can be compared.
_COMPARED = (
    "task",
    "dataset",
    "dataset_config",
    "split",
    "preset",
    "seed",
    "num_images",
    "frost",
    "jpeg_quality",
    "corrupted",
)


@dataclass(frozen=True)
class RetrievalSettings:
    """How images are retrieved.

    Attributes:
        hash_bits: Length of a hash.
        top: How many of the nearest images count.
        database_split: Split of the dataset from which images are retrieved.
        database_images: Number of its images.
    """

    hash_bits: Positive
    top: Positive
    database_split: str
    database_images: Positive


@dataclass(frozen=True)
class Intervals:
    """95 % intervals over the test images, (low, high) in fractions; those of `errors` at severities 1 to 5."""

    clean_error: Interval | None = None
    mce: Interval | None = None
    errors: dict[str, Annotated[list[Interval | None], Length(5)]] = field(default_factory=dict)


@dataclass(frozen=True)
class CellValues:
    """A figure for every cell: on the clean images, and per corruption at severities 1 to 5."""

    clean: Fraction | None = field(default=None, metadata={"omit_none": True})
    errors: dict[str, Row] = field(default_factory=dict, metadata={"flatten": True})


@dataclass(frozen=True)
class InitialWeights:
    """What a training started from.

    Attributes:
        name: `<architecture>.<tag>`, or the name of the file.
        weights_sha256: SHA-256 of the file.
        dataset: What it was trained on, if known.
        repository: Its repository on the Hub, if it has one.
        license: Its licence as its config states it, an identifier of the Hub such as apache-2.0.
    """

    name: str
    weights_sha256: str
    dataset: str | None = None
    repository: str | None = None
    license: str | None = field(default=None, metadata={"omit_none": True})


@dataclass(frozen=True)
class Training:
    """How the weights were trained, where this package trained them.

    Attributes:
        images: Number of training images.
        seconds: Time of the training.
        processes: How many trained together.
        hardware: Processor of one of them.
        precision: Arithmetic of the training, bf16 or fp32.
        origin: Where the images come from, in words.
        overrides: Settings that replaced the recipe's, in words, such as `epochs is 5, not 30`.
        initial_weights: What it started from; None for weights drawn at random.
        versions, commit: Of the process that finished the training, `utils.provenance`; older files lack them.
    """

    images: Count | None = None
    epochs: Count | None = None
    seconds: Seconds | None = None
    processes: Count | None = None
    hardware: str | None = None
    precision: str | None = None
    origin: str | None = None
    overrides: list[str] = field(default_factory=list, metadata={"key": "departures"})
    initial_weights: InitialWeights | None = field(default=None, metadata={"omit_none": True})
    versions: dict[str, str] | None = field(default=None, metadata={"omit_none": True})
    commit: str | None = field(default=None, metadata={"omit_none": True})

    @property
    def weights_license(self) -> str:
        """The licence of the weights, an identifier of the Hub: that of the weights that the training started from.

        It is Apache-2.0 after a training from scratch, and `unknown` where that of the initial weights is not recorded.
        """
        return APACHE if self.initial_weights is None else self.initial_weights.license or "unknown"


@dataclass(frozen=True)
class Baseline:
    """What the results of a model hold of its baseline, which was measured on the same images.

    Attributes:
        differences: What else differs between the two networks, besides the push-pull unit, in words.
        intervals: Those of its clean error and mCE; None in files of older versions.
    """

    model: str
    weights_sha256: str
    clean_error: Fraction | None
    errors: dict[str, Row]
    differences: list[str] | None = field(default=None, metadata={"omit_none": True})
    intervals: Intervals | None = field(default=None, metadata={"omit_none": True})


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """What a benchmark is about: the model, the images and their corruptions; nothing of what comes out.

    Attributes:
        model: Name of the architecture.
        weights_sha256: SHA-256 of `model.safetensors`; None while the network is not trained yet.
        seed: Of the corruptions.
        task: classification, where an error is a wrong class, or retrieval, where it is 1 - mAP.
        dataset_config: Configuration of the dataset; None where it has only one. Such files lack the key.
        retrieval: Of that task, else None.
        frost: Which frost textures were used, `corruptions.frost_source()`; None where frost was not measured.
        jpeg_quality: Quality of the JPEG files that the corrupted images went through; None for none.
        corrupted: Name of the precomputed corruptions; None for images corrupted on the fly.
        image_size: Side of the images that the network saw, px.
        precision: Precision of the forward pass, bf16 or fp32.
        hardware: Processor that does the work, in words.
        versions, command, commit: Of the process that measures, `utils.provenance`.
    """

    model: str
    weights_sha256: str | None
    dataset: str
    split: str
    preset: str
    seed: int
    num_images: Positive
    task: Task = "classification"
    dataset_config: str | None = field(default=None, metadata={"omit_none": True})
    retrieval: RetrievalSettings | None = None
    frost: str | None = None
    jpeg_quality: Annotated[int, schema.Bounds(1, 100)] | None = None
    corrupted: str | None = None
    image_size: Positive | None = None
    precision: str = "fp32"
    hardware: str | None = None
    versions: dict[str, str]
    command: str
    commit: str | None

    @property
    def error_name(self) -> str:
        """What an error is, in a few words."""
        return f"1 - mAP@{self.retrieval.top}" if self.retrieval else "top-1 error"

    def comparable_with(self, other: Measurement) -> None:
        """Raise InputError unless both are about the same task, images and cells.

        Args:
            other: Results, or what is going to be measured, which has all 15 x 5 cells.
        """
        mine, theirs = self._compared(), other._compared()
        for name in mine:
            if mine[name] != theirs.get(name):
                raise InputError(
                    f"{self.model} and {other.model} cannot be compared: their {name} is {mine[name]!r} and "
                    f"{theirs.get(name)!r}; measure both alike"
                )
        if self._cells() != other._cells():
            raise InputError(
                f"{self.model} and {other.model} cannot be compared: they were measured on different "
                f"corruptions or severities; measure both alike"
            )

    def results(self, **measured: Any) -> Results:
        """The results of this measurement.

        Args:
            measured: The other attributes of `Results`, such as those of `Evaluation.as_results`.
        """
        return Results(**vars(self) | measured)

    def _compared(self) -> dict[str, object]:
        database = dict(vars(self.retrieval)) if self.retrieval else {}
        database.pop("hash_bits", None)  # a property of the network
        return {name: getattr(self, name) for name in _COMPARED} | database

    def _cells(self) -> dict[str, list[bool]]:
        """Corruption to whether it is measured at severities 1 to 5."""
        return {name: [True] * 5 for name in CORRUPTIONS}


@dataclass(frozen=True, kw_only=True)
class Results(Measurement):
    """The errors of one model on one dataset.

    Attributes:
        clean_error: Error on clean images, a fraction, `error_name` in words; None where there were none.
        errors: Corruption to its errors at severities 1 to 5, fractions; None where not measured.
        top5_errors, calibration_errors: None where they were not asked for.
        fingerprint: Of the clean pixels, 16 hexadecimal digits; None for precomputed corruptions.
        seconds: Time of the measurement.
        training: How the weights were trained; None where this package did not train them.
        baseline: What the model is compared with.
    """

    weights_sha256: str
    clean_error: Fraction | None
    errors: dict[str, Row]
    intervals: Intervals | None = None
    top5_errors: CellValues | None = None
    calibration_errors: CellValues | None = None
    fingerprint: str | None = None
    seconds: Seconds | None = None
    training: Training | None = None
    baseline: Baseline | None = None

    @property
    def weights_license(self) -> str:
        """See `Training.weights_license`; Apache-2.0 where the training is not recorded."""
        return (self.training or Training()).weights_license

    @property
    def mce(self) -> float | None:
        """Absolute mCE (Eq. 9) over what was measured; None without any of the test corruptions."""
        return metrics.mean_corruption_error(self.errors) if metrics.without_validation(self.errors) else None

    @property
    def partial(self) -> bool:
        """Whether any of the 15 x 5 cells is missing, so that `mce` cannot be compared with published values."""
        return any(None in self.errors.get(corruption, [None]) for corruption in CORRUPTIONS)

    @property
    def corruptions(self) -> list[str]:
        """Names of what was measured, in the paper's order, others after them."""
        return [name for name in CORRUPTIONS if name in self.errors] + [n for n in self.errors if n not in CORRUPTIONS]

    def as_baseline(self, training: Training | None = None) -> Baseline:
        """What the results of a model that is compared with this one hold of it.

        Args:
            training: Of that model.
        """
        found = []
        for name, unit in (("precision", ""), ("epochs", " epochs"), ("images", " images")):
            ours, theirs = getattr(training, name, None), getattr(self.training, name, None)
            if None not in (ours, theirs) and ours != theirs:
                found.append(f"it was trained with {theirs}{unit}, this model with {ours}{unit}")
        intervals = replace(self.intervals, errors={}) if self.intervals else None
        return Baseline(self.model, self.weights_sha256, self.clean_error, self.errors, found or None, intervals)

    def recorded_baseline(self) -> Results | None:
        """The results of the baseline, as far as these hold them; None where they name none.

        Raises:
            InputError: The baseline was measured on other cells.
        """
        if self.baseline is None:
            return None
        recorded = replace(
            self,
            **{name: value for name, value in vars(self.baseline).items() if name != "differences"},
            top5_errors=None,
            calibration_errors=None,
            seconds=None,
            training=None,
            baseline=None,
        )
        self.comparable_with(recorded)
        return recorded

    def to_json(self) -> str:
        """JSON with every field, `mce` and `partial`; one corruption per line."""
        content = schema.dump(self) | {"mce": self.mce, "partial": self.partial}
        return _json({key: content[key] for key in KEYS if key in content}) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes, source: str = "results") -> Results:
        """Read what `to_json` wrote, in this version or an older one.

        Raises:
            InputError: Not JSON, a missing key, or a value that is not what its key needs, in one line that names
                `source`, the key and the value.
        """
        results = schema.load(cls, text, source, "results file")
        if (results.task == "retrieval") != (results.retrieval is not None):
            raise InputError(
                f"{source} is not a results file: task is {results.task!r}, but retrieval is "
                f"{'missing' if results.retrieval is None else 'given'}"
            )
        tables = {"errors": results.errors, "baseline.errors": results.baseline.errors if results.baseline else {}}
        for place, table in tables.items():
            for name, row in table.items():
                if all(error is None for error in row):
                    raise InputError(f"{source} is not a results file: {place}.{name} has no error at any severity")
        return results

    def save(self, path: Path | str) -> None:
        """Write a results file, whole or not at all."""
        write_file(path, self.to_json())

    @classmethod
    def load(cls, path: Path | str) -> Results:
        """Read a results file, or the `results.json` of a run folder.

        Raises:
            InputError: It cannot be read, or as in `from_json`.
        """
        path = Path(path)
        if path.is_dir():
            path = path / "results.json"
            if path.exists() and not path.is_file():  # reading a pipe would wait for its other end
                raise InputError(f"results file {str(path)!r} is not a file; replace it")
        try:
            with open(path, "rb") as file:
                content = file.read(schema.MAX_BYTES + 1)
        except OSError as error:
            raise InputError(f"cannot read results file {str(path)!r}: {error.strerror or error}") from error
        return cls.from_json(content, str(path))

    def _cells(self) -> dict[str, list[bool]]:
        return {name: [error is not None for error in row] for name, row in self.errors.items()}


def _json(value: Any, indent: str = "") -> str:
    """JSON with a line per key, and lists, whose numbers belong together, on one line."""
    if not isinstance(value, dict) or not value:
        return json.dumps(value, allow_nan=False)
    inner = f"{indent}  "
    lines = (f"{inner}{json.dumps(name)}: {_json(part, inner)}" for name, part in value.items())
    return "{\n" + ",\n".join(lines) + f"\n{indent}}}"
