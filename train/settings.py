"""The settings of a training run: a dataclass, filled from a YAML recipe and then from the command line."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from timm_pushpull.benchmark.hashing import BITS, TOP
from timm_pushpull.benchmark.results import TASKS
from timm_pushpull.corruptions import PRESETS
from timm_pushpull.data.augment import AUGMENTATIONS
from timm_pushpull.data.preprocessing import INTERPOLATIONS
from timm_pushpull.models.convert import network_name
from timm_pushpull.utils.errors import InputError, one_line, unknown
from timm_pushpull.utils.hardware import PRECISIONS
from timm_pushpull.utils.provenance import shareable
from timm_pushpull.utils.yaml_text import load_yaml
from train.fields import check_bounds, convert, setting

RECIPES = Path(__file__).parent / "recipes"
CROP_INTERPOLATIONS = ("random", *INTERPOLATIONS)
ONE_CYCLE = "onecycle"
SCHEDULES = (ONE_CYCLE, "cosine", "tanh", "poly", "step", "multistep")
ERASING = ("pixel", "rand", "const")

#: Names of settings in the recipes of older runs and releases, and today's.
RENAMED = {
    "accumulation": "grad_accum_steps",
    "compile": "torchcompile",
    "ema_decay": "model_ema_decay",
    "flip": "hflip",
    "image_size": "img_size",
    "label_smoothing": "smoothing",
    "lr_end": "min_lr",
    "lr_peak": "lr",
    "lr_start": "warmup_lr",
    "sync_batch_norm": "sync_bn",
    "test_split": "val_split",
}


#: Settings that may differ from the recipe's without making it another training: where the data lie, how the work is
#: spread, what is measured and how it is stored.
_NO_OVERRIDES = (
    *(
        "models",
        "dataset",
        "dataset_config",
        "train_split",
        "val_split",
        "image_column",
        "label_column",
        "num_classes",
        "seed",
    ),
    *("grad_accum_steps", "sync_bn", "precision", "torchcompile", "workers", "half_weights", "benchmark_limit"),
    *("interpolation", "mean", "std"),
)

#: Arguments of `timm.create_model` that would spoil the result, most of them only at the end.
_NOT_MODEL_ARGS = {
    "num_classes": "which the dataset decides; leave it out",
    "in_chans": "but images are trained on with three channels; leave it out",
    "features_only": "but a network without a head cannot be trained here; leave it out",
    "pretrained": "which belongs to what a run starts from; use --pretrained",
    "checkpoint_path": "which belongs to what a run starts from; use --initial-checkpoint",
    **dict.fromkeys(
        ("pretrained_cfg", "pretrained_cfg_overlay", "pretrained_model_args", "cache_dir", "device", "dtype"),
        "which is not an argument of the network; leave it out",
    ),
    **dict.fromkeys(("scriptable", "exportable", "no_jit"), "which its folder does not keep; leave it out"),
}


@dataclass(frozen=True)
class Settings:
    """Everything that decides a training run, under the names of timm's train script where it has the setting.

    Raises:
        InputError: A value out of its bounds, or two that exclude each other.
    """

    task: str = setting(str, TASKS[0], f"what the network is for: {', '.join(TASKS)}", choices=TASKS)
    models: tuple[str, ...] = setting(str, (), "timm models; the first is the others' baseline", many=True)
    model_args: dict[str, Any] = setting(dict, {}, "arguments of the networks (alpha=2), for all of the recipe's")  # noqa: RUF009
    pretrained: bool = setting(bool, False, "start from the pretrained weights of the model's name and tag")
    initial_checkpoint: str | None = setting(
        str, None, "start from this safetensors file, checkpoint (.pth), run folder, local-dir:FOLDER or hf-hub:ID"
    )
    dataset: str = setting(str, "digits", "folder or Hub id of an image dataset, or digits")
    dataset_config: str | None = setting(str, None, "configuration of the dataset, where it has several")
    train_split: str = setting(str, "train", "split to train on")
    val_split: str | None = setting(str, None, "split to measure; default: the first of test, validation, valid, val")
    image_column: str | None = setting(str, None, "needed only where there are several")
    label_column: str | None = setting(str, None, "needed only where there are several")
    classes: str | None = setting(str, None, "only the classes named in this file; or imagenet100, imagenet200")
    num_classes: int | None = setting(int, None, "number of classes; default: what the labels have", at_least=1)
    limit: int | None = setting(int, None, "use at most so many images of either split, class-balanced", at_least=1)

    # By default SGD under torch's OneCycleLR with cosine annealing, as in the paper, with its values on CIFAR-10.
    epochs: int = setting(int, 30, "passes over the training images", above=0)
    batch_size: int = setting(int, 64, "images per optimizer step, over all processes and accumulation steps", above=0)
    grad_accum_steps: int | None = setting(int, None, "gradient accumulation steps per batch; default: 1", at_least=1)
    opt: str = setting(
        str, "momentum", "optimizer of timm: momentum (plain SGD), sgd (Nesterov's), adamw, lamb, muon..."
    )
    momentum: float = setting(float, 0.9, "momentum of the optimizer, where it is constant", at_least=0, below=1)
    opt_eps: float | None = setting(float, None, "eps of the optimizer; default: its own", at_least=0)
    opt_betas: tuple[float, ...] | None = setting(float, None, "its betas; default: its own", many=True)
    opt_kwargs: dict[str, Any] = setting(dict, {}, "its other arguments (caution=true), for all of the recipe's")  # noqa: RUF009
    weight_decay: float = setting(float, 1e-5, "weight decay", at_least=0)
    filter_bias_and_bn: bool = setting(bool, False, "no weight decay of biases, normalisation and alpha")
    layer_decay: float | None = setting(float, None, "learning-rate factor per layer towards the stem", above=0)
    sched: str = setting(str, ONE_CYCLE, f"schedule: {', '.join(SCHEDULES)}", choices=SCHEDULES)
    lr: float = setting(float, 0.2, "highest learning rate", above=0)
    warmup_lr: float | None = setting(
        float, None, "rate of the first step; default: 5e-3 in one cycle, at most lr / 25; else 1e-5", at_least=0
    )
    min_lr: float | None = setting(
        float, None, "rate of the last step; default: 5e-6 in one cycle, at most lr / 1000; else 0", at_least=0
    )
    warmup: float = setting(float, 0.3, "onecycle: fraction of steps with rising learning rate", above=0, below=1)
    three_phase: bool = setting(bool, False, "onecycle: fall to the first rate as fast as it rose, then to the last")
    cycle_momentum: bool = setting(bool, False, "onecycle: momentum from 0.95 to 0.85 and back, as torch has it")
    warmup_epochs: float = setting(float, 0.0, "other schedules: epochs before the highest rate", at_least=0)
    decay_epochs: float = setting(float, 90.0, "step: epochs between two decays", above=0)
    decay_milestones: tuple[int, ...] = setting(int, (90, 180, 270), "multistep: epochs of the decays", many=True)
    decay_rate: float = setting(float, 0.1, "step, multistep: factor of a decay; poly: power", above=0)
    smoothing: float = setting(float, 0.0, "label smoothing of a classifier", at_least=0, below=1)
    bce_loss: bool = setting(bool, False, "binary cross-entropy of each class instead of the softmax's")
    bce_sum: bool = setting(bool, False, "bce_loss: the sum over the classes instead of their mean")
    bce_target_thresh: float | None = setting(
        float, None, "bce_loss: targets above it become 1, others 0; default: as they are", at_least=0, below=1
    )
    clip_grad: float | None = setting(float, None, "maximum gradient norm; default: none", above=0)
    model_ema_decay: float | None = setting(float, None, "release a moving average of the weights", at_least=0, below=1)
    # Off, as in checkpoints and recipes that do not have it yet; `load_recipe` has the default of flags.
    model_ema_warmup: bool = setting(
        bool, False, "average fewer steps at first; default: yes where a flag adds the average to a recipe, else no"
    )
    sync_bn: bool = setting(bool, False, "batch norm over the images of all processes")
    seed: int = setting(int, 1234, "of initialisation, order and augmentation", at_least=0, below=2**32)

    img_size: int | None = setting(int, None, "side of the network's input, px; default: the model's own", at_least=1)
    test_img_size: int | None = setting(int, None, "that of test images, px; default: the image size", at_least=1)
    resize: int | None = setting(int, None, "shorter side before the crop, px; default: the image size", at_least=1)
    crop_padding: int = setting(int, 0, "zeros on every side before the random training crop, px", at_least=0)
    hflip: float = setting(float, 0.5, "probability of a horizontal flip of a training image", at_least=0, at_most=1)
    vflip: float = setting(float, 0.0, "probability of a vertical flip", at_least=0, at_most=1)
    augmentation: str | None = setting(str, None, f"{', '.join(AUGMENTATIONS)}; default: none", choices=AUGMENTATIONS)
    crop_pct: float | None = setting(
        float, None, "test crop size divided by resized size; default: 1", above=0, at_most=1
    )
    # Under timm's names and with its formulas; by default none of them.
    scale: tuple[float, ...] | None = setting(
        float, None, "random resized crop: minimum and maximum fraction of the area; default: the crop above", many=True
    )
    ratio: tuple[float, ...] | None = setting(
        float, None, "its minimum and maximum aspect ratio; default: 3/4 and 4/3", many=True
    )
    train_interpolation: str | None = setting(
        str,
        None,
        f"its interpolation: {', '.join(CROP_INTERPOLATIONS)}; default: as in tests",
        choices=CROP_INTERPOLATIONS,
    )
    aa: str | None = setting(str, None, "a policy of timm, as in rand-m9-mstd0.5-inc1; default: none")
    color_jitter: float | None = setting(float, None, "strength of brightness, contrast and saturation jitter", above=0)
    reprob: float = setting(float, 0.0, "probability of random erasing", at_least=0, at_most=1)
    remode: str = setting(str, "pixel", f"noise of random erasing: {', '.join(ERASING)}", choices=ERASING)
    recount: int = setting(int, 1, "maximum number of erased rectangles per image", at_least=1)
    mixup: float = setting(float, 0.0, "alpha of mixup; 0 for none", at_least=0)
    cutmix: float = setting(float, 0.0, "alpha of cutmix; 0 for none", at_least=0)
    mixup_prob: float = setting(float, 1.0, "probability of a batch to be mixed", at_least=0, at_most=1)
    mixup_switch_prob: float = setting(float, 0.5, "probability of cutmix where both are on", at_least=0, at_most=1)
    mixup_off_epoch: int = setting(int, 0, "mix up to this epoch; 0 for all", at_least=0)
    interpolation: str | None = setting(
        str, None, f"{', '.join(INTERPOLATIONS)}; default: the model's own", choices=INTERPOLATIONS
    )
    mean: tuple[float, ...] | None = setting(float, None, "channel means, 0 to 1; default: the model's own", many=True)
    std: tuple[float, ...] | None = setting(
        float, None, "channel standard deviations; default: the model's own", many=True
    )

    precision: str = setting(str, "auto", f"{', '.join(PRECISIONS)}; auto: bf16 where the processor has it")
    torchcompile: bool = setting(bool, False, "train through torch.compile")
    workers: int = setting(int, 4, "data-loading workers per process, where images do not fit into memory", at_least=0)
    preset: str | None = setting(
        str, None, f"corruption constants: {', '.join(PRESETS)}; default: by the test image size", choices=PRESETS
    )
    hash_bits: int = setting(int, BITS, "retrieval: hash length in bits, the network's outputs")
    top: int = setting(int, TOP, "retrieval: how many of the nearest training images count for mAP", at_least=1)
    half_weights: bool = setting(bool, False, "save (and measure) the trained weights as float16, as releases are")
    benchmark_limit: int | None = setting(int, None, "measure on so many test images, class-balanced", at_least=1)

    def __post_init__(self) -> None:
        for entry in fields(self):
            check_bounds(entry, getattr(self, entry.name))
        if self.sched == ONE_CYCLE:  # resolved here, so that recipes and checkpoints of older versions compare equal
            for name, value in (("warmup_lr", min(5e-3, self.lr / 25)), ("min_lr", min(5e-6, self.lr / 1000))):
                if getattr(self, name) is None:
                    object.__setattr__(self, name, value)
        if self.three_phase and self.warmup > 0.5:
            raise InputError(f"warmup is {self.warmup}; in three phases, where it counts twice, use 0.5 or less")
        if self.hash_bits < 8 or self.hash_bits % 8:
            raise InputError(f"hash_bits is {self.hash_bits}; use a multiple of 8")
        _check_augmentation(self)
        _check_start(self)
        _check_resized_crop(self)
        _check_vectors(self)
        if not self.models:
            raise InputError("the recipe names no models; add --model NAME")

    @property
    def names(self) -> tuple[str, ...]:
        """The networks in messages and progress bars; one with a converted stem is named after its base."""
        return tuple(network_name(name, self.model_args) for name in self.models)

    @property
    def mixes(self) -> bool:
        """Whether images of a batch are mixed with each other."""
        return bool(self.mixup or self.cutmix) and self.mixup_prob > 0

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
        return cls(**_converted(content, source))

    def recorded(self) -> dict[str, Any]:
        """The settings that decide the result: all but those that say how the work is spread."""
        return {name: value for name, value in asdict(self).items() if name != "workers"}

    def overrides(self, recipe: Settings) -> list[str]:
        """What makes this another training than the recipe's, in words, such as `epochs is 5, not 30`."""
        names = [entry.name for entry in fields(self) if entry.name not in (*_NO_OVERRIDES, "model_args")]
        pairs = [(name, getattr(self, name), getattr(recipe, name)) for name in names]
        # `base` says which network it is, as `models` does.
        mine, other = ({k: v for k, v in one.model_args.items() if k != "base"} for one in (self, recipe))
        pairs.insert(0, ("model_args", mine, other))
        return [
            f"{name} is {shareable(value)!r}, not {shareable(theirs)!r}"
            for name, value, theirs in pairs
            if value != theirs
        ]

    def to_yaml(self) -> str:
        content = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}
        return yaml.safe_dump(content, sort_keys=False, default_flow_style=None)


