"""Where images come from, and the way to a network's input."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import functional as tv

from support.image_folder import make_image_folder
from support.paths import shared_path
from timm_pushpull import InputError
from timm_pushpull.data.images import read_batches
from timm_pushpull.data.loading import load_images, read_classes
from timm_pushpull.data.preprocessing import ResizeCenterCrop, normalise
from timm_pushpull.utils.wordnet import label_descriptions, readable


def test_importing_data_loads_neither_datasets_nor_pyarrow():
    code = "import sys, timm_pushpull.data; print([n for n in ('datasets', 'pyarrow', 'pandas') if n in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_digits_are_split_the_same_way_in_every_class():
    train, test = load_images("digits", train=True), load_images("digits")
    assert (len(train), len(test)) == (1442, 355)
    assert train.classes == tuple("0123456789")
    shares = np.bincount(test.labels) / (np.bincount(test.labels) + np.bincount(train.labels))
    assert ((shares > 0.19) & (shares <= 0.2)).all()
    images = [image for batch, _ in read_batches(test, ResizeCenterCrop(32, 32), 100) for image in batch]
    assert all(image.shape == (32, 32, 3) for image in images)
    assert len({image.tobytes() for image in images}) == 355
    # A one is narrow and a zero is not: labels and images belong together.
    zero, one = (
        np.mean([p for p, label in zip(images, test.labels, strict=True) if label == digit], axis=0) for digit in (0, 1)
    )
    assert zero[12:20, 14:18].mean() < one[12:20, 14:18].mean() / 2


def test_a_folder_called_digits_is_read_and_said(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("resnet18_cifar", "cat"):
        (tmp_path / "digits" / name).mkdir(parents=True)
    assert len(load_images("digits")) == 355
    Image.new("RGB", (8, 8)).save(tmp_path / "digits" / "resnet18_cifar" / "robustness.png")
    (tmp_path / "digits" / "resnet18_cifar" / "recipe.yaml").touch()
    assert len(load_images("digits")) == 355  # the folder of a run
    (tmp_path / "digits" / "resnet18_cifar" / "recipe.yaml").unlink()
    Image.new("RGB", (8, 8)).save(tmp_path / "digits" / "cat" / "0.png")
    with pytest.warns(UserWarning, match="not scikit-learn's digits"):
        found = load_images("digits")
    assert found.classes == ("cat", "resnet18_cifar")


@pytest.mark.parametrize("name", ["0.png", "train.zip", "train-000.tar", "x.npy", "notes"])
@pytest.mark.filterwarnings("ignore:'digits' is the folder")
def test_images_in_a_folder_called_digits_are_not_passed_over(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits").mkdir()
    (tmp_path / "digits" / name).write_bytes(b"")
    with pytest.raises(InputError, match="digits"):
        load_images("digits")
    (tmp_path / "digits" / "recipe.yaml").touch()  # the folder of a run
    assert len(load_images("digits")) == 355


@pytest.mark.parametrize("place", ["c\x1b[2J", "c\n"])
def test_names_that_no_results_can_hold_are_refused_before_the_work(tmp_path, place):
    folder = tmp_path / place
    for name in ("ant", "bee"):
        (folder / name).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(folder / name / "0.png")
    if "\n" in place:
        assert load_images(folder).name == place  # results can
        return
    with pytest.raises(InputError, match=r"name of the dataset is 'c\\x1b\[2J', which holds the control character"):
        load_images(folder)


def test_a_token_in_the_name_of_a_folder_is_not_stored(tmp_path):
    folder = tmp_path / "hf_abcdefghijklmnopqrstuvwx"
    for name in ("ant", "bee"):
        (folder / name).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(folder / name / "0.png")
    assert load_images(folder).name == "***"


def test_cifar10():
    test = load_images(str(shared_path("data/cifar10")))
    assert (test.name, test.split, test.files.column, len(test)) == ("cifar10", "test", "img", 10_000)
    assert [test.classes[label] for label in test.labels[:4]] == ["cat", "ship", "ship", "airplane"]
    assert test.read(0).size == (32, 32)


def test_tiny_imagenet_with_its_grey_images():
    train = load_images(str(shared_path("data/tiny-imagenet-200")), train=True)
    assert (len(train), len(train.classes)) == (50_000, 200)
    batch, _ = next(read_batches(train, ResizeCenterCrop(64, 64), 512))
    assert all(image.shape == (64, 64, 3) for image in batch)
    assert any((image == image[..., :1]).all() for image in batch)


def test_a_folder_of_images(image_folder):
    train, test = load_images(str(image_folder), train=True), load_images(str(image_folder))
    assert (train.name, train.classes, len(train), len(test)) == ("photos", ("dark", "light"), 24, 10)
    assert test.split == "test"


def test_columns_are_found_by_type_whatever_their_names(tmp_path):
    import datasets

    images = [Image.new("L", (8, 8), value) for value in (0, 255)]
    features = datasets.Features(
        wort=datasets.ClassLabel(names=["a", "b"]), bild=datasets.Image(), nummer=datasets.Value("int64")
    )
    table = datasets.Dataset.from_dict({"wort": [1, 0], "bild": images, "nummer": [7, 8]}, features=features)
    table.to_parquet(tmp_path / "validation-00000-of-00001.parquet")
    images = load_images(str(tmp_path))
    assert (images.split, images.files.column, images.labels.tolist()) == ("validation", "bild", [1, 0])
    assert images.read(1).getpixel((0, 0)) == (255, 255, 255)


def test_whole_numbers_serve_as_labels_where_there_are_no_class_names(tmp_path):
    import datasets

    table = datasets.Dataset.from_dict(
        {"x": [Image.new("RGB", (8, 8))] * 3, "y": [0, 2, 1]},
        features=datasets.Features(x=datasets.Image(), y=datasets.Value("int32")),
    )
    table.to_parquet(tmp_path / "test-00000-of-00001.parquet")
    images = load_images(str(tmp_path))
    assert (images.classes, images.labels.tolist()) == (("0", "1", "2"), [0, 2, 1])


def test_limits_are_fixed_class_balanced_and_nested():
    images = load_images("digits", train=True)
    small, large = images.subset(25), images.subset(100)
    assert np.bincount(small.labels[small.indices]).tolist().count(2) == 5
    assert set(np.bincount(large.labels[large.indices])) == {10}
    assert set(small.indices) < set(large.indices)
    np.testing.assert_array_equal(small.indices, images.subset(25).indices)
    assert images.subset(10_000) is images


@pytest.mark.parametrize("size", [(302, 200), (200, 301), (224, 224), (90, 80)])
def test_geometry_is_torchvisions_resize_and_centre_crop(size):
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))
    expected = tv.center_crop(tv.resize(image, 256), [224, 224])
    np.testing.assert_array_equal(ResizeCenterCrop(224, 256)(image), np.asarray(expected))


@pytest.mark.parametrize("size", [(3000, 1), (1, 3001), (6401, 20)])
def test_a_very_long_image_is_cropped_before_it_is_resized(size):
    ramp = np.linspace(0, 255, max(size)).astype(np.uint8)[None, :, None].repeat(min(size), 0).repeat(3, 2)
    image = Image.fromarray(ramp if size[0] > size[1] else ramp.transpose(1, 0, 2))
    geometry = ResizeCenterCrop(224, 256)
    pixels = geometry(image)
    assert pixels.shape == (224, 224, 3)
    assert np.abs(pixels.astype(int) - 127).max() <= 1  # the centre, whichever side is long
    assert geometry.resized(image).size <= 17 * 256 * 256 * 3


def test_normalise():
    images = np.random.default_rng(0).integers(0, 256, (2, 5, 4, 3), dtype=np.uint8)
    mean, std = (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)
    expected = torch.stack([tv.normalize(tv.to_tensor(image), mean, std) for image in images])
    with torch.inference_mode():
        actual = normalise(images, mean, std)
    assert actual.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(actual, expected)
    grey_levels = torch.from_numpy(images).float()  # as after PRIME or mixing
    assert torch.equal(normalise(grey_levels, mean, std), actual)
    assert torch.equal(grey_levels, torch.from_numpy(images).float())  # not overwritten
    turned = torch.from_numpy(images.transpose(0, 2, 1, 3)).transpose(1, 2)  # not contiguous
    assert torch.equal(normalise(turned, mean, std), actual)
    leaf = grey_levels.requires_grad_()  # also after a call in inference mode
    normalise(leaf, mean, std).sum().backward()
    torch.testing.assert_close(leaf.grad[0, 0, 0], 1 / (255 * torch.tensor(std)))


def test_unknown_places_are_named(tmp_path, hub):
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "train.txt").write_text("not an image")
    (tmp_path / "empty").mkdir()
    for place, message in (
        (tmp_path / "nowhere", "no dataset folder"),
        (tmp_path / "texts", "holds no images"),
        (tmp_path / "empty", "expected a folder of images per class"),
        ("my_imges", "cannot load dataset 'my_imges': .*; there is no such folder either"),
    ):
        with pytest.raises(InputError, match=message):
            load_images(str(place), train=True)


def test_missing_splits_and_columns_are_named(image_folder):
    for arguments, message in (
        ({"split": "val"}, "no split val; it has: train, test"),
        ({"image_column": "img"}, "no column 'img'"),
        ({"label_column": "labels"}, "it has: image"),
        ({"label_column": "image"}, "not class numbers"),
    ):
        with pytest.raises(InputError, match=message):
            load_images(str(image_folder), **arguments)


def test_a_choice_between_columns_is_left_to_the_user(tmp_path):
    import datasets

    label = datasets.ClassLabel(names=["a"])
    table = datasets.Dataset.from_dict(
        {"image": [Image.new("RGB", (8, 8))], "fine": [0], "coarse": [0]},
        features=datasets.Features(image=datasets.Image(), fine=label, coarse=label),
    )
    table.to_parquet(tmp_path / "test-00000-of-00001.parquet")
    with pytest.raises(InputError, match="choose one with --label-column: fine, coarse"):
        load_images(str(tmp_path))
    assert load_images(str(tmp_path), label_column="fine").classes == ("a",)


def test_unlabelled_images_are_refused(tmp_path):
    import datasets

    table = datasets.Dataset.from_dict(
        {"image": [Image.new("RGB", (8, 8))], "label": [-1]},
        features=datasets.Features(image=datasets.Image(), label=datasets.ClassLabel(names=["a"])),
    )
    table.to_parquet(tmp_path / "test-00000-of-00001.parquet")
    with pytest.raises(InputError, match="labels from -1 to -1 for 1 classes"):
        load_images(str(tmp_path))


def test_a_truncated_image_is_named(tmp_path):
    folder = make_image_folder(tmp_path / "photos")
    victim = folder / "test" / "light" / "2.png"
    victim.write_bytes(victim.read_bytes()[:500])
    images = load_images(str(folder))
    with pytest.raises(InputError, match=r"image 7 \(.*light/2.png\) of 'photos', split 'test', cannot be read"):
        list(read_batches(images, ResizeCenterCrop(32, 32), 4))


@pytest.mark.parametrize(("arguments", "message"), [((64, 32), "size 64"), ((32, 32, "cubic"), "cubic")])
def test_impossible_geometry_is_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        ResizeCenterCrop(*arguments)


def test_a_selection_of_classes_has_its_own_labels(image_folder, tmp_path):
    images = load_images(str(image_folder))
    light = images.select_classes(["light"])
    assert (light.classes, len(light)) == (("light",), 5)
    assert set(light.labels[light.indices]) == {0}
    swapped = images.select_classes(["light", "dark"])
    assert np.array_equal(swapped.labels, 1 - images.labels)
    with pytest.raises(InputError, match="unknown class 'ligth'; did you mean 'light'"):
        images.select_classes(["ligth"])
    (tmp_path / "names.txt").write_text("light\n\ndark\nlight\n")
    with pytest.raises(InputError, match="names class 'light' twice"):
        read_classes(tmp_path / "names.txt")


def test_wordnet_ids_choose_from_imagenet_s_named_classes(image_folder):
    images = load_images(str(image_folder))
    names = ("tench, Tinca tinca", *(f"class {number}" for number in range(1, 1000)))
    named = replace(images, classes=names, labels=np.where(images.labels == 0, 0, 15))
    robins = named.select_classes(["n01558993", "n01440764"])  # American robin is class 15, tench class 0
    assert np.array_equal(robins.labels, 1 - images.labels)


def test_wordnet_ids_in_words():
    assert label_descriptions(["n01440764", "n03394916"]) == {
        "n01440764": "tench, Tinca tinca",
        "n03394916": "French horn, horn",
    }
    cranes = ["n02012849", "n03126707", "n01443537"]  # a bird and a machine
    assert readable(cranes) == ("crane (n02012849)", "crane (n03126707)", "goldfish")
    for names in (["cat", "n01440764"], ["n99999999"], []):  # the second looks like an id
        assert (label_descriptions(names), readable(names)) == ({}, tuple(names))
