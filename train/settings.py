"""The settings of a training run: a dataclass, filled from a YAML recipe and then from the command line."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import yaml

from timm_pushpull.benchmark.hashing import BITS, TOP
from timm_pushpull.benchmark.results import TASKS
from timm_pushpull.cli import Parser
from timm_pushpull.corruptions import PRESETS
from timm_pushpull.data.augment import AUGMENTATIONS
from timm_pushpull.utils.errors import InputError, unknown
from timm_pushpull.utils.hardware import PRECISIONS

RECIPES = Path(__file__).parent / "recipes"


#: Settings whose change makes a training another one than its recipe's.
_DECISIVE = (
    *("model_args", "classes", "limit", "epochs", "batch_size", "lr_start", "lr_peak", "lr_end", "warmup", "momentum"),
    "cycle_momentum",
    *("weight_decay", "label_smoothing", "clip_grad", "ema_decay", "image_size", "resize", "crop_padding", "flip"),
    *("augmentation", "preset", "task", "hash_bits", "top", "three_phase"),
)


def setting(kind: type, default: Any, text: str, many: bool = False) -> Any:
    """A field whose value, or each of whose values, is of one kind; None means: decided by the data or the model."""
    if isinstance(default, dict):
        return field(default_factory=default.copy, metadata={"kind": kind, "help": text, "many": many})
    return field(default=default, metadata={"kind": kind, "help": text, "many": many})


@dataclass(frozen=True)
class Settings:
    """Everything that decides a training run. Learning rates, momentum and weight decay are SGD's."""

    task: str = setting(str, TASKS[0], f"what the network is for: {', '.join(TASKS)}")
    models: tuple[str, ...] = setting(str, (), "timm models; the first is the others' baseline", many=True)
    model_args: dict[str, Any] = setting(dict, {}, "the networks' arguments, as in alpha=2; nothing for none")  # noqa: RUF009
    dataset: str = setting(str, "digits", "folder or Hub id that datasets.load_dataset reads, or digits")
    train_split: str = setting(str, "train", "split to train on")
    test_split: str | None = setting(str, None, "split to measure; default: the first of test, validation, valid, val")
    image_column: str | None = setting(str, None, "needed only where there are several")
    label_column: str | None = setting(str, None, "needed only where there are several")
    classes: str | None = setting(str, None, "only the classes named in this file; or imagenet100, imagenet200")
    num_classes: int | None = setting(int, None, "how many the labels have; default: whatever they have")
    limit: int | None = setting(int, None, "use at most so many images of either split, class-balanced")

    epochs: int = setting(int, 30, "passes over the training images")
    batch_size: int = setting(int, 64, "images a step, over all processes and parts together")
    accumulation: int | None = setting(int, None, "parts of a batch, one after the other, to save memory; default: 1")
    lr_start: float = setting(float, 5e-3, "learning rate at the first step")
    lr_peak: float = setting(float, 0.2, "learning rate at the peak")
    lr_end: float = setting(float, 5e-6, "learning rate at the last step")
    warmup: float = setting(float, 0.3, "share of the steps before the peak")
    three_phase: bool = setting(bool, False, "fall to the first learning rate as fast as it rose, then to the last")
    momentum: float = setting(float, 0.9, "momentum of SGD, where it is constant")
    cycle_momentum: bool = setting(
        bool, False, "momentum from 0.95 to 0.85 at the peak learning rate and back, as OneCycleLR does by default"
    )
    weight_decay: float = setting(float, 1e-5, "weight decay of SGD")
    label_smoothing: float = setting(float, 0.0, "share of a classifier's target spread over all classes")
    clip_grad: float | None = setting(float, None, "largest norm of the gradient; default: any")
    ema_decay: float | None = setting(float, None, "measure and keep the weights' moving average with this decay")
    sync_batch_norm: bool = setting(bool, False, "batch norm over the images of all processes")
    seed: int = setting(int, 1234, "of initialisation, order and augmentation")

    image_size: int | None = setting(int, None, "side of the network's input, px; default: the model's own")
    resize: int | None = setting(int, None, "shorter side before the training crop, px; default: the image size")
    crop_padding: int = setting(int, 0, "zeros on every side before the random training crop, px")
    flip: bool = setting(bool, True, "mirror half of the training images")
    augmentation: str | None = setting(str, None, f"of the training images: {', '.join(AUGMENTATIONS)}; default: none")
    interpolation: str | None = setting(str, None, "nearest, bilinear, bicubic or lanczos; default: the model's own")
    mean: tuple[float, ...] | None = setting(float, None, "channel means, 0 to 1; default: the model's own", many=True)
    std: tuple[float, ...] | None = setting(float, None, "channel deviations; default: the model's own", many=True)

    precision: str = setting(str, "auto", f"{', '.join(PRECISIONS)}; auto: bf16 where the processor has it")
    compile: bool = setting(bool, False, "train through torch.compile")
    workers: int = setting(int, 4, "decoding processes per training process, where images do not fit into memory")
    preset: str = setting(str, "imagenet-c", f"constants of the corruptions: {', '.join(PRESETS)}")
    hash_bits: int = setting(int, BITS, "of retrieval: outputs of the network")
    top: int = setting(int, TOP, "of retrieval: how many of the nearest training images count for mAP")
    half_weights: bool = setting(bool, False, "write (and measure) the trained weights as float16, as releases are")
    benchmark_limit: int | None = setting(int, None, "measure the corruptions on so many test images, class-balanced")

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "lr_start", "lr_peak", "lr_end"):
            if not getattr(self, name) > 0:
                raise InputError(f"{name} is {getattr(self, name)}; use a value above 0")
        if self.clip_grad is not None and not self.clip_grad > 0:
            raise InputError(f"clip_grad is {self.clip_grad}; use a value above 0")
        for name in ("accumulation", "limit", "num_classes", "image_size", "resize", "benchmark_limit", "top"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}; use 1 or more")
        for name in ("momentum", "weight_decay", "crop_padding", "workers", "seed"):
            if not getattr(self, name) >= 0:
                raise InputError(f"{name} is {getattr(self, name)}; use 0 or more")
        if self.seed >= 2**32:
            raise InputError(f"seed is {self.seed}; use one below 2^32")
        if not 0 < self.warmup < 1 or not self.momentum < 1:
            raise InputError(f"warmup is {self.warmup} and momentum {self.momentum}; both are fractions below 1")
        for name in ("label_smoothing", "ema_decay"):
            if not 0 <= (getattr(self, name) or 0) < 1:
                raise InputError(f"{name} is {getattr(self, name)}; use a fraction from 0 to below 1")
        if self.three_phase and self.warmup > 0.5:
            raise InputError(f"warmup is {self.warmup}; in three phases, where it counts twice, use 0.5 or less")
        if self.task not in TASKS:
            raise unknown("task", self.task, TASKS)
        if self.hash_bits < 8 or self.hash_bits % 8:
            raise InputError(f"hash_bits is {self.hash_bits}; use a multiple of 8")
        if self.task == "retrieval" and self.label_smoothing:
            raise InputError(f"label_smoothing is {self.label_smoothing}, but the task is retrieval; leave it out")
        for name in ("mean", "std"):
            if getattr(self, name) is not None and len(getattr(self, name)) != 3:
                raise InputError(f"{name} has {len(getattr(self, name))} values; give three, one per channel")
        if self.preset not in PRESETS:
            raise unknown("preset", self.preset, PRESETS)
        if self.augmentation not in (None, *AUGMENTATIONS):
            raise unknown("augmentation", self.augmentation, AUGMENTATIONS)
        if not self.models:
            raise InputError("the recipe names no models; add --model NAME")

    @property
    def outputs(self) -> int | None:
        """Outputs of the network: bits of a hash, or classes."""
        return self.hash_bits if self.task == "retrieval" else self.num_classes

    @classmethod
    def from_mapping(cls, content: Any, source: str) -> Settings:
        """Settings from a recipe's content.

        Raises:
            InputError: An unknown key (the nearest is suggested) or a value of the wrong kind; names `source`.
        """
        if not isinstance(content, Mapping):
            raise InputError(f"recipe {source} is no mapping of settings to values")
        known = {entry.name: entry for entry in fields(cls)}
        values = {}
        for name, value in content.items():
            if name not in known:
                raise InputError(f"recipe {source}: {unknown('setting', name, known)}")
            values[name] = _convert(known[name], value, source)
        return cls(**values)

    def recorded(self) -> dict[str, Any]:
        """The settings that decide the result: all but those that say how the work is spread."""
        return {name: value for name, value in asdict(self).items() if name != "workers"}

    def to_yaml(self) -> str:
        content = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}
        return yaml.safe_dump(content, sort_keys=False, default_flow_style=None)


