"""The command line of train.py: the options of a run, and a flag for every setting, under timm's names."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any

from timm_pushpull.cli.parser import KeyValues, Parser
from timm_pushpull.models.convert import CONVERTED
from timm_pushpull.utils.errors import InputError, unknown
from train.settings import ONE_CYCLE, RECIPES, SCHEDULES, Settings, find_recipe, load_recipe, recipe_names

#: Groups of the help text, each from this setting on.
_GROUPS = {
    "task": "model",
    "dataset": "dataset",
    "epochs": "optimizer",
    "sched": "learning rate schedule",
    "smoothing": "loss and regularization",
    "img_size": "augmentation and preprocessing",
    "precision": "machine",
    "preset": "benchmark",
}
#: Flags that timm's train script has under another name.
_TIMM_FLAGS = {
    "model_args": ("--model-kwargs",),
    "initial_checkpoint": ("--pretrained-path",),
    "dataset": ("--data-dir",),
    "image_column": ("--input-key",),
    "label_column": ("--target-key",),
    "batch_size": ("-b",),
    "decay_rate": ("--dr",),
    "workers": ("-j",),
}
#: Flags of timm's train script that are arguments of the model here.
_MODEL_FLAGS = {
    "--drop": ("drop_rate", float, "dropout rate"),
    "--drop-path": ("drop_path_rate", float, "stochastic depth rate"),
    "--drop-block": ("drop_block_rate", float, "drop block rate"),
    "--gp": ("global_pool", str, "global pooling, as in avg or max"),
}
#: Settings that only some learning rate schedules have.
_OF_SCHEDULES = {
    "warmup": (ONE_CYCLE,),
    "three_phase": (ONE_CYCLE,),
    "cycle_momentum": (ONE_CYCLE,),
    "warmup_epochs": tuple(name for name in SCHEDULES if name != ONE_CYCLE),
    "decay_epochs": ("step",),
    "decay_milestones": ("multistep",),
    "decay_rate": ("step", "multistep", "poly"),
}
_EMA_DECAY = 0.9998  # timm's default

_EXAMPLES = """\
examples:
  accelerate launch train/train.py
  accelerate launch train/train.py --recipe cifar10 --dataset FOLDER_OR_HUB_ID
  python train/train.py --recipe finetune --model resnet18_cifar_pushpull.cifar10 \\
      --dataset my_images --output runs/mine
  python train/train.py --recipe convnext --model convnext_atto --convert-stem --opt adamw --lr 1e-3
