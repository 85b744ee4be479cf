"""The weights that a training starts from: pretrained ones, a file, a run or release folder, or the Hub."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from timm.models import split_model_name_tag
from torch import Tensor, nn

from timm_pushpull.benchmark.results import InitialWeights, Results
from timm_pushpull.layers.push_pull_base import PushPullBase
from timm_pushpull.models import NAMESPACE, RELEASES
from timm_pushpull.models.checkpoints import read_state_dict, stem_settings, with_settings
from timm_pushpull.models.config import parse_config
from timm_pushpull.models.convert import CONVERTED, UNIT_ARGUMENTS, network_name
from timm_pushpull.models.weights import CONFIG, WEIGHTS, create_model, weights_hash
from timm_pushpull.utils.errors import InputError, one_line
from timm_pushpull.utils.files import sha256
from timm_pushpull.utils.hub_client import download, quiet_hub, split_revision
from train.settings import Settings

_RESULTS = "results.json"


@dataclass(frozen=True)
class Initial:
    """Weights to start from.

    Attributes:
        state: The state dict of a network without wrappers.
        record: What results and cards say of them.
    """

    state: dict[str, Tensor]
    record: InitialWeights


def check_initial(settings: Settings, names: list[str]) -> None:
    """Raise InputError unless the weights can be read and fit these models; whatever the number of classes."""
    for name in names:
        if (initial := read_initial(settings, name)) is None:
            return
        with torch.device("meta"):
            network = create_model(name, **settings.model_args)
        load_initial(network, initial, settings)


def read_initial(settings: Settings, name: str) -> Initial | None:
    """What a training of this model starts from; None for weights drawn at random.

    Raises:
        InputError: The weights cannot be found or read, or they are a pickle of Python objects.
    """
    if settings.pretrained:
        return _pretrained(settings, name)
    source = settings.initial_checkpoint
    return None if source is None else _from_file(*_files(source))


def stated_preprocessing(source: str) -> dict[str, Any]:
    """The settings of the images that the config beside initial weights states; none where there is no config.

    Raises:
        InputError: The weights or the config cannot be read, or it states a mean or std of no images.
    """
    _, config, _, _ = _files(source)
    if config is None or not config.is_file():
        return {}
    cfg = parse_config(config.read_bytes(), repr(str(config))).get("pretrained_cfg") or {}
    mean, std, size = (cfg.get(name) for name in ("mean", "std", "input_size"))
    for name, values, lowest, highest in (("mean", mean, 0, 1), ("std", std, 1e-3, 10)):
        if values and not all(lowest <= value <= highest for value in values):
            raise InputError(
                f"{str(config)!r} states {name} {values}; correct it to values from {lowest} to {highest}, as of "
                f"intensities from 0 to 1"
            )
    stated = {
        "img_size": size and size[-1],
        "interpolation": cfg.get("interpolation"),
        "mean": mean and tuple(mean),
        "std": std and tuple(std),
    }
    return {name: value for name, value in stated.items() if value}


def _files(source: str) -> tuple[Path, Path | None, Path | None, str | None]:
    """Weights, config and results of a place, and the Hub's repository that it is; all but the first may be missing."""
    if source.startswith("hf-hub:"):
        repository, revision = split_revision(source.removeprefix("hf-hub:"))
        with quiet_hub():
            weights = download(repository, revision=revision)
            config, results = (_download(repository, entry, revision) for entry in (CONFIG, _RESULTS))
        return weights, config, results, repository
    path = Path(source.removeprefix("local-dir:"))
    if source.startswith("local-dir:") or path.is_dir():
        if not (path / WEIGHTS).is_file():
            raise InputError(f"{str(path)!r} holds no {WEIGHTS} to start from; give a finished run or a release")
        released = path.resolve().parent == RELEASES.resolve()
        published = f"{NAMESPACE}/{path.resolve().name}" if released else None
        return path / WEIGHTS, path / CONFIG, path / _RESULTS, published
    return path, None, None, None


