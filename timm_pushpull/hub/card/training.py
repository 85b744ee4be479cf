"""How the weights were trained: data, time, hardware, settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from timm_pushpull.benchmark.results import InitialWeights, Results, RetrievalSettings, Training
from timm_pushpull.utils.markdown import code, plain, table
from timm_pushpull.utils.text import duration

_OPTIMIZER = ("batch_size", "momentum", "weight_decay", "warmup_lr", "lr", "min_lr")
#: Their names in older recipes.
_OLD_NAMES = {"warmup_lr": "lr_start", "lr": "lr_peak", "min_lr": "lr_end"}
_UNSET: tuple[object, ...] = (None, "", {}, [])


def overrides(results: Results) -> list[str]:
    """The settings that replaced the recipe's, in words."""
    return results.training.overrides if results.training else []


def training(results: Results, recipe: Mapping[str, Any]) -> str:
    """Data, epochs, time and hardware as far as they are known, then a table of all settings."""
    known = results.training or Training()
    lines = []
    if known.images is not None:
        split = f", split {code(recipe['train_split'])}" if recipe.get("train_split") else ""
        lines.append(f"- **Data:** {known.images:,} images of {code(results.dataset)}{split}")
        if known.origin:
            lines[-1] += f": {plain(known.origin)}"
    if known.initial_weights:
        lines.append(f"- **Started from:** {_initial(known.initial_weights)}")
    if known.epochs is not None:
        lines.append(f"- **Epochs:** {known.epochs}")
    if known.seconds:
        speed = ""
        if known.images is not None and known.epochs is not None:
            speed = f", {known.epochs * known.images / known.seconds:,.0f} images/s"
        lines.append(f"- **Time:** {duration(known.seconds)}{speed}")
    if known.hardware:
        processes = f"{known.processes} x " if known.processes is not None else ""
        precision = f", {plain(known.precision)}" if known.precision else ""
        lines.append(f"- **Hardware:** {processes}{plain(known.hardware)}{precision}")
    if known.versions:
        software = ", ".join(f"{plain(name)} {plain(number)}" for name, number in known.versions.items())
        lines.append(f"- **Versions:** {software}{f'; commit {code(known.commit)}' if known.commit else ''}")
    lines.append(
        f"- **Seeds:** {plain(recipe.get('seed', '-'))} for training, {plain(results.seed)} for the corruptions"
    )
    described = {
        "Optimizer": _optimizer(recipe),
        "Loss": _loss(results.retrieval, recipe),
        "Augmentation": _augmentation(recipe),
    }
    lines += [f"- **{name}:** {text}" for name, text in described.items() if text]
    if known.overrides:
        lines.append(f"- **Differs from the recipe:** {'; '.join(map(plain, known.overrides))}")
    settings = [[plain(name), setting_text(value)] for name, value in recipe.items() if value not in _UNSET]
    if not settings:
        return "\n".join(lines)
    return "\n".join(lines) + (
        "\n\n<details><summary>All settings (<code>recipe.yaml</code>)</summary>\n\n"
        f"{table(['setting', 'value'], settings, words=2)}\n\n</details>"
    )


def _initial(initial: InitialWeights) -> str:
    trained_on = f", trained on {code(initial.dataset)}" if initial.dataset else ""
    return f"{code(initial.repository or initial.name)}{trained_on}; SHA-256 {code(initial.weights_sha256)}"


def _optimizer(recipe: Mapping[str, Any]) -> str:
    """Optimizer and schedule in words; empty where the recipe lacks a setting."""
    values = {name: recipe.get(name, recipe.get(_OLD_NAMES.get(name, name))) for name in _OPTIMIZER}
    one_cycle = recipe.get("sched", "onecycle") == "onecycle"
    if None in (value for name, value in values.items() if one_cycle or name not in ("warmup_lr", "min_lr")):
        return ""
    momentum = plain(values["momentum"])
    if one_cycle and recipe.get("cycle_momentum"):
        momentum = "cycled from 0.95 to 0.85 and back"  # the defaults of torch's OneCycleLR
    opt = recipe.get("opt", "momentum")
    sgd = {"momentum": "SGD, momentum", "sgd": "SGD with Nesterov momentum"}  # as timm names them
    name = f"{sgd[opt]} {momentum}" if opt in sgd else f"{plain(opt)} (timm)"
    line = f"{name}, weight decay {plain(values['weight_decay'])}, batch size {plain(values['batch_size'])}; "
    if not one_cycle:
        warmup = f", {plain(recipe['warmup_epochs'])} epochs of warmup" if recipe.get("warmup_epochs") else ""
        return f"{line}{plain(recipe['sched'])} schedule of the learning rate, {plain(values['lr'])} at most{warmup}"
    phases = " in three phases" if recipe.get("three_phase") else ""
    start, peak, end = (plain(values[name]) for name in ("warmup_lr", "lr", "min_lr"))
    return f"{line}one-cycle learning rate{phases}, from {start} up to {peak} and down to {end}"


def _loss(retrieval: RetrievalSettings | None, recipe: Mapping[str, Any]) -> str:
    """The loss in words; empty for cross-entropy without label smoothing."""
    if not retrieval:
        smoothing = f"label smoothing {plain(recipe['smoothing'])}" if recipe.get("smoothing") else ""
        name = "binary cross-entropy of each class" if recipe.get("bce_loss") else "cross-entropy" if smoothing else ""
        return ", ".join(filter(None, (name, smoothing)))
    classes = f"{plain(recipe['num_classes'])} classes" if recipe.get("num_classes") else "classes"
    return (
        f"central similarity quantization (Yuan et al. 2020): the images of each of the {classes} are pulled towards "
        f"a hash centre of {retrieval.hash_bits} bits; the centres are far from each other"
    )


def _augmentation(recipe: Mapping[str, Any]) -> str:
    """What is changed in training images besides the paper's crop and flip, in words; empty for nothing."""
    found = []
    if recipe.get("scale"):
        found.append(f"random resized crops of {' to '.join(map(plain, recipe['scale']))} of the area")
        if recipe.get("hflip"):
            found.append(f"horizontal flip with probability {plain(recipe['hflip'])}")
    if recipe.get("augmentation") == "prime":
        found.append("PRIME (Modas et al. 2022)")
    elif recipe.get("augmentation"):
        found.append(
            f"{plain(recipe['augmentation'])} (torchvision); it changes brightness and contrast, which are among the "
            f"test corruptions"
        )
    if recipe.get("aa"):
        found.append(
            f"{plain(recipe['aa'])} (timm); it changes brightness and contrast, which are among the test corruptions"
        )
    if recipe.get("color_jitter"):
        found.append(
            f"colour jitter of {plain(recipe['color_jitter'])}; it changes brightness, contrast and saturation, which "
            f"are among the test corruptions"
        )
    found += [f"{name} with alpha {plain(recipe[name])}" for name in ("mixup", "cutmix") if recipe.get(name)]
    if recipe.get("reprob"):
        found.append(f"random erasing of {plain(recipe['reprob'])} of the images")
    return "; ".join(found)


def setting_text(value: object) -> str:
    """A setting as the table of settings shows it."""
    return plain(", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value))
