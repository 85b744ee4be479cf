"""The two splits of a run go together: other images to test on, the same classes under the same numbers."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from timm_pushpull import InputError
from train.data import load_splits
from train.settings import Settings


def settings(folder: Path, **options) -> Settings:
    return Settings(models=("resnet18_cifar",), dataset=str(folder), **options)


def write(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(folder / name)


def test_a_folder_of_one_split_is_not_tested_on_its_training_images(tmp_path):
    write(tmp_path, "cat/0.png", "dog/0.png")
    with pytest.raises(InputError, match="no images to test on: its only split is 'train'"):
        load_splits(settings(tmp_path))
    train, test = load_splits(settings(tmp_path, val_split="train"))
    assert len(train) == len(test) == 2


def test_test_images_may_lack_a_class(tmp_path):
    write(tmp_path, "train/bird/0.png", "train/cat/0.png", "train/dog/0.png", "test/bird/0.png", "test/dog/0.png")
    train, test = load_splits(settings(tmp_path))
    assert test.classes == train.classes == ("bird", "cat", "dog")
    assert test.labels.tolist() == [0, 2]


def test_images_of_one_class_are_refused(tmp_path):
    write(tmp_path, "train/images/0.png", "test/images/1.png")
    with pytest.raises(InputError, match=r"has the class 'images' only, so there is nothing to learn; put the images"):
        load_splits(settings(tmp_path))


def test_test_images_of_a_class_that_was_not_trained_are_refused(tmp_path):
    write(tmp_path, "train/bird/0.png", "train/cat/0.png", "test/bird/0.png", "test/dog/0.png")
    with pytest.raises(InputError, match=r"split 'test' of .* has the class 'dog', which split 'train' lacks"):
        load_splits(settings(tmp_path))


def test_a_configuration_of_the_dataset_is_trained_on(tmp_path, datasets_cache):
    import datasets

    folder, parts = tmp_path / "set", []
    features = datasets.Features(image=datasets.Image(), label=datasets.Value("string"))
    for config, side in (("large", 16), ("small", 8)):
        (folder / config).mkdir(parents=True)
        for split, labels in (("train", ["ant", "bee", "cat"]), ("test", ["cat", "ant"])):
            columns = {"image": [Image.new("RGB", (side, side))] * len(labels), "label": labels}
            datasets.Dataset.from_dict(columns, features=features).to_parquet(folder / config / f"{split}.parquet")
        files = ", ".join(f"{{split: {split}, path: {config}/{split}.parquet}}" for split in ("train", "test"))
        parts.append(f"- config_name: {config}\n  data_files: [{files}]")
    (folder / "README.md").write_text("---\nconfigs:\n" + "\n".join(parts) + "\n---\n")
    train, test = load_splits(settings(folder, dataset_config="small"))
    assert (train.config, test.read(0).size) == ("small", (8, 8))
    assert (train.labels.tolist(), test.labels.tolist()) == ([0, 1, 2], [2, 0])
    with pytest.raises(InputError, match="choose one with --dataset-config: large, small"):
        load_splits(settings(folder))