def load_initial(network: nn.Module, initial: Initial, settings: Settings) -> None:
    """Load weights into a network, which keeps its own classifier where the number of classes differs.

    A push-pull network keeps its own alpha where the weights are those of the plain network, and where the settings
    give one.

    Raises:
        InputError: The weights are of another network, pooling or number of channels; names what differs.
    """
    cfg: Any = getattr(network, "pretrained_cfg", None) or {}
    heads = cfg.get("classifier") or ()
    heads = (heads,) if isinstance(heads, str) else tuple(heads)
    own, given = network.state_dict(), initial.state
    new_head = {name for name in own if name.startswith(tuple(f"{head}." for head in heads))}
    if all(name in given and given[name].shape == own[name].shape for name in new_head):
        new_head = set()
    plain = not any(name.endswith(".alpha") for name in given)
    layers = [name for name, layer in network.named_modules() if isinstance(layer, PushPullBase)]
    kept = {f"{name}.{part}" for name in layers for part in ("alpha", "bias") if plain} - set(given)
    if "alpha" in settings.model_args:
        kept |= {f"{name}.alpha" for name in layers}
    state = OrderedDict((name, own[name] if name in new_head | kept else given.get(name)) for name in own)
    for name in sorted(set(given) - set(own) - new_head):
        raise _other_network(initial, f"they have {name!r}, which the model lacks")
    for name, tensor in state.items():
        if tensor is None:
            raise _other_network(initial, f"they lack {name!r}")
        if tensor.shape != own[name].shape:
            shapes = f"{tuple(tensor.shape)}, not {tuple(own[name].shape)}"
            raise _other_network(initial, f"the shape of their {name!r} is {shapes}")
    state._metadata = getattr(given, "_metadata", None)  # type: ignore[attr-defined]  # the pooling; the layers check it
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a network on the meta device, which is only to be checked
            network.load_state_dict(state)
    except (RuntimeError, ValueError) as error:
        raise _other_network(initial, one_line(error)) from error


def _other_network(initial: Initial, what: str) -> InputError:
    return InputError(
        f"the weights {initial.record.name!r} do not fit the model: {what}; give those of the same network"
    )


def _from_file(path: Path, config: Path | None, results: Path | None, repository: str | None) -> Initial:
    state, name, dataset, licence = read_state_dict(path), path.name, None, None
    if config is not None and config.is_file():
        content = parse_config(config.read_bytes(), repr(str(config)))
        cfg = content.get("pretrained_cfg") or {}
        tag, licence = cfg.get("tag"), cfg.get("license")
        model_args = content.get("model_args") or {}
        if architecture := content.get("architecture"):
            name = ".".join(part for part in (network_name(architecture, model_args), tag) if part)
        if not getattr(state, "_metadata", None):  # else the weights say it themselves
            state = with_settings(state, stem_settings(content))
    if results is not None and results.is_file():
        dataset = Results.load(results).dataset
    return Initial(state, InitialWeights(name, sha256(path), dataset, repository, licence))


def _download(repository: str, name: str, revision: str | None) -> Path | None:
    try:
        return download(repository, name, revision=revision)
    except InputError:
        return None  # it is not needed; without network, the download of the weights says so


def _pretrained(settings: Settings, name: str) -> Initial:
    arguments = dict(settings.model_args)
    if name == CONVERTED:  # the weights are those of the plain network
        name = arguments.pop("base", "resnet18")
        arguments = {key: value for key, value in arguments.items() if key not in UNIT_ARGUMENTS}
    try:
        with quiet_hub():
            network = create_model(name, pretrained=True, **arguments)
            digest = weights_hash(network)
    except InputError:
        raise
    except Exception as error:  # timm, torch, huggingface_hub and the file system raise many kinds
        raise InputError(f"cannot load pretrained weights of {name!r}: {one_line(error)}") from error
    cfg: Any = network.pretrained_cfg
    tag, repository = cfg.get("tag"), cfg.get("hf_hub_id")
    results = RELEASES / str(repository).rpartition("/")[2] / _RESULTS
    dataset = Results.load(results).dataset if repository and results.is_file() else None
    full_name = ".".join(part for part in (split_model_name_tag(name)[0], tag) if part)
    return Initial(network.state_dict(), InitialWeights(full_name, digest, dataset, repository, cfg.get("license")))