def parse(arguments: list[str] | None = None) -> tuple[argparse.Namespace, Settings]:
    """The run's options (recipe, model, output, baseline, resume, overwrite, save_minutes, tracker, device; departures
    from the recipe, in words) and its settings."""
    parser = Parser(
        prog="train.py",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        argument_default=argparse.SUPPRESS,
        description="Train push-pull networks and their baselines, measure them under corruptions, write release "
        "folders. Settings come from the recipe; those given here replace the recipe's.",
    )
    parser.add_argument("--recipe", default="digits", help=f"one of {', '.join(_recipe_names())}, or a YAML file")
    parser.add_argument("--model", help="train this one only, in OUTPUT itself")
    parser.add_argument("--output", type=Path, help="folder of the run (default: runs/RECIPE)")
    parser.add_argument("--baseline", type=Path, help="run folder or results file to compare with on the card")
    parser.add_argument("--resume", action="store_true", default=False, help="go on where the run in OUTPUT stopped")
    parser.add_argument("--overwrite", action="store_true", default=False, help="replace the run in OUTPUT")
    parser.add_argument(
        "--skip-benchmark", action="store_true", default=False, help="train only; --resume without it measures later"
    )
    parser.add_argument("--save-minutes", type=float, default=5.0, help="time between two states to resume from")
    parser.add_argument("--tracker", default=None, help="tensorboard, trackio, wandb or another of Accelerate's")
    parser.add_argument("--device", default="auto", help="auto (a GPU where there is one), cpu, cuda, mps, xpu")
    for entry in fields(Settings):
        flag, kind, text = f"--{entry.name.replace('_', '-')}", entry.metadata["kind"], entry.metadata["help"]
        if entry.name == "models":
            continue
        if kind is dict:
            parser.add_argument(flag, nargs="*", action=_Mapping, metavar="KEY=VALUE", help=text)
        elif kind is bool:
            parser.add_argument(flag, action=argparse.BooleanOptionalAction, help=text)
        else:
            parser.add_argument(
                flag, type=kind, help=text, nargs="+" if entry.metadata["many"] else None, metavar=kind.__name__.upper()
            )
    options = parser.parse_args(arguments)
    path = RECIPES / f"{options.recipe}.yaml" if options.recipe in _recipe_names() else Path(options.recipe)
    if not path.is_file():
        raise unknown("recipe", options.recipe, _recipe_names())
    settings = load_recipe(path)
    given = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in vars(options).items()
        if name in {entry.name for entry in fields(Settings)}
    }
    if "model" in options:
        given["models"] = (options.model,)
    options.departures = [
        f"{name} is {value!r}, not {getattr(settings, name)!r}"
        for name, value in given.items()
        if name in _DECISIVE and value != getattr(settings, name)
    ]
    options.output = getattr(options, "output", Path("runs") / Path(options.recipe).stem)
    options.single = "model" in options
    options.baseline = getattr(options, "baseline", None)
    if options.resume and options.overwrite:
        raise InputError("--resume and --overwrite exclude each other; give one")
    return options, replace(settings, **given)


