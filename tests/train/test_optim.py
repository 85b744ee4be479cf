"""timm's optimizers and schedules: their groups and learning rates, errors, and runs that go on exactly."""

from __future__ import annotations

import io
import time
from pathlib import Path

import pytest
import torch
from timm.optim import create_optimizer_v2
from timm.scheduler import CosineLRScheduler

from support.example_run import SMALL
from support.example_training import assert_same, digits_arguments, read_checkpoint, small_trainer
from support.example_training import folder_arguments as arguments
from support.image_folder import make_image_folder
from support.processes import Command, assert_one_clear_line, launch, wait_for_all
from timm_pushpull.models.weights import create_model
from train import train
from train.command_line import parse
from train.optim import create_optimizer, create_scheduler
from train.settings import Settings
from train.trainer import Trainer

NETWORK = {"models": ("resnet18_cifar_pushpull",), "model_args": SMALL}
#: The optimizers whose runs are resumed here, with their settings.
RESUMED = {
    "adamw": {"opt": "adamw", "lr": 1e-3, "filter_bias_and_bn": True},
    "muon": {"opt": "muon", "lr": 1e-2, "layer_decay": 0.8},
    "lamb": {"opt": "lamb", "lr": 1e-2, "weight_decay": 0.02, "opt_eps": 1e-6},
    "lookahead_sgd": {"opt": "lookahead_sgd", "lr": 1e-2},
}


def step(trainer: Trainer, number: int) -> None:
    generator = torch.Generator().manual_seed(number)
    images = torch.randint(0, 256, (6, 32, 32, 3), generator=generator, dtype=torch.uint8)
    trainer.model.train()
    trainer.train_step(number, iter([(images, torch.arange(6) % 3)]), 6)


@pytest.mark.parametrize("sched", ["onecycle", "cosine", "step"])
@pytest.mark.parametrize("name", RESUMED)
def test_a_resumed_trainer_ends_as_the_whole_one(name, sched):
    changes = {
        **NETWORK,
        **RESUMED[name],
        "sched": sched,
        "warmup_epochs": 1,
        "decay_epochs": 1,
        "model_ema_decay": 0.9,
        "model_ema_warmup": True,
    }
    whole, first = small_trainer(**changes), small_trainer(**changes)
    for number in range(4):
        step(whole, number)
    for number in range(2):
        step(first, number)
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    resumed = small_trainer(**changes)
    resumed.load_state_dict(torch.load(file, weights_only=True))
    assert resumed.next_lr == first.next_lr
    for number in range(2, 4):
        step(resumed, number)
    assert_same(resumed.state_dict(), whole.state_dict())


def test_the_warmup_of_the_average_follows_timm_s_formula():
    """Without it, a decay of 0.9998 keeps the weights of the first steps in a run of a few hundred."""
    trainer = small_trainer(**NETWORK, model_ema_decay=0.9998, model_ema_warmup=True)
    for number in range(4):
        before = trainer.released.conv1.weight.clone()
        step(trainer, number)
    decay = 1 - 3 ** (-2 / 3)
    expected = decay * before + (1 - decay) * trainer.network.conv1.weight
    torch.testing.assert_close(trainer.released.conv1.weight, expected)


@pytest.mark.parametrize(
    ("recipe", "flags", "rates"),
    [
        ("{}", "", (5e-3, 5e-6)),
        ("{}", "--lr 1e-3", (4e-5, 1e-6)),
        ("{warmup_lr: 5.0e-3, min_lr: 5.0e-6}", "--opt adamw --lr 1e-3", (4e-5, 5e-6)),
        ("{warmup_lr: 5.0e-3, min_lr: 5.0e-6}", "--lr 1e-6", (4e-8, 1e-9)),
        ("{warmup_lr: 5.0e-3, min_lr: 5.0e-6}", "--lr 0.01", (5e-3, 5e-6)),
        ("{warmup_lr: 5.0e-3}", "--lr 1e-3 --warmup-lr 2e-3", (2e-3, 1e-6)),
        ("{}", "--sched cosine --warmup-epochs 1 --lr 1e-3", (None, None)),
        ("{warmup_lr: 5.0e-3}", "--sched cosine --lr 1e-3", (None, None)),
        ("{warmup_lr: 1.0e-6, sched: cosine, lr: 5.0e-4}", "--sched poly", (1e-6, None)),
    ],
)
def test_no_schedule_begins_above_its_highest_rate(tmp_path, recipe, flags, rates):
    (tmp_path / "a.yaml").write_text(recipe.replace("{", "{models: [resnet18], ").replace(", }", "}"))
    settings = parse(["--recipe", str(tmp_path / "a.yaml"), *flags.split()])[1]
    assert (settings.warmup_lr, settings.min_lr) == pytest.approx(rates)


