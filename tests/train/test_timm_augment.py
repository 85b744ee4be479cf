"""Augmentation under timm's names: the formulas are timm's and torchvision's, the draws depend on keys alone."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import ExifTags, Image
from timm.data import Mixup, auto_augment, create_transform
from timm.data.mixup import mixup_target
from timm.data.random_erasing import RandomErasing
from timm.loss import BinaryCrossEntropy
from torchvision import transforms

from support.example_training import folder_arguments as arguments
from support.image_folder import make_image_folder
from support.processes import assert_one_clear_line
from timm_pushpull import InputError
from timm_pushpull.data.images import decode_image
from timm_pushpull.data.loading import load_images
from timm_pushpull.data.preprocessing import ResizeCenterCrop
from train import train
from train.augment import Erasing, Mixing, RandomResizedCrop, TimmPolicy, color_jitter
from train.batches import epoch_order, process_shares
from train.command_line import parse
from train.objectives import create_objective
from train.settings import Settings
from train.training_images import TrainingImages

CPU = torch.device("cpu")
CROP = RandomResizedCrop(30, (0.35, 1), (3 / 4, 4 / 3), "bilinear")
MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
MIXING = Mixing(0.8, 1, 1, 0.5, 0, num_classes=2, seed=0)
EVERYTHING = {
    "resized_crop": CROP,
    "timm_policy": TimmPolicy("rand-m6-mstd0.5-inc1", 30, MEAN),
    "color_jitter": 0.4,
    "erasing": Erasing(0.5, "pixel", 2, MEAN, STD),
    "mixing": MIXING,
}


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    return make_image_folder(tmp_path_factory.mktemp("augment") / "images")


def training_images(folder: Path, **changes: object) -> TrainingImages:
    settings = {"padding": 0, "hflip": 0.5, "seed": 0, "device": CPU, **changes}
    return TrainingImages(load_images(str(folder), train=True), ResizeCenterCrop(30, 34), **settings)


@pytest.mark.parametrize("where", ["one tensor", "one by one"])
def test_images_are_mirrored_and_turned_upside_down(images, where, monkeypatch):
    """All of them at a probability of 1; none of the other draws changes."""
    if where == "one tensor":
        monkeypatch.setattr(ResizeCenterCrop, "resized", lambda self, image: np.asarray(image.resize((34, 34))))
    shares = [np.arange(6), np.arange(6, 12)]
    as_they_are = seen(training_images(images, hflip=0.0), shares)
    for hflip, vflip, sides in ((1.0, 0.0, [1]), (0.0, 1.0, [0]), (1.0, 1.0, [0, 1])):
        training = training_images(images, hflip=hflip, vflip=vflip)
        assert (training.pixels is not None) == (where == "one tensor")
        for position, (pixels, _) in seen(training, shares).items():
            assert torch.equal(pixels, as_they_are[position][0].flip(sides))
    training = training_images(images, hflip=0.5, vflip=0.25)
    training.set_epoch(0)
    assert 0 < training.mirrored.sum() < len(training)
    assert 0 < training.upside_down.sum() < len(training)


def random_image(height: int = 60, width: int = 80) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def seen(images: TrainingImages, shares: list[np.ndarray], workers: int = 0, first: int = 0, parts: int = 1) -> dict:
    """What the network gets of each image, by its position: pixels and target."""
    images.set_epoch(0)
    batches, found = images.batches(shares, workers, first, parts), {}
    for positions, (pixels, targets) in zip(shares, batches, strict=True):
        found.update(zip(positions.tolist(), zip(pixels, targets, strict=True), strict=True))
    return found


def assert_all_same(some: dict, all_of_them: dict) -> None:
    for position, pair in some.items():
        for ours, theirs in zip(pair, all_of_them[position], strict=True):
            assert torch.equal(ours, theirs)


@pytest.mark.parametrize(
    "changes",
    [
        *({name: value} for name, value in EVERYTHING.items()),
        EVERYTHING,
        {**EVERYTHING, "augmentation": "trivialaugment"},
    ],
    ids=lambda changes: ",".join(changes),
)
def test_draws_depend_on_seed_epoch_and_image_whatever_the_processes_and_workers(images, changes, monkeypatch):
    training = training_images(images, **changes)
    for batch_size, parts in ((5, 1), (8, 2)):
        order, everyone = epoch_order(24, batch_size, seed=0, epoch=0), {}
        whole = seen(training, order)
        assert sorted(whole) == list(range(24))
        for rank in range(2):
            shares = process_shares(order, rank, world_size=2, grad_accum_steps=parts, group=training.group)
            everyone |= seen(training, shares, workers=2 - rank, parts=parts)
        assert sorted(everyone) == sorted(whole)
        assert_all_same(everyone, whole)
        assert_all_same(seen(training, order[2:], first=2), whole)  # as after a resume
    monkeypatch.setattr("train.training_images._IN_MEMORY", 0)
    assert_all_same(seen(training_images(images, **changes), order[:1]), whole)
    plain = seen(training_images(images), order)
    assert sum(not torch.equal(whole[position][0].float(), plain[position][0].float()) for position in plain) >= 8
    other = seen(training_images(images, **{**changes, "seed": 1}), order[:1])
    assert any(not torch.equal(pair[0], whole[position][0]) for position, pair in other.items())


def test_threads_draw_and_crop_what_one_thread_does(images, monkeypatch):
    """torchvision draws from torch's global generator, which they share."""
    keys = range(500)
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(lambda key: CROP.draw((80, 60), key), keys)) == [
            CROP.draw((80, 60), key) for key in keys
        ]
    order, found = epoch_order(24, 8, seed=0, epoch=0), []
    for count in (1, 4):
        monkeypatch.setattr(torch, "get_num_threads", lambda count=count: count)
        training = training_images(images, resized_crop=CROP)
        assert (training.threads is not None) == (count > 1)
        found.append(seen(training, order))
    assert_all_same(*found)


