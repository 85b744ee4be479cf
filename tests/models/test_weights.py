"""Model folders: saved, loaded by timm, and errors if weights and model do not match."""

from __future__ import annotations

import hashlib
import json
import re
from collections import OrderedDict
from contextlib import nullcontext

import pytest
import safetensors.torch
import timm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from support.example_run import CLASSES, SMALL, write_run
from timm_pushpull import InputError, convert_stem
from timm_pushpull.data.preprocessing import ResizeCenterCrop
from timm_pushpull.layers.push_pull_base import push_pull_layers
from timm_pushpull.models.checkpoints import stem_settings
from timm_pushpull.models.weights import create_model, label_names, load_model, save_model, stem_avg_size, tag_of


@pytest.mark.parametrize(
    "name", ["resnet18_cifar", "resnet18_cifar_pushpull", "efficientnet_b0_pushpull", "test_convnext"]
)
def test_timm_loads_a_folder_with_identical_logits(tmp_path, name):
    model = write_run(tmp_path / "run", name)
    loaded = timm.create_model(f"local-dir:{tmp_path / 'run'}", pretrained=True).eval()
    x = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(loaded(x), model(x), rtol=0, atol=0)
    config = timm.data.resolve_model_data_config(loaded)
    assert tuple(config["input_size"]) == (3, 32, 32)
    assert (tuple(config["mean"]), tuple(config["std"])) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    assert config["crop_pct"] == pytest.approx(32 / 36)
    assert list(label_names(loaded)) == list(CLASSES)
    assert loaded.pretrained_cfg["tag"] == "photos"


def test_the_pooling_travels_with_the_weights(tmp_path):
    folder = tmp_path / "run"
    model = write_run(folder, avg_size=5)
    assert json.loads((folder / "config.json").read_text())["model_args"] == {"avg_size": 5}
    loaded = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    x = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(loaded(x), model(x), rtol=0, atol=0)


def test_the_same_weights_are_the_same_file(tmp_path):
    model, options = create_model("resnet18_cifar_pushpull", **SMALL), {"mean": (0, 0, 0), "std": (1, 1, 1), "tag": "x"}
    names = tuple(map(str, range(model.num_classes)))
    hashes = {
        save_model(model, tmp_path, classes=names, geometry=ResizeCenterCrop(32, 36), **options) for _ in range(9)
    }
    assert len(hashes) == 1
    stored = safetensors.torch.load_file(tmp_path / "model.safetensors")
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(stored[name], tensor, rtol=0, atol=0, msg=name)


def test_tied_weights_are_saved(tmp_path):
    model = timm.create_model("coat_lite_mini", num_classes=2)
    about = {"geometry": ResizeCenterCrop(32, 36), "mean": (0.5,) * 3, "std": (0.5,) * 3, "tag": "photos"}
    save_model(model, tmp_path, classes=CLASSES, **about)
    again = timm.create_model(f"local-dir:{tmp_path}", pretrained=True)
    assert all(torch.equal(again.state_dict()[name], tensor) for name, tensor in model.state_dict().items())


def test_half_weights_take_half_the_space_and_load_as_float32(tmp_path):
    model = write_run(tmp_path / "run")
    whole = (tmp_path / "run" / "model.safetensors").stat().st_size
    geometry, statistics = ResizeCenterCrop(32, 36), {"mean": (0, 0, 0), "std": (1, 1, 1)}
    save_model(model, tmp_path, classes=CLASSES, geometry=geometry, **statistics, tag="photos", half=True)
    assert (tmp_path / "model.safetensors").stat().st_size < 0.51 * whole
    loaded = timm.create_model(f"local-dir:{tmp_path}", pretrained=True).eval()
    for (name, tensor), original in zip(loaded.state_dict().items(), model.state_dict().values(), strict=True):
        expected = original.half().float() if original.is_floating_point() else original
        torch.testing.assert_close(tensor, expected, rtol=0, atol=0, msg=name)
    model.bn1.running_var[3] = 1e6
    save_model(model, tmp_path, classes=CLASSES, geometry=geometry, **statistics, tag="photos", half=True)
    stored = safetensors.torch.load_file(tmp_path / "model.safetensors")
    assert {name for name, tensor in stored.items() if tensor.dtype == torch.float32} == {"bn1.running_var"}
    assert torch.equal(stored["bn1.running_var"], model.bn1.running_var)  # beyond float16's range


