"""Every recipe, on images in the layout of its dataset: it starts, takes steps, and writes its folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from accelerate import Accelerator
from PIL import Image

from support.paths import needs_releases
from timm_pushpull import InputError
from timm_pushpull.data.loading import read_classes
from timm_pushpull.models.weights import create_model
from train import train
from train.command_line import parse
from train.data import load_splits
from train.run_folder import Checkpoints
from train.settings import RECIPES, RENAMED, Settings, load_recipe

NAMES = sorted(path.stem for path in RECIPES.glob("*.yaml"))
#: The side of the dataset's images, and the names of its classes.
WORDNET = ("n01440764", "n01514668", "n01537544", "n01560419", "n02086240", "n03792782")
SHAPES = {"cifar10": (32, 32), "cifar10-retrieval": (32, 32), "digits": (32, 32), "tiny-imagenet-200": (64, 64)}


def write_layout(folder: Path, recipe: str, per_class: int = 2) -> Path:
    """Random images as `datasets.load_dataset` finds them on a disk: SPLIT/CLASS/NUMBER.jpg."""
    rng, settings = np.random.default_rng(0), load_recipe(RECIPES / f"{recipe}.yaml")
    classes = WORDNET if "imagenet" in settings.dataset else ("cat", "dog")
    if settings.classes:
        classes = (*read_classes(RECIPES / "classes" / f"{settings.classes}.txt"), "n99999999")  # one to be left out
    for split in ("train", settings.val_split or "test"):
        for name in classes:
            (folder / split / name).mkdir(parents=True)
            for number in range(per_class):
                shape = SHAPES.get(recipe, (300 + number, 280))
                photo = Image.fromarray(rng.integers(0, 256, (*shape, 3), dtype=np.uint8))
                photo.save(folder / split / name / f"{number}.jpg", quality=30)
    return folder


@pytest.mark.parametrize(
    "recipe", [pytest.param(name, marks=needs_releases if name == "finetune" else ()) for name in NAMES]
)
def test_every_recipe_starts_and_steps(tmp_path, recipe, run_inside):
    data = write_layout(tmp_path / "data", recipe)
    settings = load_recipe(RECIPES / f"{recipe}.yaml")
    changes = {"limit": 4, "batch-size": 2, "epochs": 1, "benchmark-limit": 1, "lr": 0.01, "workers": 1}
    changes["precision"] = "fp32"  # Accelerate keeps the first choice of a process
    if settings.img_size == 224:  # spares time; what the recipe says is tested below
        changes |= {"img-size": 64, "resize": 72}
    if settings.warmup_epochs:
        changes["warmup-epochs"] = 0
    if settings.test_img_size:
        changes |= {"img-size": 64, "test-img-size": 72}
    if settings.task == "retrieval":
        changes["top"] = 3
    given = [part for name, value in changes.items() for part in (f"--{name}", str(value))]
    measured = recipe in ("digits", "cifar10-retrieval")  # one of each task: the benchmark is the same for all
    given += [] if measured else ["--skip-benchmark"]
    run = tmp_path / "run"
    process = run_inside(
        train.main, "train.py", "--recipe", recipe, "--dataset", data, "--model", settings.models[-1], "--output", run,
        *given,
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    written = load_recipe(run / "recipe.yaml")
    listed = {"imagenet100": 100, "imagenet200": 200}
    assert written.num_classes == (listed.get(settings.classes) or (6 if "imagenet" in settings.dataset else 2))
    assert written.preset == (settings.preset or "cifar10-c")
    assert (run / "model.safetensors").is_file()
    if measured:
        assert "epochs is 1, not" in (run / "README.md").read_text()


@pytest.mark.parametrize("recipe", NAMES)
def test_recipes_are_settings_and_survive_a_round_trip(recipe):
    _, settings = parse(["--recipe", recipe])
    assert Settings.from_mapping(yaml.safe_load(settings.to_yaml()), "text") == settings
    assert "Cost: " in (RECIPES / f"{recipe}.yaml").read_text()


@pytest.mark.parametrize("recipe", NAMES)
def test_all_networks_of_a_recipe_start_alike(recipe):
    """timm's plain ResNets start with zeros in the last batch norm of each block, the paper's and ours with ones."""

    def constants(name: str) -> dict[str, float]:
        model = create_model(name, **settings.model_args)
        norms = [part for part in model.named_parameters() if part[1].ndim == 1 and part[1].std() == 0]
        return {name: parameter[0].item() for name, parameter in norms if not name.endswith(".alpha")}

    _, settings = parse(["--recipe", recipe])
    plain, *others = settings.models
    assert others
    assert constants(plain)
    for name in others:
        assert constants(name) == constants(plain), name


@pytest.mark.parametrize(
    ("recipe", "epochs", "batch", "rates"),
    [
        ("cifar10", 30, 64, (5e-3, 0.2, 1.25e-7)),
        ("imagenet100", 20, 64, (5e-3, 0.2, 1.25e-7)),
        ("imagenet200", 20, 64, (5e-3, 0.2, 1.25e-7)),
        ("imagenet1k", 20, 128, (0.05, 1.0, 2.5e-6)),
    ],
)
def test_the_paper_s_recipes(recipe, epochs, batch, rates):
    _, settings = parse(["--recipe", recipe])
    assert (settings.epochs, settings.batch_size, settings.cycle_momentum, settings.weight_decay) == (
        epochs,
        batch,
        True,
        1e-5,
    )
    assert (settings.warmup_lr, settings.lr, settings.min_lr) == rates
    assert (settings.warmup, settings.seed, settings.hflip) == (0.3, 1234, 0.5)
    assert (settings.smoothing, settings.clip_grad, settings.model_ema_decay) == (0, None, None)
    if recipe == "cifar10":
        assert settings.crop_padding == 4
    else:
        assert (settings.resize, settings.img_size, settings.crop_padding) == (256, 224, 0)
        assert settings.model_args == {"zero_init_last": False}


def test_the_paper_s_recipe_of_retrieval():
    _, settings = parse(["--recipe", "cifar10-retrieval"])
    assert (settings.task, settings.hash_bits, settings.top, settings.outputs) == ("retrieval", 64, 200, 64)
    assert (settings.epochs, settings.batch_size, settings.cycle_momentum, settings.weight_decay) == (
        50,
        128,
        True,
        1e-4,
    )
    assert (settings.warmup_lr, settings.lr, settings.min_lr) == (5e-3, 0.1, 2.5e-7)
    assert (settings.warmup, settings.three_phase, settings.seed, settings.crop_padding) == (0.3, True, 1234, 4)


def test_labels_of_a_subset_are_positions_in_its_list(tmp_path):
    data = write_layout(tmp_path / "data", "imagenet100", per_class=1)
    _, settings = parse(["--recipe", "imagenet100", "--dataset", str(data)])
    _, test = load_splits(settings)
    names = read_classes(RECIPES / "classes" / "imagenet100.txt")
    assert test.classes == names
    assert len(test) == 100  # the class outside the list is left out
    folders = sorted((*names, "n99999999"))
    for row in test.indices:
        assert names[test.labels[row]] == folders[row]


OLD = {
    "accumulation": 2,
    "compile": True,
    "ema_decay": 0.9,
    "flip": False,
    "image_size": 48,
    "label_smoothing": 0.1,
    "lr_end": 1e-7,
    "lr_peak": 0.3,
    "lr_start": 0.01,
    "sync_batch_norm": True,
    "test_split": "val",
}


def test_recipes_with_the_old_names_of_settings_load_and_are_written_with_the_new_ones():
    """recipe.yaml of the first releases."""
    assert set(OLD) == set(RENAMED)
    old = Settings.from_mapping({"models": ["resnet18"], **OLD}, "old.yaml")
    new = {"models": ["resnet18"], **{RENAMED[name]: value for name, value in OLD.items()}, "hflip": 0}
    assert old == Settings.from_mapping(new, "new.yaml")
    assert not set(yaml.safe_load(old.to_yaml())) & set(RENAMED)


@pytest.mark.parametrize(("flip", "hflip"), [(True, 0.5), (False, 0.0)])
def test_checkpoints_from_before_a_probability_of_mirroring_are_resumed(tmp_path, flip, hflip):
    Checkpoints(tmp_path, {"flip": flip}, save_minutes=0).save(1, {})
    assert Checkpoints(tmp_path, {"hflip": hflip, "vflip": 0.0}, save_minutes=0).load(lambda content: None, print)
    with pytest.raises(InputError, match="no checkpoint"):
        Checkpoints(tmp_path, {"hflip": 0.4}, save_minutes=0).load(lambda content: None, print)


@pytest.mark.parametrize(("old", "new"), RENAMED.items())
def test_a_recipe_with_both_names_of_a_setting_is_refused(old, new):
    today = 0.5 if new == "hflip" else OLD[old]
    for content in ({old: OLD[old], new: today}, {new: today, old: OLD[old]}):
        with pytest.raises(InputError, match=f"both.yaml sets {new} twice"):
            Settings.from_mapping({"models": ["resnet18"], **content}, "both.yaml")


def test_resnet_strikes_back():
    """Table 2 of Wightman, Touvron and Jegou 2021, procedure A3."""
    _, settings = parse(["--recipe", "imagenet1k-a3"])
    assert (settings.img_size, settings.test_img_size, settings.crop_pct, settings.epochs) == (160, 224, 0.95, 100)
    assert (settings.batch_size, settings.opt, settings.lr, settings.weight_decay) == (2048, "lamb", 8e-3, 0.02)
    assert (settings.sched, settings.warmup_epochs, settings.smoothing, settings.bce_loss) == ("cosine", 5, 0, True)
    assert (settings.mixup, settings.cutmix, settings.aa, settings.reprob) == (0.1, 1, "rand-m6-mstd0.5-inc1", 0)


@pytest.mark.parametrize(
    ("sizes", "preset"),
    [
        ((), "cifar10-c"),
        (("--img-size", "64"), "tiny-imagenet-c"),
        (("--img-size", "64", "--test-img-size", "72"), "imagenet-c"),
        (("--img-size", "160", "--preset", "cifar10-c"), "cifar10-c"),
    ],
)
@pytest.mark.parametrize("recipe", ["finetune", "digits"])
def test_networks_are_measured_with_the_constants_of_their_image_size(recipe, sizes, preset):
    """Photographs of 160 px were measured with the constants for 32 px unless --preset was given."""
    _, settings = parse(["--recipe", recipe, *sizes])
    resolved = train.resolve(settings, *load_splits(settings), Accelerator(cpu=True))
    assert resolved.preset == preset
