"""Augmentations in training: what is drawn, for which image, and where in its way to the network."""

from __future__ import annotations

import ast
import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from accelerate import Accelerator
from PIL import Image
from torchvision.transforms import v2

from support.example_training import assert_same
from support.example_training import folder_arguments as arguments
from support.paths import ROOT
from support.processes import assert_one_clear_line
from timm_pushpull import InputError
from timm_pushpull.data.augment import AUGMENTATIONS, POLICIES, Policy
from timm_pushpull.data.loading import load_images
from timm_pushpull.data.preprocessing import ResizeCenterCrop
from train import data as train_data
from train import train
from train.batches import epoch_order, process_shares
from train.command_line import parse
from train.data import Data, load_splits, prepare_data
from train.settings import Settings
from train.trainer import Trainer
from train.training_images import TrainingImages

CPU = torch.device("cpu")
THEIRS = {
    "augmix": "AugMix",
    "autoaugment": "AutoAugment",
    "trivialaugment": "TrivialAugmentWide",
    "randaugment": "RandAugment",
}
GEOMETRY = ResizeCenterCrop(30, 34)


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    from support.image_folder import make_image_folder

    return make_image_folder(tmp_path_factory.mktemp("augment") / "photos")


def training_images(folder: Path, augmentation: str | None, **changes: object) -> TrainingImages:
    settings = {"padding": 2, "hflip": 0.5, "seed": 0, "device": CPU, "augmentation": augmentation, **changes}
    return TrainingImages(load_images(str(folder), train=True), GEOMETRY, **settings)


def seen(images: TrainingImages, order: list[np.ndarray], workers: int = 0, epoch: int = 0) -> dict[int, torch.Tensor]:
    """What the network gets of each image, by its position; each once."""
    images.set_epoch(epoch)
    found = {}
    for positions, (pixels, labels) in zip(order, images.batches(order, workers), strict=True):
        assert not set(found) & set(positions)
        found.update(zip(positions.tolist(), pixels, strict=True))
        rows = images.images.indices[positions]
        assert labels.tolist() == images.images.labels[rows].tolist()
    return found


def assert_all_same(some: dict[int, torch.Tensor], all_of_them: dict[int, torch.Tensor]) -> None:
    for position, pixels in some.items():
        # PRIME's sums depend on how many images are worked on together; grey levels.
        tolerance = 0.1 if pixels.is_floating_point() else 0
        torch.testing.assert_close(pixels, all_of_them[position], rtol=0, atol=tolerance)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_draws_depend_on_seed_epoch_and_image_whatever_the_processes_and_workers(photos, name, monkeypatch):
    images, order = training_images(photos, name), epoch_order(24, 6, seed=0, epoch=0)
    whole = seen(images, order)
    assert sorted(whole) == list(range(24))
    everyone = {}
    for rank in range(2):
        mine = seen(images, process_shares(order, rank, world_size=2, grad_accum_steps=2), workers=2)
        assert not set(mine) & set(everyone)
        everyone |= mine
    assert sorted(everyone) == sorted(whole)
    assert_all_same(everyone, whole)
    assert_all_same(seen(images, order[2:]), whole)  # as after a resume
    monkeypatch.setattr("train.training_images._IN_MEMORY", 0)
    assert_all_same(seen(training_images(photos, name), order[:1]), whole)
    plain = seen(training_images(photos, None), order)
    others = (seen(images, order, epoch=1), seen(training_images(photos, name, seed=1), order[:2]), plain)
    for other in others:
        assert any(not torch.equal(pixels, whole[position]) for position, pixels in other.items())
    changed = sum(not torch.equal(whole[position].to(plain[position].dtype), plain[position]) for position in plain)
    assert changed >= 12
    assert {pixels.shape for pixels in whole.values()} == {(30, 30, 3)}


def test_what_is_cropped_and_mirrored_does_not_depend_on_the_augmentation(photos):
    """So that runs with and without are paired."""
    images, order = training_images(photos, "augmix"), epoch_order(24, 6, 0, 0)
    images.policy = lambda image, key: image
    assert_all_same(seen(images, order), seen(training_images(photos, None), order))