def test_weights_of_another_pooling_are_refused_wherever_they_come_from(tmp_path):
    folder, name = tmp_path / "run", "resnet18_cifar_pushpull"
    model = write_run(folder, name, avg_size=5)
    message = "avg_size is 3 but these weights were trained with 5; use avg_size=5"
    with pytest.raises(InputError, match=message):
        load_model(name, str(folder / "model.safetensors"))
    with pytest.raises(InputError, match=message):
        timm.create_model(f"local-dir:{folder}", pretrained=True, avg_size=3)
    overlay = {"file": str(folder / "model.safetensors"), "num_classes": model.num_classes}
    options = {"pretrained": True, "num_classes": model.num_classes, "pretrained_cfg_overlay": overlay}
    with pytest.raises(InputError, match=message):
        timm.create_model(name, **options)
    assert stem_avg_size(timm.create_model(name, avg_size=5, **options)) == 5


@pytest.mark.parametrize("kind", ["safetensors", "pth", "pth.tar", "ddp.pth"])
def test_timm_s_own_routes_refuse_weights_of_another_pooling(tmp_path, kind):
    """timm's readers drop the metadata of state dicts and the headers of safetensors files."""
    name, path = "resnet18_cifar_pushpull", tmp_path / "run" / f"model.{kind}"
    model = write_run(tmp_path / "run", name, avg_size=5)
    wrapped = {"ddp.pth": torch.nn.Sequential(OrderedDict(module=model))}.get(kind, model)
    if kind != "safetensors":
        torch.save({"state_dict": wrapped.state_dict()} if kind == "pth.tar" else wrapped.state_dict(), path)
    options = {"num_classes": model.num_classes}
    x = torch.randn(1, 3, 32, 32)
    same = timm.create_model(name, avg_size=5, checkpoint_path=str(path), **options).eval()
    torch.testing.assert_close(same(x), model(x))
    other = timm.create_model(name, **options)
    message = "conv1 has avg_size 3 but these weights were saved with 5"
    with pytest.raises(RuntimeError, match=message):
        timm.create_model(name, checkpoint_path=str(path), **options)
    for strict in (True, False):
        with pytest.raises(RuntimeError, match=message):
            timm.models.load_checkpoint(other, str(path), strict=strict)
    with pytest.raises(RuntimeError, match=message):
        other.load_state_dict(timm.models.load_state_dict(str(path)))
    overlay = {"file": str(path), "num_classes": model.num_classes}
    with pytest.raises(InputError, match="avg_size is 3 but these weights were trained with 5"):
        timm.create_model(name, pretrained=True, pretrained_cfg_overlay=overlay, **options)
    other.pretrained_cfg = {**other.pretrained_cfg, **overlay}
    with pytest.raises(RuntimeError, match=message):
        timm.models.load_pretrained(other, num_classes=model.num_classes)
    if kind == "pth.tar":  # timm's train.py --resume
        with pytest.raises(RuntimeError, match=message):
            timm.models.resume_checkpoint(other, str(path))


def test_the_pooling_of_a_folder_that_timm_saved_is_in_its_config(tmp_path):
    """timm's save_for_hf writes no header into the safetensors file."""
    model = timm.create_model("resnet18_cifar_pushpull", avg_size=5, num_classes=2)
    timm.models.save_for_hf(model, tmp_path, safe_serialization=True)
    options = {"num_classes": 2, "checkpoint_path": str(tmp_path / "model.safetensors")}
    assert stem_avg_size(timm.create_model("resnet18_cifar_pushpull", avg_size=5, **options)) == 5
    with pytest.raises(RuntimeError, match="conv1 has avg_size 3 but these weights were saved with 5"):
        timm.create_model("resnet18_cifar_pushpull", **options)