def renamed(name: str, value: Any) -> tuple[str, Any]:
    """A setting of an older recipe or checkpoint under today's name."""
    if name == "flip" and isinstance(value, bool):
        value = 0.5 if value else 0.0
    return RENAMED.get(name, name), value


def _converted(content: Mapping[Any, Any], source: str) -> dict[str, Any]:
    """The settings in a mapping, under today's names, each as its kind."""
    known = {entry.name: entry for entry in fields(Settings)}
    values: dict[str, Any] = {}
    for old_name, old_value in content.items():
        name, value = renamed(old_name, old_value)
        if name not in known:
            raise InputError(f"recipe {source}: {unknown('setting', str(name)[:100], known)}")
        if name in values:
            raise InputError(f"recipe {source} sets {name} twice, also by its old name; keep one of them")
        values[name] = convert(known[name], value, source)
    return values


def recipe_names() -> list[str]:
    """The recipes in train/recipes."""
    return sorted(path.stem for path in RECIPES.glob("*.yaml"))


def load_recipe(path: Path, changes: Mapping[str, Any] | None = None) -> Settings:
    """The settings in a YAML file, with `changes` in place of some of them, as flags make them.

    Raises:
        InputError: It cannot be read, has an unknown key or a value of the wrong kind.
    """
    try:
        content = load_yaml(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"recipe {path} cannot be read: {one_line(error)}") from error
    if not (changes and isinstance(content, Mapping)):
        return Settings.from_mapping(content, str(path))
    recipe, given = _converted(content, str(path)), _converted(changes, f"{path} with changes")
    values = recipe | given
    for name in ("warmup_lr", "min_lr"):  # the recipe's are made for its lr; above a lower one the defaults hold
        if name not in given and "lr" in given and (values.get(name) or 0) > given["lr"]:
            values[name] = None
    if given.get("model_ema_decay") and not recipe.get("model_ema_decay"):
        values["model_ema_warmup"] = given.get("model_ema_warmup", True)
    return Settings(**values)


