"""The flags of train.py: timm's names, the help text, and networks whose stem is converted."""

from __future__ import annotations

import re
import shlex
from dataclasses import fields

import pytest

from support.image_folder import make_image_folder
from support.paths import needs_releases
from support.processes import assert_one_clear_line
from timm_pushpull.models.weights import create_model, load_model, weights_hash
from timm_pushpull.utils.errors import InputError
from train import train
from train.command_line import parse, training_command
from train.initial import read_initial
from train.settings import Settings, load_recipe


def setting(*arguments: str) -> Settings:
    return parse(["--model", "resnet18_cifar", *arguments])[1]


@pytest.mark.parametrize(
    ("flags", "ours"),
    [
        ("--data-dir x --input-key i --target-key l", "--dataset x --image-column i --label-column l"),
        ("-b 8 -j 2", "--batch-size 8 --workers 2"),
        ("--sched step --dr 0.3", "--sched step --decay-rate 0.3"),
        ("--pretrained-path x.pth", "--initial-checkpoint x.pth"),
        ("--model-kwargs alpha=2", "--model-args alpha=2"),
        ("--amp", "--precision bf16"),
        ("--amp --amp-dtype bfloat16", "--precision bf16"),
        ("--no-amp", "--precision fp32"),
        ("--drop 0.1 --drop-path 0.2", "--model-args drop_rate=0.1 drop_path_rate=0.2"),
        ("--drop-block 0.1 --gp max", "--model-args drop_block_rate=0.1 global_pool=max"),
        ("--model-args alpha=2 --drop 0.1", "--model-args alpha=2 drop_rate=0.1"),
        ("--model-ema", "--model-ema-decay 0.9998"),
        ("--model-ema --model-ema-decay 0.9", "--model-ema-decay 0.9"),
        ("--model-ema", "--model-ema-decay 0.9998 --model-ema-warmup"),
        ("--no-model-ema", ""),
        ("-c cifar10", "--recipe cifar10"),
    ],
)
def test_flags_of_timm_are_settings_of_ours(flags, ours):
    assert setting(*flags.split()) == setting(*ours.split())


def test_flags_for_the_model_are_added_to_the_arguments_of_the_recipe():
    given = parse(["--recipe", "imagenet100", "--drop-path", "0.05"])[1]
    assert given.model_args == {"zero_init_last": False, "drop_path_rate": 0.05}


def test_arguments_of_the_model_may_be_given_in_parts():
    assert setting("--model-args", "alpha=2", "--model-args", "avg_size=5").model_args == {"alpha": 2, "avg_size": 5}
    assert setting("--model-args", "alpha=2", "--model-args").model_args == {}


def test_a_recipe_s_average_of_the_weights_can_be_left_out(tmp_path):
    recipe = tmp_path / "a.yaml"
    recipe.write_text("{models: [resnet18], model_ema_decay: 0.99}")
    for flags, decay in (([], 0.99), (["--model-ema"], 0.99), (["--no-model-ema"], None)):
        assert parse(["--recipe", str(recipe), *flags])[1].model_ema_decay == decay


@pytest.mark.parametrize(
    ("average", "flags", "warmup"),
    [
        ("model_ema_decay: null", "", False),
        ("model_ema_decay: null", "--model-ema", True),
        ("model_ema_decay: null", "--model-ema-decay 0.99", True),
        ("model_ema_decay: null", "--model-ema --no-model-ema-warmup", False),
        ("model_ema_decay: 0.99", "--model-ema", False),
        ("model_ema_decay: 0.99", "--model-ema-decay 0.9", False),
        ("model_ema_decay: 0.99", "--model-ema-warmup", True),
    ],
)
def test_an_average_that_a_flag_adds_warms_up_and_a_recipe_s_as_the_recipe_says(tmp_path, average, flags, warmup):
    (tmp_path / "a.yaml").write_text(f"{{models: [resnet18], {average}}}")
    assert parse(["--recipe", str(tmp_path / "a.yaml"), *flags.split()])[1].model_ema_warmup is warmup


def test_none_takes_back_what_a_recipe_sets(tmp_path):
    recipe, lines = tmp_path / "a.yaml", ["models: [resnet18]", "num_classes: 3"]
    values = {"resize": 40, "clip_grad": 1.0, "layer_decay": 0.5, "augmentation": "augmix", "opt_betas": [0.8, 0.9]}
    recipe.write_text("\n".join([*lines, *(f"{name}: {value}" for name, value in values.items())]))
    nothing = dict.fromkeys(values)
    command = training_command(str(recipe), "resnet18", tmp_path / "run", nothing)
    given = parse(command[2:])[1]
    assert [getattr(given, name) for name in values] == [None] * len(values)
    assert given.num_classes == 3
    assert given == load_recipe(recipe, nothing)
    assert setting("--recipe", "imagenet1k", "--resize", "none", "--scale", "0.08", "1").resize is None
    for entry in fields(Settings):
        if entry.default is None:
            assert getattr(setting(f"--{entry.name.replace('_', '-')}", "none", "--sched", "step"), entry.name) is None


@pytest.mark.parametrize(
    ("flags", "advice"),
    [
        ("--recipe imagenet1k --scale 0.08 1", "use --resize none or --scale none"),
        ("--crop-padding 2 --scale 0.08 1", "use --crop-padding 0 or --scale none"),
        ("--recipe imagenet1k-a3 --no-bce-loss", "add --bce-loss, or --bce-target-thresh none"),
        ("--recipe imagenette --scale none --ratio 0.5 2", "or --ratio none"),
        ("--scale none 1 --crop-padding 0", "scale is None; give float values"),
    ],
)
def test_settings_that_exclude_each_other_say_how_to_take_one_back(flags, advice):
    with pytest.raises(InputError, match=re.escape(advice)):
        parse(flags.split())