def _recipe_names() -> list[str]:
    return sorted(path.stem for path in RECIPES.glob("*.yaml"))


def load_recipe(path: Path) -> Settings:
    """The settings in a YAML file.

    Raises:
        InputError: It cannot be read, has an unknown key or a value of the wrong kind.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"recipe {path} cannot be read: {error}") from error
    return Settings.from_mapping(content, str(path))


class _Mapping(argparse.Action):
    """KEY=VALUE arguments as a dictionary; values are read as in YAML."""

    def __call__(self, parser, namespace, values, option_string=None) -> None:
        mapping = {}
        for text in values:
            key, equals, value = text.partition("=")
            try:
                mapping[key] = yaml.safe_load(value)
            except yaml.YAMLError:
                value = ""
            if not (key and equals and value):
                parser.error(f"argument {option_string}: {text!r} is not KEY=VALUE")
        setattr(namespace, self.dest, mapping)


def _convert(entry: Any, value: Any, source: str) -> Any:
    """A YAML value as the setting's kind; YAML reads 1e-5, without a point, as text."""
    kind, many = entry.metadata["kind"], entry.metadata["many"]
    if value is None and entry.default is None:
        return None
    if kind is dict:
        if not isinstance(value, Mapping):
            raise InputError(f"recipe {source}: {entry.name} is {value!r}; give a mapping")
        return dict(value)
    values = value if many and isinstance(value, (list, tuple)) else [value]
    converted = []
    for one in values:
        try:
            if isinstance(one, bool) != (kind is bool) or (kind is str and not isinstance(one, str)):
                raise ValueError
            converted.append(kind(one))
        except (TypeError, ValueError):
            raise InputError(f"recipe {source}: {entry.name} is {one!r}; give {kind.__name__} values") from None
        if kind is int and converted[-1] != one:
            raise InputError(f"recipe {source}: {entry.name} is {one!r}; give a whole number")
    return tuple(converted) if many else converted[0]