def find_recipe(name: str) -> Path:
    """The file of a recipe in train/recipes, or of one anywhere else.

    Raises:
        InputError: There is none.
    """
    path = RECIPES / f"{name}.yaml" if name in recipe_names() else Path(name)
    if not path.is_file():
        raise unknown("recipe", name, recipe_names())
    return path


def _check_vectors(settings: Settings) -> None:
    """Raise InputError for too few or wrong numbers where a setting has several."""
    if settings.opt_betas is not None and not all(0 <= value < 1 for value in settings.opt_betas):
        raise InputError(f"opt_betas is {' '.join(map(str, settings.opt_betas))}; use values of at least 0 and below 1")
    if settings.opt_betas is not None and len(settings.opt_betas) < 2:
        raise InputError(f"opt_betas is {settings.opt_betas[0]} alone; give two or more, such as --opt-betas 0.9 0.999")
    for name in ("mean", "std"):
        if getattr(settings, name) is not None and len(getattr(settings, name)) != 3:
            raise InputError(f"{name} has {len(getattr(settings, name))} values; give three, one per channel")
    if settings.mean is not None and not all(0 <= value <= 1 for value in settings.mean):
        raise InputError(f"mean is {' '.join(map(str, settings.mean))}; use values of at least 0 and at most 1")
    if settings.std is not None and not all(value > 0 for value in settings.std):
        raise InputError(f"std is {' '.join(map(str, settings.std))}; use values above 0")