"""


def parse(arguments: list[str] | None = None) -> tuple[argparse.Namespace, Settings]:
    """The run's options (recipe, model, output, baseline, resume, overwrite, save_minutes, tracker, device; overrides
    of the recipe, in words) and its settings."""
    options = _parser().parse_args(arguments)
    if options.grad_checkpointing:
        raise InputError("--grad-checkpointing is not supported; --grad-accum-steps 2 saves memory too")
    recipe = find_recipe(options.recipe)
    settings = load_recipe(recipe)
    given: dict[str, Any] = {
        name: None if value == [None] else value
        for name, value in vars(options).items()
        if name in {entry.name for entry in fields(Settings)}
    }
    if "model" in options:
        given["models"] = (options.model,)
    given |= _model_settings(options, given.get("model_args", settings.model_args))
    if "dataset" in given and settings.dataset_config:
        given.setdefault("dataset_config", None)  # the recipe's is one of the recipe's dataset
    if options.model_ema is not None:
        default = settings.model_ema_decay or _EMA_DECAY
        given["model_ema_decay"] = given.get("model_ema_decay", default) if options.model_ema else None
    changed = load_recipe(recipe, given)
    _check_schedule(given, changed.sched)
    if not options.save_minutes >= 0:  # NaN neither
        raise InputError(f"--save-minutes is {options.save_minutes:g}; use at least 0")
    options.overrides = changed.overrides(settings)
    options.output = options.output or Path("runs") / Path(options.recipe).stem
    options.single = "model" in options
    if options.resume and options.overwrite:
        raise InputError("--resume and --overwrite exclude each other; give one")
    return options, changed


def _check_schedule(given: Mapping[str, Any], schedule: str) -> None:
    """Raise InputError for a flag that the learning rate schedule has no use for."""
    for name in given:
        if name in _OF_SCHEDULES and schedule not in _OF_SCHEDULES[name]:
            instead = "; --warmup is its fraction of the steps" if name == "warmup_epochs" else ""
            raise InputError(
                f"--{name.replace('_', '-')} is for --sched {' or '.join(_OF_SCHEDULES[name])}, and sched is "
                f"{schedule}{instead}; leave it out"
            )


def training_command(recipe: str, model: str, output: Path, changes: Mapping[str, Any]) -> list[str]:
    """The command that trains and measures a network, or resumes that, with `changes` to the recipe.

    Raises:
        InputError: A change is not one of a setting.
    """
    command = [sys.executable, str(RECIPES.parent / "train.py"), "--recipe", recipe, "--model", model]
    command += ["--output", str(output), "--resume"]
    known = [entry.name for entry in fields(Settings)]
    for name, value in changes.items():
        if name not in known:  # it could be another option, such as --overwrite
            raise unknown("setting", name, known)
        if odd := [key for key in value if not str(key).isidentifier()] if isinstance(value, Mapping) else []:
            raise InputError(f"{name} has the key {odd[0]!r}; use letters, digits and '_'")
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            command.append(f"--{flag}" if value else f"--no-{flag}")
        elif isinstance(value, Mapping):
            command += [f"--{flag}", *(f"{key}={json.dumps(part)}" for key, part in value.items())]
        else:
            values = value if isinstance(value, (list, tuple)) else ["none" if value is None else value]
            command += [f"--{flag}", *map(str, values)]
    return command


def _model_settings(options: argparse.Namespace, model_args: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that --convert-stem and the flags for arguments of the model stand for.

    Args:
        model_args: What they are added to.

    Raises:
        InputError: An argument is given twice, or a conversion without the name of a network.
    """
    added: dict[str, Any] = {}
    for flag, (name, _, _) in _MODEL_FLAGS.items():
        if name in options:
            added[name] = getattr(options, name)
            if "model_args" in options and name in options.model_args:
                raise InputError(f"{flag} is {name} of --model-args, which is given too; keep one of them")
    if not options.convert_stem:
        return {"model_args": {**model_args, **added}} if added else {}
    if "model" not in options:
        raise InputError("--convert-stem is for one network; add its --model, such as --model convnext_atto")
    if "base" in model_args:
        raise InputError(
            f"--convert-stem converts --model, and model_args has base {model_args['base']!r}; leave it out"
        )
    return {"models": (CONVERTED,), "model_args": {"base": options.model, **model_args, **added}}


def _parser() -> Parser:
    parser = Parser(
        prog="train.py",
        argument_default=argparse.SUPPRESS,
        description="Train push-pull networks and their baselines, measure them under corruptions, and write release "
        "folders. Settings come from the recipe, and flags replace them; a default holds where the recipe is silent. "
        "The value none takes a setting of the recipe back where its default is none, or the data or the model decide "
        "it, as in --resize none. Flags have the names of timm's train script where it has the setting.",
        epilog=_EXAMPLES,
    )
    _add_run_options(parser)
    group: Any = None
    for entry in fields(Settings):
        if entry.name in _GROUPS:
            group = parser.add_argument_group(_GROUPS[entry.name])
        if entry.name != "models":
            _add_setting(group, entry)
        if entry.name == "task":
            group.add_argument("--model", help="train this one only, in OUTPUT itself (default: all of the recipe)")
            group.add_argument(
                "--convert-stem", action="store_true", default=False,
                help="make the first convolution of --model, any network of timm, a push-pull unit; --model-args "
                "avg_size=5 alpha=1 are arguments of the unit (default: no)",
            )  # fmt: skip
        if entry.name == "model_args":
            for flag, (name, kind, text) in _MODEL_FLAGS.items():
                group.add_argument(
                    flag, dest=name, type=kind, metavar=kind.__name__.upper(), help=f"{text}, as --model-args {name}="
                )
        if entry.name == "model_ema_decay":
            text = f"the same with a decay of {_EMA_DECAY} (default: no)"
            group.add_argument("--model-ema", action=argparse.BooleanOptionalAction, default=None, help=text)
        if entry.name == "precision":
            for flag, precision in (("--amp", "bf16"), ("--no-amp", "fp32")):
                text = f"as --precision {precision}"
                group.add_argument(flag, dest="precision", action="store_const", const=precision, help=text)
            text = "bfloat16, as --precision bf16"
            group.add_argument("--amp-dtype", dest="precision", type=_amp_dtype, metavar="DTYPE", help=text)
    return parser