def test_shares_are_whole_pairs_and_those_of_single_images_as_before():
    batch = np.random.default_rng(0).permutation(13)
    for parts in (1, 2, 3):
        pairs = [process_shares([batch], rank, 2, parts, group=2) for rank in range(2)]
        together = {tuple(pair) for share in pairs for part in share for pair in np.split(part, range(2, len(part), 2))}
        assert together == {tuple(batch[start : start + 2]) for start in range(0, 13, 2)}
        for rank in range(2):
            singles = process_shares([batch], rank, 2, parts)
            for ours, theirs in zip(singles, np.array_split(batch[rank::2], parts), strict=True):
                assert np.array_equal(ours, theirs)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_the_crop_is_torchvision_s(interpolation):
    crop = RandomResizedCrop(30, (0.2, 0.9), (0.5, 2), interpolation)
    theirs = transforms.RandomResizedCrop(30, (0.2, 0.9), (0.5, 2), transforms.InterpolationMode(interpolation))
    image, boxes = Image.fromarray(random_image()), set()
    state = torch.random.get_rng_state()
    for key in range(20):
        ours = crop(image, key)
        assert torch.equal(torch.random.get_rng_state(), state)
        boxes.add(crop.draw(image.size, key)[0])
        with torch.random.fork_rng():
            torch.manual_seed(key ^ 1)
            assert np.array_equal(ours, np.asarray(theirs(image)))
    assert len(boxes) == 20


def test_random_interpolation_is_bilinear_or_bicubic():
    crop = RandomResizedCrop(30, (0.2, 0.9), (0.5, 2), "random")
    found = [crop.draw((80, 60), key)[1] for key in range(40)]
    assert set(found) == {Image.Resampling.BILINEAR, Image.Resampling.BICUBIC}


def smooth_photograph(path: Path, orientation: int = 1, **options: object) -> None:
    down, across = np.mgrid[0:480, 0:640] / 640
    pixels = 127 + 120 * np.stack([np.sin(9 * down + 2), np.cos(7 * across), np.sin(5 * (down + across))], axis=2)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    Image.fromarray(pixels.astype(np.uint8)).save(path, exif=exif, **options)