def _check_augmentation(settings: Settings) -> None:
    """Raise InputError for augmentations or losses that exclude each other or the task."""
    if settings.aa and settings.augmentation:
        raise InputError(
            f"aa is {settings.aa!r} and augmentation {settings.augmentation!r}; give one of them and none for the other"
        )
    if (settings.bce_sum or settings.bce_target_thresh is not None) and not settings.bce_loss:
        name, off = (
            ("bce_sum", "--no-bce-sum") if settings.bce_sum else ("bce_target_thresh", "--bce-target-thresh none")
        )
        raise InputError(f"{name} needs the BCE loss; add --bce-loss, or {off}")
    for name in ("smoothing", "bce_loss", "mixup", "cutmix"):
        if settings.task == "retrieval" and getattr(settings, name):
            raise InputError(f"{name} is {getattr(settings, name)}, but the task is retrieval; leave it out")


def _check_start(settings: Settings) -> None:
    """Raise InputError for two places of weights, or arguments of the network that are not its own."""
    if settings.pretrained and settings.initial_checkpoint:
        raise InputError(
            "pretrained and initial_checkpoint exclude each other; give --no-pretrained or --initial-checkpoint none"
        )
    for name in settings.model_args:
        if reason := _NOT_MODEL_ARGS.get(name):
            raise InputError(f"model_args has {name}, {reason}")


def _check_resized_crop(settings: Settings) -> None:
    """Raise InputError unless the settings of a random resized crop are two in order, and go with nothing else."""
    for name, largest in (("scale", 1), ("ratio", math.inf)):
        values = getattr(settings, name)
        if values is not None and not (len(values) == 2 and 0 < values[0] <= values[1] <= largest):
            given = " ".join(map(str, values))
            bounds = "above 0, the smaller one first" + (", at most 1" if name == "scale" else "")
            raise InputError(f"{name} is {given}; give two numbers {bounds}")
    for name in ("ratio", "train_interpolation"):
        if settings.scale is None and getattr(settings, name):
            raise InputError(
                f"{name} is that of a random resized crop; add --scale, such as --scale 0.35 1, or "
                f"--{name.replace('_', '-')} none"
            )
    for name, off in (("resize", "--resize none"), ("crop_padding", "--crop-padding 0")):
        if settings.scale and getattr(settings, name):
            raise InputError(
                f"{name} is {getattr(settings, name)}, but a random resized crop (scale) takes its place; use {off} or "
                f"--scale none"
            )