def _add_run_options(parser: Parser) -> None:
    add = parser.add_argument_group("run").add_argument
    names = ", ".join(recipe_names())
    add("-c", "--recipe", "--config", default="digits", help=f"one of {names}, or a YAML file (default: %(default)s)")
    add("--output", type=Path, default=None, help="folder of the run (default: runs/RECIPE)")
    add(
        "--baseline", type=Path, default=None,
        help="run folder or results file to compare with on the card (default: the first network of the recipe)",
    )  # fmt: skip
    add("--resume", action="store_true", default=False, help="continue the run in OUTPUT (default: no)")
    add("--overwrite", action="store_true", default=False, help="replace the run in OUTPUT (default: no)")
    add(
        "--skip-benchmark", action="store_true", default=False,
        help="train only; --resume without it measures later (default: no)",
    )  # fmt: skip
    add("--save-minutes", type=float, default=5.0, help="minutes between two checkpoints (default: 5)")
    add(
        "--keep-checkpoints", action="store_true", default=False,
        help="keep the checkpoints once the network is measured (default: no)",
    )  # fmt: skip
    add("--tracker", default=None, help="tensorboard, trackio, wandb or another of Accelerate's (default: none)")
    add("--log-wandb", dest="tracker", action="store_const", const="wandb", help="as --tracker wandb")
    add("--grad-checkpointing", action="store_true", default=False, help=argparse.SUPPRESS)  # refused with advice
    add("--device", default="auto", help="auto (a GPU where there is one), cpu, cuda, mps, xpu (default: auto)")


def _add_setting(group: Any, entry: Field) -> None:
    kind, many = entry.metadata["kind"], entry.metadata["many"]
    flags = (f"--{entry.name.replace('_', '-')}", *_TIMM_FLAGS.get(entry.name, ()))
    text = _with_default(entry)
    if kind is dict:
        group.add_argument(*flags, nargs="*", action=KeyValues, metavar="KEY=VALUE", help=text)
    elif kind is bool:
        group.add_argument(*flags, action=argparse.BooleanOptionalAction, help=text)
    else:
        read = _or_none(kind) if entry.default is None else kind
        group.add_argument(*flags, type=read, help=text, nargs="+" if many else None, metavar=kind.__name__.upper())


def _or_none(kind: type) -> Callable[[str], Any]:
    """What reads a value of a kind, or none."""

    def read(text: str) -> Any:
        return None if text.lower() == "none" else kind(text)

    read.__name__ = kind.__name__  # argparse names it where a value is refused
    return read


def _with_default(entry: Field) -> str:
    """The help of a setting, with its default, which the text may say in words."""
    text, default, words = entry.metadata["help"].partition("; default: ")
    value: Any = {} if entry.default is MISSING else entry.default
    if default:
        return f"{text} (default: {words})"
    if isinstance(value, bool):
        value = "yes" if value else "no"
    elif isinstance(value, tuple):
        value = " ".join(map(str, value))
    elif value is None or value == {}:
        value = "none"
    return f"{text} (default: {value})"


def _amp_dtype(name: str) -> str:
    if name not in ("bfloat16", "bf16"):
        raise argparse.ArgumentTypeError(f"{name!r} is not supported; use bfloat16, or --no-amp for float32")
    return "bf16"