@pytest.mark.parametrize("orientation", [1, 6])
def test_large_jpeg_files_are_decoded_at_a_reduced_scale_where_the_crop_allows_it(tmp_path, orientation, monkeypatch):
    for name in ("train/a", "train/b"):
        (tmp_path / name).mkdir(parents=True)
        smooth_photograph(tmp_path / name / "0.jpg", orientation, quality=95)
    files, crop, sizes = (
        load_images(str(tmp_path), train=True),
        RandomResizedCrop(64, (0.02, 1), (0.5, 2), "bilinear"),
        set(),
    )
    upright = (640, 480) if orientation == 1 else (480, 640)
    assert files.read(0).size == upright
    kept = RandomResizedCrop.__call__

    def spy(self, image, key, full_size):
        assert full_size == upright
        (left, top, right, bottom), _ = self.draw(full_size, key)
        by = full_size[0] // image.width
        assert by == 1 or min(right - left, bottom - top) / by >= 64
        sizes.add(by)
        return kept(self, image, key, full_size)

    monkeypatch.setattr(RandomResizedCrop, "__call__", spy)
    for key in range(40):
        reduced, whole = crop.read(files, 0, key), kept(crop, files.read(0), key)
        difference = np.abs(reduced.astype(int) - whole)
        assert difference.mean() < 4
        assert difference.max() < 16
    assert sizes == {1, 2, 4}


def test_other_formats_are_decoded_whole(tmp_path):
    smooth_photograph(tmp_path / "0.png")
    assert decode_image(tmp_path / "0.png", lambda size: 4).size == (640, 480)


def test_colour_jitter_is_torchvision_s():
    image, theirs = random_image(), transforms.ColorJitter(0.4, 0.4, 0.4)
    for key in range(10):
        with torch.random.fork_rng():
            torch.manual_seed(key ^ 2)
            expected = np.asarray(theirs(Image.fromarray(image)))
        assert np.array_equal(color_jitter(image, 0.4, key), expected)


@pytest.mark.parametrize("config", ["rand-m9-mstd0.5-inc1", "augmix-m3-w3", "original-mstd0.5"])
@pytest.mark.parametrize("interpolation", ["bicubic", "random"])
def test_policies_are_timm_s_and_leave_the_generators_alone(config, interpolation):
    image, kinds = random_image(), (auto_augment.RandAugment, auto_augment.AugMixAugment, auto_augment.AutoAugment)
    ours = TimmPolicy(config, 30, MEAN, interpolation)
    pipeline = create_transform(30, is_training=True, auto_augment=config, interpolation=interpolation, mean=MEAN)
    (theirs,) = (step for step in pipeline.transforms if isinstance(step, kinds))
    states, results = (random.getstate(), np.random.get_state()[1].tolist()), set()
    for key in range(12):
        found = ours(image, key)
        assert (random.getstate(), np.random.get_state()[1].tolist()) == states
        results.add(found.tobytes())
        kept = np.random.get_state()
        random.seed(key ^ 4)
        np.random.seed(key ^ 4)
        assert np.array_equal(np.asarray(theirs(Image.fromarray(image))), found)
        np.random.set_state(kept)
        random.setstate(states[0])
    assert len(results) > 6


@pytest.mark.parametrize("config", ["rand-x3", "nothing", "original-x2"])
def test_unknown_policies_of_timm_are_named(config):
    with pytest.raises(InputError, match=f"aa is '{config}', which timm does not know"):
        TimmPolicy(config, 30, MEAN)


@pytest.mark.parametrize("mode", ["pixel", "rand", "const"])
def test_erasing_is_timm_s_on_normalised_images(mode):
    shift, scale = (255 * torch.tensor(values) for values in (MEAN, STD))
    batch = torch.from_numpy(np.stack([random_image(30, 30)] * 12))
    state = random.getstate()
    ours = Erasing(0.5, mode, 2, MEAN, STD)(batch, np.arange(12))
    assert random.getstate() == state
    theirs, changed = RandomErasing(0.5, mode=mode, max_count=2, device="cpu"), 0
    for key in range(12):
        random.seed(key ^ 3)
        with torch.random.fork_rng():
            torch.manual_seed(key ^ 3)
            expected = theirs(((batch[key] - shift) / scale).permute(2, 0, 1)).permute(1, 2, 0)
        torch.testing.assert_close((ours[key] - shift) / scale, expected, rtol=0, atol=1e-5)
        changed += not torch.equal(ours[key], batch[key].float())
    assert 2 < changed < 10