def test_the_pooling_of_a_folder_that_timm_saved_is_in_the_name_of_the_network(tmp_path):
    """timm writes the arguments that a caller has given, and an entry point's own not."""
    model = timm.create_model("resnet18_cifar_pushpull5", num_classes=2)
    timm.models.save_for_hf(model, tmp_path, model_config={"num_classes": 2}, safe_serialization=True)
    path = tmp_path / "model.safetensors"
    for name in ("resnet18_cifar_pushpull5", "resnet18_cifar_pushpull"):
        other = timm.create_model(name, num_classes=2)
        with nullcontext() if name.endswith("5") else pytest.raises(RuntimeError, match="saved with 5"):
            timm.models.load_checkpoint(other, str(path))
    with pytest.raises(InputError, match="avg_size is 3 but these weights were trained with 5"):
        timm.create_model(
            "resnet18_cifar_pushpull",
            num_classes=2,
            pretrained=True,
            pretrained_cfg_overlay={"file": str(path), "num_classes": 2},
        )


@pytest.mark.parametrize("name", timm.list_models("*pushpull*"))
def test_the_name_of_a_network_says_its_pooling(name):
    with torch.device("meta"):
        layer = push_pull_layers(timm.create_model(name))[0]
    assert stem_settings({"architecture": name}) == {layer.metadata_key: getattr(layer, layer.metadata_key)}


def test_the_scale_of_a_layer_of_2020_is_checked_too(tmp_path):
    model = timm.create_model("resnet18_cifar_pushpull2020", num_classes=2, scale=1.5)
    timm.models.save_for_hf(model, tmp_path, safe_serialization=True)
    options = {"num_classes": 2, "checkpoint_path": str(tmp_path / "model.safetensors")}
    timm.create_model("resnet18_cifar_pushpull2020", scale=1.5, **options)
    with pytest.raises(RuntimeError, match=r"conv1 has scale 2.0 but these weights were saved with 1.5"):
        timm.create_model("resnet18_cifar_pushpull2020", **options)
    with pytest.raises(InputError, match=r"scale is 2.0 but these weights were trained with 1.5; use scale=1.5"):
        timm.create_model(f"local-dir:{tmp_path}", pretrained=True, scale=2.0)


@pytest.mark.parametrize("trainable", [True, False])
def test_transformers_initialises_a_missing_alpha(tmp_path, trainable):
    """It creates networks on the meta device, and what the weights lack is uninitialised memory at first."""
    from transformers import AutoModelForImageClassification

    model = write_run(tmp_path / "run", alpha=0.25, trainable_alpha=trainable)
    state = {name: tensor for name, tensor in model.state_dict().items() if not name.endswith("alpha")}
    safetensors.torch.save_file(state, tmp_path / "run" / "model.safetensors", metadata={"format": "pt"})
    loaded = AutoModelForImageClassification.from_pretrained(tmp_path / "run").timm_model
    assert (loaded.conv1.alpha == 0.25).all()
    assert torch.equal(loaded.conv1.weight, model.conv1.weight)


def test_push_pull_weights_do_not_load_into_a_plain_network(tmp_path):
    model = write_run(tmp_path / "run", "resnet18_cifar_pushpull")
    overlay = {"file": str(tmp_path / "run" / "model.safetensors"), "num_classes": model.num_classes}
    for classes in (model.num_classes, 2):  # with another head, timm loads with strict=False
        with pytest.raises(InputError, match=r"conv1\.alpha"):
            timm.create_model("resnet18_cifar", pretrained=True, num_classes=classes, pretrained_cfg_overlay=overlay)