def test_policies_see_the_resized_image_before_padding_and_crop(photos):
    images, shapes = training_images(photos, "augmix", padding=10), []
    images.policy = lambda image, key: shapes.append(image.shape) or np.maximum(255 - image, 1)
    found = seen(images, epoch_order(24, 6, 0, 0))
    assert {min(shape[:2]) for shape in shapes} == {34}
    assert {shape[2] for shape in shapes} == {3}
    assert sum(bool((pixels == 0).any()) for pixels in found.values()) > 12  # the padding is still black


def test_prime_gets_crops_between_0_and_1_and_returns_grey_levels(photos, monkeypatch):
    asked = []

    def fake(images, *, preset, keys):
        asked.append((images, preset, keys))
        return 1 - images

    order = epoch_order(24, 6, 0, 0)
    plain = seen(training_images(photos, None), order)
    monkeypatch.setattr("train.training_images.prime", fake)
    images = training_images(photos, "prime", data="cifar")
    found = seen(images, order)
    for position, pixels in found.items():
        torch.testing.assert_close(pixels, 255 - plain[position].float(), rtol=0, atol=1e-4)
    assert {preset for _, preset, _ in asked} == {"cifar"}
    assert len({key for _, _, keys in asked for key in keys.tolist()}) == 24
    for positions, (_, _, keys) in zip(order, asked, strict=True):
        assert keys.tolist() == images.keys[positions].tolist()


@pytest.mark.parametrize("name", POLICIES)
def test_policies_are_torchvision_s_and_leave_the_generator_alone(name):
    image = np.random.default_rng(0).integers(0, 256, (20, 24, 3), dtype=np.uint8)
    policy, state = Policy(name), torch.random.get_rng_state()
    results = [policy(image, key) for key in range(12)]
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(np.array_equal(policy(image, key), result) for key, result in enumerate(results))
    assert {result.shape for result in results} == {image.shape}
    assert len({result.tobytes() for result in results}) > 3
    theirs = getattr(v2, THEIRS[name])()
    with torch.random.fork_rng():
        for key, result in enumerate(results):
            torch.manual_seed(key)
            assert np.array_equal(np.asarray(theirs(Image.fromarray(image))), result)


def test_autoaugment_has_the_policy_of_the_data():
    image = np.random.default_rng(0).integers(0, 256, (20, 24, 3), dtype=np.uint8)
    for data, policy in (("imagenet", "IMAGENET"), ("cifar", "CIFAR10")):
        transform = v2.AutoAugment(v2.AutoAugmentPolicy[policy])
        with torch.random.fork_rng():
            for key in range(10):
                torch.manual_seed(key)
                expected = np.asarray(transform(Image.fromarray(image)))
                assert np.array_equal(Policy("autoaugment", data)(image, key), expected)


@pytest.mark.parametrize(("recipe", "data"), [("cifar10", "cifar"), ("imagenet1k", "imagenet")])
def test_the_policy_follows_the_recipe_s_data(photos, recipe, data, monkeypatch):
    asked = []

    class Kept(TrainingImages):
        def __init__(self, *args, **more) -> None:
            asked.append(args[-2:])
            super().__init__(*args, **more)

    monkeypatch.setattr(train_data, "TrainingImages", Kept)
    given = ["--dataset", photos, "--val-split", "test", "--batch-size", "4"]
    _, settings = parse([str(part) for part in ("--recipe", recipe, "--augmentation", "autoaugment", *given)])
    loaded(settings)
    assert asked == [("autoaugment", data)]


def test_the_augmentation_is_on_the_card(photos, tmp_path, run_inside):
    run = tmp_path / "run"
    given = {"augmentation": "prime", "epochs": 1, "limit": 8, "batch-size": 4, "benchmark-limit": 1}
    given |= {"model": "test_resnet", "model-args": [], "img-size": 32}
    process = run_inside(train.main, *arguments(photos, run, **given))
    assert process.returncode == 0, process.stderr
    assert yaml.safe_load((run / "recipe.yaml").read_text())["augmentation"] == "prime"
    card = (run / "README.md").read_text()
    assert "augmentation is 'prime', not None" in card
    assert "| augmentation | prime |" in card
    assert "**Augmentation:** PRIME" in card


def loaded(settings: Settings) -> tuple[Data, Settings]:
    """The data of a run and its settings as train.py resolves them."""
    splits = load_splits(settings)
    settings = train.resolve(settings, *splits, Accelerator(cpu=True))
    return prepare_data(settings, *splits, CPU), settings


