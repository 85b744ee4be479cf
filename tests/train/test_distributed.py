"""Two processes learn what one learns: the same losses, every image once an epoch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from timm.layers import BatchNormAct2d
from torch import nn

from support.example_run import SMALL_ARGS
from support.example_training import digits_arguments as arguments
from support.example_training import read_checkpoint, read_log, start
from support.example_training import small_trainer as trainer
from support.paths import ROOT
from support.processes import assert_one_clear_line, free_port, run_command, wait_for_all
from timm_pushpull import InputError, cli
from timm_pushpull.benchmark.results import Results
from timm_pushpull.models.weights import create_model
from train import train
from train.batches import check_batch, check_batch_norm, epoch_order, process_shares
from train.settings import Settings
from train.sync_bn import convert_sync_bn


def curve(folder: Path) -> np.ndarray:
    """The loss of every epoch."""
    return np.array([row["loss"] for row in read_log(folder)])


# A small learning rate, on images of nothing but noise: where regions are flat or classes differ in brightness alone,
# batch norm of a few images lets a rounding decide, and any two ways of adding up drift apart within a few steps.
GENTLE = {
    "model-args": SMALL_ARGS,
    "limit": 24,
    "warmup-lr": 0.001,
    "lr": 0.002,
    "batch-size": 5,
    "save-minutes": 100,
}


#: A network that pools 32 px to one value per channel before its last batch norm.
POOLED = {"model": "resnet18", "model-args": [], "img-size": 32}


@pytest.fixture
def noise(tmp_path) -> Path:
    rng = np.random.default_rng(0)
    for split, count in (("train", 12), ("test", 3)):
        for name in ("one", "two"):
            (tmp_path / "noise" / split / name).mkdir(parents=True)
            for number in range(count):
                photo = Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8))
                photo.save(tmp_path / "noise" / split / name / f"{number}.png")
    return tmp_path / "noise"


def test_two_processes_with_sync_batch_norm_learn_as_one(tmp_path, noise):
    """Batches of 5 and 4, so that most shares are uneven: 3 images and 2."""
    settings = {"dataset": noise, **GENTLE}
    wait_for_all(start(tmp_path / "one", 1, "--sync-bn", **settings))
    wait_for_all(start(tmp_path / "two", 2, "--sync-bn", **settings))
    wait_for_all(start(tmp_path / "apart", 2, **settings))
    one, two, apart = (curve(tmp_path / name) for name in ("one", "two", "apart"))
    np.testing.assert_allclose(two[0], one[0], rtol=1e-3)
    np.testing.assert_allclose(two, one, rtol=5e-3)
    assert abs(apart[0] / one[0] - 1) > 2e-3  # without the flag, every process has statistics of its own


@pytest.mark.slow
def test_two_processes_fine_tune_as_one(tmp_path, noise):
    """From weights, with AdamW, a cosine schedule and a moving average."""
    settings = {"dataset": noise, **GENTLE}
    wait_for_all(start(tmp_path / "first", 1, "--skip-benchmark", **settings))
    settings |= {
        "initial-checkpoint": tmp_path / "first",
        "opt": "adamw",
        "sched": "cosine",
        "lr": 1e-5,
        "warmup-lr": 0,
    }
    for processes, name in ((1, "one"), (2, "two")):
        wait_for_all(start(tmp_path / name, processes, "--sync-bn", **settings))
    one, two, first = (curve(tmp_path / name) for name in ("one", "two", "first"))
    np.testing.assert_allclose(two, one, rtol=5e-3)
    assert one[0] < first[0]
    averages = [load_file(tmp_path / name / "model.safetensors") for name in ("one", "two")]
    for key, value in averages[0].items():
        torch.testing.assert_close(averages[1][key].float(), value.float(), rtol=1e-2, atol=1e-3, msg=key)


def test_two_processes_learn_and_share_hashes_as_one(tmp_path, noise, run_inside):
    settings = {"dataset": noise, **GENTLE, "task": "retrieval", "top": 10, "epochs": 1, "benchmark-limit": 6}
    one = run_inside(train.main, *arguments(tmp_path / "one", **settings), "--sync-bn")
    assert one.returncode == 0, one.stderr
    wait_for_all(start(tmp_path / "two", 2, "--sync-bn", **settings))
    np.testing.assert_allclose(curve(tmp_path / "two"), curve(tmp_path / "one"), rtol=1e-3)
    asked = ["--model", f"local-dir:{tmp_path / 'two'}", "--dataset", noise, "--task", "retrieval", "--top", "10"]
    asked += [
        "--precision",
        "fp32",
        "--preset",
        "cifar10-c",
        "--corruptions",
        "contrast",
        "--output",
        tmp_path / "results.json",
    ]
    assert run_inside(cli.main, "timm-pushpull", "benchmark", *asked).returncode == 0
    two, alone = (Results.load(path) for path in (tmp_path / "two", tmp_path / "results.json"))
    assert (two.clean_error, two.errors["contrast"]) == (alone.clean_error, alone.errors["contrast"])
    assert 0.2 < two.clean_error < 0.8


@pytest.mark.parametrize(("processes", "parts"), [(1, 1), (2, 1), (3, 2), (4, 5)])
def test_shares_are_every_batch_once(processes, parts):
    order = epoch_order(101, 21, seed=3, epoch=1)
    everyone = [process_shares(order, rank, processes, parts) for rank in range(processes)]
    for number, batch in enumerate(order):
        pieces = [share for mine in everyone for share in mine[number * parts : (number + 1) * parts]]
        assert min(map(len, pieces)) >= 1
        assert sorted(np.concatenate(pieces)) == sorted(batch)


def test_parts_of_a_batch_add_up_to_the_whole_and_count_as_one_step():
    """With a network that normalises every image by itself."""
    pixels = torch.randint(0, 256, (6, 160, 160, 3), dtype=torch.uint8)
    labels = torch.tensor([0, 1, 2, 0, 1, 2])
    networks, rates = [], []
    for parts in (1, 2, 3):
        one = trainer(grad_accum_steps=parts)
        for step in range(2):
            pieces = zip(pixels.tensor_split(parts), labels.tensor_split(parts), strict=True)
            one.train_step(step, iter(pieces), batch_size=6)
        networks.append(one.network)
        rates.append(one.next_lr)
    assert len(set(rates)) == 1
    for whole, *split in zip(*(network.parameters() for network in networks), strict=True):
        for tensor in split:
            torch.testing.assert_close(tensor, whole, rtol=1e-3, atol=1e-5)


def test_the_schedule_takes_all_its_steps_whatever_the_accumulation(tmp_path, noise):
    settings = {"dataset": noise, **GENTLE, "epochs": 1, "batch-size": 8}
    wait_for_all(start(tmp_path / "one", 1, **settings))
    wait_for_all(start(tmp_path / "parts", 2, **{"grad-accum-steps": 3}, **settings))
    one, parts = (read_checkpoint(tmp_path / name, 3)["trainer"]["scheduler"] for name in ("one", "parts"))
    assert one["last_epoch"] == parts["last_epoch"] == 3
    assert read_log(tmp_path / "one")[0]["learning_rate"] == read_log(tmp_path / "parts")[0]["learning_rate"]


def test_smoothing_clipping_and_the_moving_average_do_what_they_say():
    pixels, labels = torch.randint(0, 256, (6, 160, 160, 3), dtype=torch.uint8), torch.arange(6) % 3

    def first_step(**changes):
        one = trainer(**changes)
        before = [p.detach().clone() for p in one.network.parameters()]
        loss, _ = one.train_step(0, iter([(pixels, labels)]), batch_size=6)
        moved = torch.sqrt(sum((p - b).square().sum() for p, b in zip(one.network.parameters(), before, strict=True)))
        return one, before, loss, moved.item()

    plain, before, loss, moved = first_step(weight_decay=0)
    clipped = first_step(weight_decay=0, clip_grad=0.01)
    assert clipped[3] == pytest.approx(0.01 * 0.05 / 25, rel=1e-3)  # norm times the first learning rate
    assert moved > 2 * clipped[3]
    smooth = first_step(smoothing=0.3)[2]
    assert not torch.isclose(loss, smooth, rtol=1e-4)
    assert plain.released is plain.network
    averaged = trainer(model_ema_decay=0.75)
    for step in range(3):  # timm's average copies the weights of the first two steps
        before = [p.detach().clone() for p in averaged.released.parameters()]
        averaged.train_step(step, iter([(pixels, labels)]), batch_size=6)
    for old, new, mean in zip(before, averaged.network.parameters(), averaged.released.parameters(), strict=True):
        torch.testing.assert_close(mean, 0.75 * old + 0.25 * new)


@pytest.mark.slow
def test_a_compiled_network_learns_the_same(tmp_path):
    pixels, labels = torch.randint(0, 256, (6, 160, 160, 3), dtype=torch.uint8), torch.arange(6) % 3
    losses = []
    for compiled in (False, True):
        one = trainer(torchcompile=compiled)
        losses.append([one.train_step(step, iter([(pixels, labels)]), batch_size=6)[0].item() for step in range(2)])
        assert not any("_orig_mod" in name for name in one.network.state_dict())
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"grad-accum-steps": 20},
            ["batch_size is 5; use one from 24 to 24, ", "20 (processes times grad_accum_steps)"],
        ),
        ({"grad-accum-steps": 5}, ["batch_size is 5; use one from 6 to 24, "]),
        ({"grad-accum-steps": 6, "batch-size": 6, **POOLED}, ["batch_size is 6, which", "use --batch-size 12"]),
        ({"grad-accum-steps": 24, "batch-size": 24, **POOLED}, ["parts of one image", "use fewer processes or parts"]),
        ({"limit": 2, "batch-size": 2, "grad-accum-steps": 3}, ["there are 2 training images for 1 processes"]),
        ({"device": "cuda"}, ["device is 'cuda', but this machine has cpu only"]),
    ],
)
def test_what_does_not_fit_the_machine_is_one_line(tmp_path, run_inside, changes, words):
    if changes.get("device") == "cuda" and torch.cuda.is_available():
        pytest.skip("needs a machine without a GPU")
    process = run_inside(train.main, *arguments(tmp_path / "run", **{**GENTLE, **changes}))
    assert_one_clear_line(process, *words)
    assert not (tmp_path / "run").exists()


def test_parts_of_one_image_are_refused_only_where_batch_norm_needs_more():
    def check(name: str, world_size: int, size: int = 32, **changes: object) -> None:
        with torch.device("meta"):
            model = create_model(name)
        settings = Settings(models=(name,), batch_size=6, **changes)
        check_batch(settings, 24, world_size)
        check_batch_norm(settings, name, model, size, 24, world_size)

    for model, changes in (("test_vit", {}), ("resnet18", {"size": 64}), ("resnet18", {"sync_bn": True})):
        check(model, 2, grad_accum_steps=3, **changes)
    check("test_vit", 1, grad_accum_steps=6)
    with pytest.raises(InputError, match="batch norm in resnet18 needs two; use --batch-size 12"):
        check("resnet18", 1, grad_accum_steps=6)


GPUS = "train.py: error: Accelerate was told to use several GPUs, but this machine has none"


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_processes_for_several_gpus_do_not_train_on_the_cpu_in_silence(tmp_path, monkeypatch, run_inside):
    """In the environment that Accelerate's launcher makes for such a process."""
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")
    monkeypatch.setenv("LOCAL_RANK", "0")
    assert_one_clear_line(run_inside(train.main, *arguments(tmp_path / "run")), GPUS)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_the_launcher_for_several_gpus_reports_that_there_is_none(tmp_path):
    launcher = (
        "-m",
        "accelerate.commands.launch",
        "--multi_gpu",
        "--num_processes",
        "2",
        "--main_process_port",
        free_port(),
    )
    process = run_command(*launcher, *arguments(tmp_path / "run"))
    assert process.returncode != 0
    assert GPUS in process.stderr
    assert not (tmp_path / "run").exists()


def test_sync_batch_norm_keeps_names_values_and_activations():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), BatchNormAct2d(4)).eval()
    x = torch.randn(5, 3, 6, 6)
    expected, names = network(x), list(network.state_dict())
    synchronised = convert_sync_bn(network, torch.device("cpu"))
    assert list(synchronised.state_dict()) == names
    torch.testing.assert_close(synchronised(x), expected, rtol=0, atol=0)


@pytest.mark.parametrize(("name", "processes"), [("cpu", 1), ("one_gpu", 1), ("eight_gpus", 8), ("two_machines", 16)])
def test_accelerate_reads_the_clusters(name, processes):
    from accelerate.commands.config.config_args import load_config_from_file

    config = load_config_from_file(str(ROOT / "train" / "clusters" / f"{name}.yaml"))
    assert config.num_processes == processes
    assert config.use_cpu is (name == "cpu")
    assert config.num_machines == (2 if name == "two_machines" else 1)