@pytest.mark.parametrize("name", ["resnet18", "convnext_atto"])
@pytest.mark.parametrize("options", [{"num_classes": 3}, {"features_only": True}])
def test_push_pull_weights_do_not_load_into_a_network_of_timm(tmp_path, name, options):
    """timm loads with `strict=False` then, and dropped alpha."""
    save_file(convert_stem(timm.create_model(name, num_classes=2)).state_dict(), tmp_path / "model.safetensors")
    overlay = {"file": str(tmp_path / "model.safetensors"), "num_classes": 2}
    with pytest.raises(InputError, match=r"the weights have .*\.alpha, so they are of a push-pull network"):
        timm.create_model(name, pretrained=True, pretrained_cfg_overlay=overlay, **options)


@pytest.mark.parametrize(("saved", "own"), [("", "2020"), ("2020", "")])
@pytest.mark.parametrize("by", ["save_file", "torch.save"])
@pytest.mark.parametrize("classes", [2, 3])
def test_layers_of_2020_and_of_2024_do_not_share_weights(tmp_path, saved, own, by, classes):
    """Two filter functions completed the state dict, so that it fitted."""
    state = timm.create_model(f"resnet18_cifar_pushpull{saved}", num_classes=2).state_dict()
    file = tmp_path / ("other.safetensors" if by == "save_file" else "model.pth")
    save_file(state, file) if by == "save_file" else torch.save(state, file)
    overlay = {"file": str(file), "num_classes": 2}
    with pytest.raises(
        InputError, match=f"push-pull layer of {saved or 2024}, and the model has that of {own or 2024}"
    ):
        timm.create_model(
            f"resnet18_cifar_pushpull{own}", pretrained=True, num_classes=classes, pretrained_cfg_overlay=overlay
        )


@pytest.mark.parametrize("source", ["folder", "weights folder", "weights file"])
def test_load_model_names_its_weights_by_hash(tmp_path, source):
    folder = tmp_path / "run"
    written = write_run(folder)
    name, weights = {
        "folder": (f"local-dir:{folder}", None),
        "weights folder": ("resnet18_cifar_pushpull", f"local-dir:{folder}"),
        "weights file": ("resnet18_cifar_pushpull", str(folder / "model.safetensors")),
    }[source]
    model, sha256 = load_model(name, weights)
    assert sha256 == hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    assert not model.training
    x = torch.randn(1, 3, 32, 32)
    torch.testing.assert_close(model(x), written(x), rtol=0, atol=0)


def test_what_does_not_fit_is_named(tmp_path):
    folder = tmp_path / "run"
    write_run(folder)
    pickle = tmp_path / "weights.pth"
    pickle.write_bytes(b"")
    truncated = tmp_path / "truncated.safetensors"
    truncated.write_bytes((folder / "model.safetensors").read_bytes()[:1000])
    for name, weights, message in (
        ("resnet18_cifr", None, "did you mean 'resnet18_cifar'"),
        ("resnet50_pushpull5", None, "has no published weights yet"),
        ("resnet18_cifar", f"local-dir:{folder}", "are of resnet18_cifar_pushpull, not of resnet18_cifar"),
        ("resnet18_cifar_pushpull", f"local-dir:{tmp_path}", "lacks config.json and model.safetensors"),
        ("resnet18_cifar_pushpull", str(pickle), "weights.pth' cannot be read"),
        ("resnet18_cifar_pushpull", str(truncated), "truncated.safetensors' cannot be read"),
        ("resnet18_cifar", str(folder / "model.safetensors"), "conv1.alpha"),
        (f"local-dir:{folder}", str(tmp_path / "other.pth"), "has weights of its own; leave out .*other.pth"),
    ):
        with pytest.raises(InputError, match=message):
            load_model(name, weights)


@settings(deadline=None)
@given(st.text(max_size=60))
def test_a_tag_can_be_published_whatever_the_dataset_is_called(dataset):
    assert re.fullmatch("[A-Za-z0-9_-]{1,40}", tag_of(dataset))
    assert tag_of(tag_of(dataset)) == tag_of(dataset)