def test_a_warmup_of_timm_s_schedules_rises_to_the_lowest_rates():
    settings = Settings(models=("x",), sched="cosine", warmup_epochs=1, lr=1e-6)
    optimizer = torch.optim.SGD(torch.nn.Linear(2, 2).parameters(), lr=1e-6)
    create_scheduler(settings, optimizer, steps_per_epoch=4)
    assert optimizer.param_groups[0]["lr"] == 1e-6


def group_of(optimizer: torch.optim.Optimizer, parameter: torch.Tensor) -> dict:
    (found,) = [group for group in optimizer.param_groups if any(parameter is one for one in group["params"])]
    return found


@pytest.mark.parametrize("opt", ["adamw", "muon", "lamb", "momentum"])
def test_alpha_is_a_scale_of_the_stem(opt):
    """No decay where biases have none; the learning rate of the stem's layer."""
    network = create_model("resnet18_cifar_pushpull", **SMALL)
    settings = Settings(models=("x",), opt=opt, weight_decay=0.05, filter_bias_and_bn=True, layer_decay=0.5, lr=0.1)
    optimizer = create_optimizer(settings, network, torch.device("cpu"))
    alpha, stem, last = (
        group_of(optimizer, one) for one in (network.conv1.alpha, network.conv1.weight, network.fc.weight)
    )
    assert (alpha["weight_decay"], stem["weight_decay"]) == (0, 0.05)
    assert alpha["lr_scale"] == stem["lr_scale"] < last["lr_scale"] == 1
    assert group_of(optimizer, network.fc.bias)["weight_decay"] == 0
    scheduler = create_scheduler(settings, optimizer, steps_per_epoch=4)
    for _ in range(36):  # 0.3 of 30 epochs
        optimizer.step()
        scheduler.step()
    assert last["lr"] > 0.09
    assert stem["lr"] == pytest.approx(last["lr"] * stem["lr_scale"])
    plain = create_optimizer(Settings(models=("x",), opt=opt, weight_decay=0.05), network, torch.device("cpu"))
    assert [group["weight_decay"] for group in plain.param_groups] == [0.05]


def test_arguments_reach_timm():
    network = create_model("resnet18_cifar_pushpull", **SMALL)
    given = [
        "--opt",
        "adamw",
        "--opt-eps",
        "1e-5",
        "--opt-betas",
        "0.8",
        "0.9",
        "--opt-kwargs",
        "amsgrad=true",
        "--lr",
        "0.01",
    ]
    _, settings = parse(given)
    ours = create_optimizer(settings, network, torch.device("cpu"))
    theirs = create_optimizer_v2(
        network.parameters(), "adamw", lr=0.01, weight_decay=1e-5, eps=1e-5, betas=(0.8, 0.9), amsgrad=True
    )
    assert type(ours) is type(theirs)
    assert ours.defaults == theirs.defaults


def test_the_cosine_schedule_is_timm_s_counted_in_steps():
    settings = Settings(models=("x",), opt="adamw", sched="cosine", lr=0.1, epochs=5, warmup_epochs=1.5, min_lr=1e-4)
    weights = torch.nn.Linear(2, 2)
    ours, theirs = (torch.optim.AdamW(weights.parameters(), lr=0.1) for _ in range(2))
    schedule = create_scheduler(settings, ours, steps_per_epoch=4)
    expected = CosineLRScheduler(theirs, t_initial=20, lr_min=1e-4, warmup_t=6, warmup_lr_init=1e-5, t_in_epochs=False)
    rates = []
    for number in range(20):
        expected.step_update(number)
        assert ours.param_groups[0]["lr"] == theirs.param_groups[0]["lr"]
        rates.append(ours.param_groups[0]["lr"])
        schedule.step()
    assert rates[0] == 1e-5
    assert max(rates) > 0.08
    assert rates[-1] < 0.002


