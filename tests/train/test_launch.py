"""What would spoil a training's result is refused before the first step, in one line."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from accelerate.utils import DistributedType

from support.example_training import MODEL, folder_arguments
from support.image_folder import make_image_folder
from support.processes import assert_one_clear_line, run_command
from timm_pushpull import InputError
from train import launch, train
from train.run_folder import Checkpoints


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return make_image_folder(tmp_path_factory.mktemp("launch") / "images")


@pytest.mark.parametrize(
    ("environment", "options", "words"),
    [
        ({"ACCELERATE_DYNAMO_BACKEND": "INDUCTOR"}, (), ["compile with dynamo (inductor)", "--torchcompile"]),
        ({"ACCELERATE_DYNAMO_BACKEND": "NONSENSE"}, (), ["Accelerate does not start: 'NONSENSE'", "ACCELERATE_"]),
        ({"ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "0"}, (), ["ACCUMULATION_STEPS is '0'", "--grad-accum-steps"]),
        ({"ACCELERATE_MIXED_PRECISION": "fp16", "ACCELERATE_USE_CPU": "1"}, (), ["mixed precision 'fp16'"]),
        ({"ACCELERATE_MIXED_PRECISION": "fp8"}, (), ["mixed precision 'fp8'"]),
        ({"ACCELERATE_MIXED_PRECISION": "bf16", "ACCELERATE_USE_CPU": "1"}, (), ["the precision is fp32"]),
    ],
)
def test_settings_of_the_launcher_that_train_py_does_not_follow(dataset, tmp_path, environment, options, words):
    process = run_command(*folder_arguments(dataset, tmp_path / "run"), *options, **environment)
    assert_one_clear_line(process, *words)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("kind", ["FSDP", "DEEPSPEED", "MEGATRON_LM"])
def test_networks_that_are_divided_among_processes(kind, monkeypatch):
    """Accelerate has these with several GPUs only."""
    monkeypatch.setattr(launch, "Accelerator", lambda **_: SimpleNamespace(distributed_type=DistributedType[kind]))
    with pytest.raises(InputError, match=rf"{kind} is not supported; use a configuration from train/clusters"):
        launch.start_accelerator("cpu", "fp32")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["num_classes=10"], ["model_args has num_classes", "the dataset decides"]),
        (["in_chans=1"], ["model_args has in_chans"]),
        (["features_only=true"], ["model_args has features_only"]),
        (["pretrained=true"], ["model_args has pretrained", "--pretrained"]),
        (["checkpoint_path=x.pth"], ["model_args has checkpoint_path", "--initial-checkpoint"]),
        (["avg_size=2"], ["avg_size is 2", "odd size"]),
        (["avg_size=two"], ["avg_size is 'two'; use 0"]),
        (["act_layer=foo"], [f"cannot create {MODEL}"]),
        (["drop_rate=2"], [f"{MODEL} fails on images of 32 px", "dropout probability"]),
        (["layers=[1]"], [f"cannot create {MODEL}"]),
    ],
)
def test_arguments_of_the_network(dataset, tmp_path, run_inside, arguments, words):
    command = folder_arguments(dataset, tmp_path / "run", **{"model-args": arguments})
    assert_one_clear_line(run_inside(train.main, *command), *words)
    assert not (tmp_path / "run").exists()


def test_a_test_size_that_does_not_go_with_the_network_or_the_benchmark(dataset, tmp_path, run_inside):
    vit = {"model": "vit_tiny_patch16_224", "model-args": ["img_size=32", "patch_size=8"]}
    cases = ((vit, 40, ["fails on images of 40 px", "--test-img-size"]), ({}, 4, ["cifar10-c", "at least 8 px"]))
    for options, size, words in cases:
        command = folder_arguments(dataset, tmp_path / "run", **options, **{"img-size": 32, "test-img-size": size})
        assert_one_clear_line(run_inside(train.main, *command), *words)
    assert not (tmp_path / "run").exists()


def test_a_network_without_one_output_per_class(dataset, tmp_path, run_inside):
    command = folder_arguments(dataset, tmp_path / "run", **{"model": "vgg11", "model-args": ["global_pool=''"]})
    process = run_inside(train.main, *command)
    assert_one_clear_line(process, "vgg11 fails on images of 224 px", "--model-args")


def test_a_size_that_a_network_does_not_take(dataset, tmp_path, run_inside):
    changes = {"model": "vit_tiny_patch16_224", "model-args": [], "img-size": 32, "resize": 36}
    process = run_inside(train.main, *folder_arguments(dataset, tmp_path / "run", **changes))
    assert_one_clear_line(process, "vit_tiny_patch16_224 fails on images of 32 px", "--img-size")


def test_good_checkpoints_of_another_run_are_not_given_up(tmp_path):
    """--overwrite, which is the advice for damaged ones, would destroy them."""
    Checkpoints(tmp_path, {"seed": 1}, save_minutes=1).save(3, {"step": 3})
    with pytest.raises(
        InputError, match=r"can be loaded; resume with the settings of that run, or use another --output"
    ):
        Checkpoints(tmp_path, {"seed": 2}, save_minutes=1).load(lambda content: None, print)
    (tmp_path / "state" / "step-00000003.pt").write_bytes(b"damaged")
    with pytest.raises(InputError, match=r"start again with --overwrite"):
        Checkpoints(tmp_path, {"seed": 2}, save_minutes=1).load(lambda content: None, print)