@pytest.mark.parametrize(("mixup", "cutmix"), [(0.8, 0), (0, 1), (0.8, 1)])
def test_mixing_is_timm_s(mixup, cutmix):
    """timm mixes a batch with itself in reverse order, so ours is brought into such an order."""
    mixing = Mixing(mixup, cutmix, 0.8, 0.5, 0, num_classes=5, seed=3)
    theirs = Mixup(mixup, cutmix, prob=0.8, switch_prob=0.5, mode="batch", label_smoothing=0, num_classes=5)
    rng = np.random.default_rng(0)
    images, labels = (
        torch.from_numpy(rng.integers(0, 256, (6, 20, 24, 3), dtype=np.uint8)),
        torch.tensor([0, 1, 2, 3, 4, 0]),
    )
    order, weights = [0, 2, 4, 5, 3, 1], set()
    for batch in range(30):
        ours, targets = mixing(images, labels, epoch=1, batch=batch)
        state = np.random.get_state()
        try:
            np.random.set_state(
                np.random.RandomState(np.random.MT19937(np.random.SeedSequence([3, 1, batch]))).get_state()
            )
            pixels, expected = theirs(images[order].permute(0, 3, 1, 2).float(), labels[order])
        finally:
            np.random.set_state(state)
        torch.testing.assert_close(ours[order].float(), pixels.permute(0, 2, 3, 1), rtol=0, atol=1e-3)
        torch.testing.assert_close(targets[order], expected.float())
        weights.add(round(float(targets[0, 0]), 4))
    assert len(weights) > 15


def test_mixing_ends_at_an_epoch_and_leaves_the_last_of_an_odd_batch():
    mixing = Mixing(1, 0, 1, 0.5, off_epoch=2, num_classes=3, seed=0)
    images, labels = (
        torch.from_numpy(np.stack([random_image(8, 8)] * 3)) // torch.tensor([1, 2, 3]).view(3, 1, 1, 1),
        torch.arange(3),
    )
    mixed, targets = mixing(images, labels, epoch=1, batch=0)
    assert not torch.equal(mixed[0], images[0].float())
    torch.testing.assert_close(mixed[2], images[2].float(), rtol=0, atol=1e-3)
    assert torch.equal(targets[2], torch.tensor([0.0, 0, 1]))
    same, hard = mixing(images, labels, epoch=2, batch=0)
    assert torch.equal(same, images)
    assert torch.equal(hard, torch.eye(3))