def test_accumulated_parts_are_one_step():
    one, two = (small_trainer(**NETWORK, opt="adamw", sched="cosine", grad_accum_steps=parts) for parts in (1, 2))
    # Parts of 4: with 3 images, 8 channels and several threads, torch 2.14.1 crashes in the backward pass of its own
    # convolutions on CPUs with AMX.
    images = torch.randint(0, 256, (8, 32, 32, 3), dtype=torch.uint8)
    for trainer, parts in ((one, 1), (two, 2)):
        trainer.model.eval()  # batch norm sees parts of a batch
        batches = zip(images.chunk(parts), (torch.arange(8) % 3).chunk(parts), strict=True)
        trainer.train_step(0, batches, 8)
    assert one.next_lr == two.next_lr < 0.05
    torch.testing.assert_close(one.network.conv1.weight, two.network.conv1.weight, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"opt": "adammw"}, ["unknown optimizer 'adammw'; did you mean 'adamw'?"]),
        ({"opt": "adahessian"}, ["optimizer 'adahessian' is not supported"]),
        ({"sched": "cosin"}, ["unknown sched 'cosin'; did you mean 'cosine'?"]),
        ({"opt": "adamw", "opt-kwargs": "speed=3"}, ["optimizer 'adamw' cannot be created", "speed"]),
        ({"opt": "adamw", "opt-betas": "0.9"}, ["opt_betas is 0.9 alone; give two or more"]),
        ({"warmup-lr": 0.1}, ["warmup_lr is 0.1, above the highest learning rate, lr, which is 0.05; use a lower"]),
        ({"min-lr": 1}, ["min_lr is 1, above the highest learning rate, lr, which is 0.05"]),
        ({"sched": "cosine", "warmup-epochs": 1, "warmup-lr": 0.1}, ["warmup_lr is 0.1, above"]),
        ({"lr": "inf"}, ["lr is inf; use a finite number"]),
        ({"weight-decay": "nan"}, ["weight_decay is nan; use a finite number"]),
        ({"mean": [0.5, 0.5, 1.5]}, ["mean is 0.5 0.5 1.5; use values of at least 0 and at most 1"]),
        ({"std": [0.2, 0, 0.2]}, ["std is 0.2 0.0 0.2; use values above 0"]),
        ({"ratio": [1, "inf"], "scale": [0.5, 1], "resize": "none", "crop-padding": 0}, ["ratio is inf"]),
        ({"opt": "adamw", "opt-betas": "1.5"}, ["opt_betas is 1.5; use values of at least 0 and below 1"]),
        ({"sched": "cosine", "warmup-epochs": 2}, ["warmup_epochs is 2 of 2 epochs; use fewer, or more --epochs"]),
        ({"min-lr": 0}, ["min_lr is 0; one cycle needs a value above 0"]),
        ({"layer-decay": 0}, ["layer_decay is 0.0; use a value above 0"]),
    ],
)
def test_bad_optimizers_and_schedules_are_one_line_before_anything_is_written(
    images, tmp_path, run_inside, changes, words
):
    process = run_inside(train.main, *arguments(images, tmp_path / "run", **changes))
    assert_one_clear_line(process, *words)
    assert not (tmp_path / "run").exists()


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    return make_image_folder(tmp_path_factory.mktemp("optim") / "images")


MIXED = {"mixup": 0.2, "cutmix": 1, "batch-size": 4, "limit": 240, "sched": "cosine", "warmup-epochs": 0.5}
MIXED_STEPS = 120


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("opt", ["adamw", "muon", "lamb"])
def test_killed_in_an_epoch_a_run_with_mixing_and_average_ends_as_if_nothing_had_happened(tmp_path, opt, processes):
    changes = {**MIXED, "opt": opt, "lr": 0.002, "recipe": "digits", "reprob": 0.2}

    def start(run: Path, *more: str) -> list[Command]:
        command = [*digits_arguments(run, **changes), "--skip-benchmark", *more]
        return launch(processes, *command) if processes > 1 else [Command(*command)]

    wait_for_all(start(tmp_path / "whole"))
    commands = start(tmp_path / "run")
    states = tmp_path / "run" / "state"
    while not any(int(path.stem[5:]) >= 40 for path in states.glob("step-*.pt")):
        assert all(command.is_running() for command in commands)
        time.sleep(0.01)
    for command in commands:
        command.close()
    assert not (tmp_path / "run" / "model.safetensors").exists()
    assert "resumed in epoch" in wait_for_all(start(tmp_path / "run", "--resume")).stdout
    whole, run = (read_checkpoint(tmp_path / name, MIXED_STEPS) for name in ("whole", "run"))
    assert_same(run, whole)
    for name in ("model.safetensors", "log.csv"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