def test_wandb_has_timm_s_flag():
    assert parse(["--log-wandb"])[0].tracker == "wandb"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("--amp-dtype float16", ["'float16' is not supported; use bfloat16"]),
        ("--drop 0.1 --model-args drop_rate=0.2", ["--drop is drop_rate of --model-args, which is given too"]),
        ("--convert-stem", ["--convert-stem is for one network; add its --model"]),
        ("--model resnet18 --convert-stem --model-args base=resnet34", ["model_args has base 'resnet34'"]),
        ("--model vgg11 --drop-path 0.1 --model-args", ["cannot create vgg11: it has no argument drop_path_rate"]),
        ("--model convnext_ato --convert-stem --model-args", ["unknown base 'convnext_ato'", "'convnext_atto'"]),
        ("--model csatv2 --convert-stem --model-args", ["csatv2 does not begin with a convolution"]),
        ("--model vgg11 --convert-stem --model-args b=1", ["cannot create vgg11: it has no argument b"]),
        ("--grad-checkpointing", ["--grad-checkpointing is not supported; --grad-accum-steps"]),
        ("--vflip 2", ["vflip is 2.0; use at least 0 and at most 1"]),
        ("--warmup-epochs 5", ["--warmup-epochs is for --sched cosine", "sched is onecycle; --warmup is its fraction"]),
        ("--recipe finetune --model resnet18.imagenette", ["resnet18 has no weights resnet18.imagenette"]),
        ("--model resnet18_pushpull --convert-stem", ["conv1 is a PushPullConv2d already; leave the conversion out"]),
        ("--model vit_tiny_patch16_224 --img-size 32", ["add --model-args img_size=32"]),
        ("--classes nowhere.txt", ["nowhere.txt"]),
        ("--min-lr 3", ["min_lr is 3, above the highest learning rate"]),
        ("--sched step --three-phase", ["--three-phase is for --sched onecycle, and sched is step; leave it out"]),
        ("--save-minutes nan", ["--save-minutes is nan; use at least 0"]),
        ("--opt lookahead_kron", ["optimizer 'lookahead_kron' is not supported"]),
        ("--model resnet18_cifar_pushpul --dataset nowhere", ["unknown model 'resnet18_cifar_pushpul'; did you mean"]),
        ("--model resnet18_cifar_pushpull --model-args alpha=foo", ["alpha is 'foo'; give one number or 64"]),
        ("--model resnet18_cifar_pushpull --model-args avg_size=3.0", ["avg_size is 3.0; use 0"]),
    ],
)
def test_bad_flags_are_one_line(tmp_path, run_inside, given, words):
    images = make_image_folder(tmp_path / "images")
    where = ["--dataset", images, "--output", tmp_path / "run", "-b", "8", "--precision", "fp32"]
    process = run_inside(train.main, "train.py", *where, *given.split())
    assert_one_clear_line(process, *words)
    assert not (tmp_path / "run").exists()


def test_the_help_says_every_default_and_its_examples_are_valid(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    with pytest.raises(SystemExit):
        parse(["--help"])
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 100
    options, examples = text.split("examples:")
    entries = {flag: entry for entry in re.split(r"\n  (?=-)", options) for flag in re.findall(r"^--?[\w-]+", entry)}
    entries |= {flag: entry for entry in entries.values() for flag in re.findall(r"--[\w-]+", entry.split("  ")[0])}
    for entry in fields(Settings):
        if entry.name != "models":
            assert "(default: " in " ".join(entries[f"--{entry.name.replace('_', '-')}"].split()), entry.name
    for group in ("model", "dataset", "optimizer", "learning rate schedule", "machine", "benchmark"):
        assert f"\n{group}:\n" in text
    commands = [shlex.split(line) for line in examples.replace("\\\n", "").splitlines() if line.strip()]
    assert len(commands) == 4
    for words in commands:
        parse(words[words.index("train/train.py") + 1 :])


def test_a_converted_network_is_a_setting_and_its_recipe_trains_it_again(tmp_path):
    options, given = parse(["--model", "convnext_atto.d2_in1k", "--convert-stem", "--model-args", "avg_size=5"])
    assert options.single
    assert given.models == ("pushpull_stem",)
    assert given.model_args == {"base": "convnext_atto.d2_in1k", "avg_size": 5}
    assert options.overrides == ["model_args is {'avg_size': 5}, not {}"]
    (tmp_path / "recipe.yaml").write_text(given.to_yaml())
    assert load_recipe(tmp_path / "recipe.yaml") == given
    command = training_command("digits", given.models[0], tmp_path, {"model_args": given.model_args})
    assert parse(command[2:])[1] == given


@needs_releases
def test_a_converted_network_starts_from_the_plain_network_s_weights():
    given = parse(["--model", "resnet18_cifar.cifar10", "--convert-stem", "--pretrained", "--model-args", "alpha=2"])[1]
    weights = read_initial(given, given.models[0])
    assert weights.record.name == "resnet18_cifar.cifar10"
    assert weights.record.repository == "timm-pushpull/resnet18_cifar.cifar10"
    assert not [name for name in weights.state if name.endswith(".alpha")]


@needs_releases
def test_the_hash_of_a_converted_network_s_weights_is_not_the_plain_one_s():
    """Its errors depend on alpha, which no file of plain weights holds."""
    digests = {load_model("pushpull_stem", None, {"base": "resnet18_cifar.cifar10", "alpha": a})[1] for a in (0, 1)}
    assert len({*digests, load_model("resnet18_cifar.cifar10")[1]}) == 3
    assert weights_hash(create_model("pushpull_stem", base="resnet18_cifar")) not in digests