def test_a_training_with_all_of_it_ends_and_is_tested_at_another_size(images, tmp_path, run_inside):
    run = tmp_path / "run"
    given = {
        "recipe": "imagenette",
        "img-size": 32,
        "test-img-size": 40,
        "scale": ["0.3", "1"],
        "mixup": 0.2,
        "cutmix": 1,
    }
    given |= {"reprob": 0.3, "color-jitter": 0.3, "train-interpolation": "random", "epochs": 1, "workers": 0}
    command = arguments(images, run, **given)
    at = command.index("--resize")
    process = run_inside(train.main, *command[:at], *command[at + 2 :])
    assert process.returncode == 0, process.stderr
    config, recipe = (run / "config.json").read_text(), (run / "recipe.yaml").read_text()
    assert '"input_size": [\n      3,\n      40,\n      40\n    ]' in config
    assert "test_img_size: 40" in recipe
    assert "dataset_config: null" in recipe
    card = (run / "README.md").read_text()
    assert "random resized crops" in card
    assert "at 32 x 32 px and tested at 40 x 40 px" in card


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["--scale", "0.5"], "scale is 0.5; give two numbers above 0, the smaller one first, at most 1"),
        (["--scale", "0.5", "1.5"], "scale is 0.5 1.5; give two numbers"),
        (["--scale", "1", "0.5"], "the smaller one first"),
        (["--ratio", "0.5", "2"], "ratio is that of a random resized crop; add --scale"),
        (["--scale", "0.5", "1", "--ratio", "2", "1"], "ratio is 2.0 1.0; give two numbers above 0"),
        (["--train-interpolation", "bicubic"], "add --scale"),
        (["--scale", "0.5", "1", "--train-interpolation", "bicubix"], "did you mean 'bicubic'"),
        (["--scale", "0.5", "1", "--crop-padding", "4"], "crop_padding is 4, but a random resized crop"),
        (["--scale", "0.5", "1", "--resize", "40"], "resize is 40, but a random resized crop"),
        (["--mixup", "-1"], "mixup is -1.0; use at least 0"),
        (["--reprob", "1.5"], "reprob is 1.5; use at least 0 and at most 1"),
        (["--remode", "pixels"], "did you mean 'pixel'"),
        (["--recipe", "cifar10-retrieval", "--mixup", "0.2"], "mixup is 0.2, but the task is retrieval; leave it out"),
        (["--aa", "rand-m9", "--augmentation", "augmix"], "aa is 'rand-m9' and augmentation 'augmix'; give one"),
        (["--bce-target-thresh", "0.2"], "bce_target_thresh needs the BCE loss; add --bce-loss"),
        (["--recipe", "cifar10-retrieval", "--bce-loss"], "bce_loss is True, but the task is retrieval"),
        (["--recipe", "cifar10-retrieval", "--cutmix", "1"], "cutmix is 1.0, but the task is retrieval; leave it out"),
    ],
)
def test_bad_settings_are_named(given, words):
    with pytest.raises(InputError, match=words.replace("(", r"\(")):
        parse(["--crop-padding", "0", *given])


def test_a_batch_too_small_to_be_mixed_is_one_line(images, tmp_path, run_inside):
    process = run_inside(train.main, *arguments(images, tmp_path / "run", mixup=0.2, **{"grad-accum-steps": 5}))
    assert_one_clear_line(
        process, "batch_size is 8; use one from 12 to 24", "10 (processes times grad_accum_steps, twice"
    )


def test_the_recipe_s_configuration_is_one_of_the_recipe_s_dataset(tmp_path):
    assert parse(["--recipe", "imagenette"])[1].dataset_config == "320px"
    assert parse(["--recipe", "imagenette", "--dataset", str(tmp_path)])[1].dataset_config is None
    given = ["--recipe", "imagenette", "--dataset", "x/y", "--dataset-config", "160px"]
    assert parse(given)[1].dataset_config == "160px"


def test_the_imagenette_recipe():
    _, settings = parse(["--recipe", "imagenette"])
    assert (settings.scale, settings.img_size, settings.test_img_size) == ((0.35, 1.0), 128, 160)
    assert (settings.preset, settings.smoothing, settings.mixes) == ("imagenet-c", 0.1, False)
    assert Settings.from_mapping({"models": ["resnet18"]}, "x").mixes is False


@pytest.mark.parametrize(("threshold", "sums"), [(None, False), (0.2, False), (0.2, True)])
def test_bce_is_timm_s(threshold, sums):
    settings = Settings(models=("x",), bce_loss=True, bce_target_thresh=threshold, bce_sum=sums, smoothing=0.1)
    outputs, labels = torch.randn(6, 5, generator=torch.Generator().manual_seed(0)), torch.arange(6) % 5
    objective = create_objective(settings)
    theirs = BinaryCrossEntropy(smoothing=0.1, target_threshold=threshold, sum_classes=sums)
    torch.testing.assert_close(objective.loss(outputs, labels), 6 * theirs(outputs, labels))
    mixed = 0.7 * F.one_hot(labels, 5) + 0.3 * F.one_hot(labels.flip(0), 5)
    smoothed = mixup_target(labels, 5, 0.7, 0.1)
    torch.testing.assert_close(objective.loss(outputs, mixed), 6 * theirs(outputs, smoothed))