def trained(data: Data, settings: Settings, stop: int, state: dict | None = None, first: int = 0) -> dict:
    """The state after the optimizer steps `first` .. `stop` - 1 of an epoch."""
    trainer = Trainer(settings, len(data.train), Accelerator(cpu=True))
    if state:
        trainer.load_state_dict(state)
    order = epoch_order(len(data.train), settings.batch_size, settings.seed, 0)[first:stop]
    data.train.set_epoch(0)
    batches = data.train.batches(order, settings.workers)
    trainer.model.train()
    for step, batch in enumerate(order, start=first):
        loss, _ = trainer.train_step(step, batches, len(batch))
        assert loss.isfinite()
    return copy.deepcopy(trainer.state_dict())


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_every_augmentation_trains_and_a_resumed_run_ends_as_the_whole_one(photos, name):
    """Equal to the bit, with dropout, taken up after the first of three steps."""
    given = ("--augmentation", name, "--batch-size", "8", "--model-args", "drop_rate=0.3")
    _, settings = parse(["--dataset", str(photos), "--resize", "36", "--lr", "0.05", "--workers", "1", *given])
    settings = replace(settings, models=("test_resnet",), img_size=32, precision="fp32")
    data, settings = loaded(settings)
    half = trained(data, settings, stop=1)
    assert_same(trained(data, settings, stop=3, state=half, first=1), trained(data, settings, stop=3))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"augmentation": "augmx"}, ["unknown augmentation 'augmx'; did you mean 'augmix'?"]),
        ({"augmentation": "Prime"}, ["unknown augmentation 'Prime'; did you mean 'prime'?"]),
        ({"augmentation": "prime", "img-size": 3, "resize": 3}, ["images of at least 4 px", "3x3"]),
    ],
)
def test_bad_augmentations_are_one_line(photos, tmp_path, run_inside, changes, words):
    process = run_inside(train.main, *arguments(photos, tmp_path / "run", **changes))
    assert_one_clear_line(process, *words)
    assert not (tmp_path / "run").exists()


def test_bad_augmentations_in_recipes_and_code_are_named():
    with pytest.raises(InputError, match="unknown augmentation 'trivial'; did you mean 'trivialaugment'"):
        Settings.from_mapping({"models": ["resnet18"], "augmentation": "trivial"}, "x.yaml")
    with pytest.raises(InputError, match="augmentation is 3"):
        Settings.from_mapping({"models": ["resnet18"], "augmentation": 3}, "x.yaml")
    with pytest.raises(InputError, match="unknown policy 'augmx'; did you mean 'augmix'"):
        Policy("augmx")
    with pytest.raises(InputError, match="unknown kind of data 'cifar10'; did you mean 'cifar'"):
        Policy("autoaugment", "cifar10")


def imported(path: Path) -> set[str]:
    """The modules that a file imports anywhere, and the names from packages as if they were modules."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def source(name: str) -> Path | None:
    """The file of ours that an imported name comes from, behind the packages that export it."""
    *parents, last = name.split(".")
    for stem in (ROOT.joinpath(*parents, last), ROOT.joinpath(*parents)):
        if (file := stem.with_suffix(".py")).is_file():
            return file
    if not (file := ROOT.joinpath(*parents, "__init__.py")).is_file():
        return None
    exported = [found for found in imported(file) if found.rpartition(".")[2] == last]
    return source(exported[0]) if exported else file


def test_training_images_never_come_from_the_test_corruptions():
    """What makes a training batch, and what that imports of ours, down to the last, knows nothing of corruptions."""
    rooms = [ROOT / "timm_pushpull" / room for room in ("corruptions", "data/corrupted", "benchmark")]
    # Presets say how images are resized.
    allowed = ROOT / "timm_pushpull" / "corruptions" / "presets.py"
    todo = [ROOT / "train" / "data.py", *(ROOT / "timm_pushpull" / "data" / "augment").glob("*.py")]
    done = {ROOT / "train" / "settings.py"}  # it checks the names of presets and tasks
    while todo:
        path = todo.pop()
        if path in done:
            continue
        done.add(path)
        for name in imported(path):
            file = source(name)
            if file is not None and file != allowed:
                assert not any(file.is_relative_to(room) for room in rooms), f"{path} imports {name}"
                todo.append(file)
    assert {ROOT / "timm_pushpull" / "data" / path for path in ("images.py", "augment/primitives.py")} < done
    assert len(done) > 10
