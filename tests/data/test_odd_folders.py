"""Folders as people have them: each is read by the rule of torchvision's ImageFolder, or refused in one clear line.

Every case writes a few tiny images, and says which split, classes and files come out, or what the error names.
"""

from __future__ import annotations

import os
import warnings

import numpy as np
import pytest
from torchvision.datasets import ImageFolder

from support.odd_folders import Case, check_case, folders, images, link, rename, texts
from timm_pushpull.data import load_images

pytestmark = pytest.mark.usefixtures("datasets_cache")

PAIR = ("cat/0.png", "dog/0.png")
SPLITS = ("train/cat/0.png", "train/dog/0.png", "test/cat/1.png", "test/dog/1.png")
SPLIT_WORDS = ("bullet train", "dev board", "eval", "test tube", "train")
TINY = texts(
    val__val_annotations_dot_txt="0.JPEG\tn02\t0\t0\t9\t9\n1.JPEG\tn01\t0\t0\t9\t9\n", wnids_dot_txt="n02\nn01"
)
TINY_IMAGES = images(
    *("train/n01/images/n01_0.JPEG", "train/n02/images/n02_0.JPEG", "val/images/0.JPEG", "val/images/1.JPEG"),
    "test/images/0.JPEG",
)

CASES: dict[str, Case] = {
    "class folders": ([images(*PAIR)], {}, ("train", "cat dog", "cat/0.png dog/0.png")),
    "files named like splits": (
        [images("cat/test_0.png", "cat/x.png", "dog/train.png", "dog/val_1.png")],
        {},
        ("train", "cat dog", "cat/test_0.png cat/x.png dog/train.png dog/val_1.png"),
    ),
    "files of the ImageNet validation images": (
        [images("n01/ILSVRC2012_val_00000001.png", "n02/ILSVRC2012_val_00000002.png")],
        {"split": "train"},
        ("train", "n01 n02", "n01/ILSVRC2012_val_00000001.png n02/ILSVRC2012_val_00000002.png"),
    ),
    "another word for a split": ([images(*SPLITS)], {"split": "training"}, "no split training; it has: train, test"),
    "a split that is not there": ([images(*PAIR)], {"split": "test"}, "its class folders are one split, 'train'"),
    "a class is no split": ([images(*PAIR)], {"split": "cat"}, "no split cat"),
    "splits": ([images(*SPLITS)], {}, ("test", "cat dog", "test/cat/1.png test/dog/1.png")),
    "splits, to train": ([images(*SPLITS)], {"train": True}, ("train", "cat dog", "train/cat/0.png train/dog/0.png")),
    "splits by other names": (
        [images("Training/cat/0.png", "val/cat/1.png")],
        {},
        ("validation", "cat", "val/cat/1.png"),
    ),
    "a split by the name of its folder": (
        [images("train/cat/0.png", "val/cat/1.png", "test/cat/2.png")],
        {"split": "val"},
        ("validation", "cat", "val/cat/1.png"),
    ),
    "two folders with names of one split": (
        [images("test/cat/0.png", "eval/cat/1.png")],
        {},
        ("test", "cat", "test/cat/0.png"),
    ),
    "a split of the user's own": (
        [images("fold0/cat/0.png", "fold1/cat/1.png")],
        {"split": "fold1"},
        ("fold1", "cat", "fold1/cat/1.png"),
    ),
    "the folder of a split": (
        [images("val/cat/0.png", "val/dog/0.png")],
        {"below": "val"},
        ("validation", "cat dog", "cat/0.png dog/0.png"),
    ),
    "classes named like splits": (
        [images(*(f"{split}/{name}/0.png" for split in ("train", "test") for name in SPLIT_WORDS))],
        {},
        ("test", SPLIT_WORDS, tuple(f"test/{name}/0.png" for name in SPLIT_WORDS)),
    ),
    "classes named like splits, without splits": (
        [images(*(f"{name}/0.png" for name in SPLIT_WORDS))],
        {},
        ("train", SPLIT_WORDS, tuple(f"{name}/0.png" for name in SPLIT_WORDS)),
    ),
    "a class called train": (
        [images("train/0.png", "boat/0.png")],
        {},
        ("train", "boat train", "boat/0.png train/0.png"),
    ),
    "a class called train, with folders in it": (
        [images("train/steam/0.png", "boat/0.png")],
        {"train": True},
        "beside it, 'boat'",
    ),
    "the same, the split named": (
        [images("train/steam/0.png", "boat/0.png")],
        {"split": "train"},
        ("train", "steam", "train/steam/0.png"),
    ),
    "a class called train, asked for as a split": (
        [images("train/0.png", "boat/0.png")],
        {"split": "train"},
        "images in .*/train' are not in class folders; .* if it is a class, leave the split out",
    ),
    "splits without class folders beside another folder": (
        [images("train/cat.0.png", "train/dog.0.png", "test/1.png", "docs/figure.png")],
        {"split": "train"},
        "such as train/CLASS/1.png",
    ),
    "stray images beside class folders in splits": (
        [images(*SPLITS, "train/x.png", "test/x.png", "docs/figure.png")],
        {"split": "train"},
        ("train", "cat dog", "train/cat/0.png train/dog/0.png"),
    ),
    "a stray image in one of the splits": (
        [images(*SPLITS, "train/x.png")],
        {"train": True},
        ("train", "cat dog", "train/cat/0.png train/dog/0.png"),
    ),
    "a class folder with a control character": ([images("a\x1b[2J/0.png", "b/0.png")], {}, "the control character"),
    "images in split folders": ([images("train/0.png", "test/0.png")], {}, "are not in class folders"),
    "unlabelled test images": ([images("train/cat/0.png", "test/0.png")], {}, "has: train; choose one of these"),
    "nested images": (
        [images("test/cat/a/x.png", "test/cat/y.png", "test/dog/b/c/z.png")],
        {},
        ("test", "cat dog", "test/cat/y.png test/cat/a/x.png test/dog/b/c/z.png"),
    ),
    "linked class folders": (
        [images("store/a/0.png", "data/dog/0.png"), link("data/cat", "store/a")],
        {"below": "data"},
        ("train", "cat dog", "cat/0.png dog/0.png"),
    ),
    "linked images": (
        [images("store/0.png", "data/cat/1.png"), link("data/cat/0.png", "store/0.png")],
        {"below": "data"},
        ("train", "cat", "cat/0.png cat/1.png"),
    ),
    "a link that leads back": (
        [images(*PAIR), link("cat/again", "cat")],
        {},
        ("train", "cat dog", "cat/0.png dog/0.png"),
    ),
    "a class folder that is a link to nowhere": (
        [images("data/dog/0.png"), link("data/cat", "store/a")],
        {"below": "data"},
        "data/cat' is a link to .*store/a', which is not there",
    ),
    "a split that is a link to nowhere": (
        [images("test/cat/0.png"), link("train", "store")],
        {"train": True},
        "train' is a link to .*store', which is not there",
    ),
    "brackets in the path": (
        [images("[2024] a*b?/cat/0.png", "[2024] a*b?/dog/0.png")],
        {"below": "[2024] a*b?"},
        ("train", "cat dog", "cat/0.png dog/0.png"),
    ),
    "folders of file managers": (
        [
            images(
                *PAIR, "@eaDir/0.png", ".ipynb_checkpoints/0.png", "__MACOSX/0.png", "cat/@eaDir/0.png", "cat/._0.png"
            )
        ],
        {},
        ("train", "cat dog", "cat/0.png dog/0.png"),
    ),
    "an empty class folder": ([images(*PAIR), folders("bird")], {}, "bird' holds no images"),
    "a class folder in which all is hidden": ([images(*PAIR, "bird/.0.png")], {}, "bird' holds no images"),
    "a folder around the class folders": ([images("photos/cat/0.png", "photos/dog/0.png")], {}, "give .*photos'"),
    "images beside the class folders": ([images(*PAIR, "0.png")], {}, ("train", "cat dog", "cat/0.png dog/0.png")),
    "images alone": ([images("0.png", "1.png")], {"train": True}, "are not in class folders"),
    "nothing": ([folders("empty")], {}, "cannot load dataset"),
    "a file": ([images("0.png")], {"below": "0.png"}, "no dataset folder"),
    "no folder": ([], {"below": "nowhere"}, "no dataset folder"),
    "types that torchvision skips": (
        [images("cat/0.avif", "cat/1.GIF", "cat/2.Jpeg", "dog/0.jp2")],
        {},
        ("train", "cat dog", "cat/0.avif cat/1.GIF cat/2.Jpeg dog/0.jp2"),
    ),
    "text and tables beside the images": (
        [images(*PAIR), texts(cat__0_dot_json="{}", cat__0_dot_txt="0 0.5", dog__x_dot_csv="a,b", classes_dot_txt="x")],
        {},
        ("train", "cat dog", "cat/0.png dog/0.png"),
    ),
    "archives beside the images": (
        [images(*PAIR), texts(all_dot_zip="PK", all_dot_tar="")],
        {},
        ("train", "cat dog", "cat/0.png dog/0.png"),
    ),
    "YOLO": (
        [images("train/images/0.png"), texts(train__labels__0_dot_txt="0 0.5 0.5 1 1")],
        {"train": True},
        "labels' holds no images .it holds text files",
    ),
    "YOLO, splits below": (
        [images("images/train/0.png", "images/val/1.png"), texts(labels__train__0_dot_txt="0 0.5 0.5 1 1")],
        {"train": True},
        "labels' holds no images .it holds text files",
    ),
    "an archive of class folders": ([texts(train_dot_zip="PK")], {"train": True}, "train.zip' are packed; unpack it"),
    "an archive per class": (
        [texts(test__cat_dot_zip="PK", test__dog_dot_zip="PK")],
        {},
        "cat.zip' are packed; unpack it",
    ),
    "an archive beside images": ([images("0.png"), texts(a_dot_tar_dot_gz="")], {}, "a.tar.gz' are packed; unpack it"),
    "a file name in Latin-1": (
        [images("cat/0.png", "dog/0.png"), rename("cat/0.png", b"cat/caf\xe9.png")],
        {},
        ("train", "cat dog", (os.fsdecode(b"cat/caf\xe9.png"), "dog/0.png")),
    ),
    "a class in Latin-1": ([images(*PAIR), rename("cat", b"caf\xe9")], {}, r"caf\\xe9.* is not named in UTF-8"),
    "numbers sort as text": ([images("10/0.png", "2/0.png")], {}, ("train", "10 2", "10/0.png 2/0.png")),
    "capitals sort first": ([images("b/0.png", "C/0.png")], {}, ("train", "C b", "C/0.png b/0.png")),
    "a configuration": ([images(*PAIR)], {"config": "320px"}, "has no configurations"),
    "another image column": ([images(*PAIR)], {"image_column": "img"}, "no column 'img'; it has: image"),
    "raw Tiny ImageNet": ([TINY_IMAGES, TINY], {}, ("validation", "n01 n02", (1, 0))),
    "raw Tiny ImageNet, to train": (
        [TINY_IMAGES, TINY],
        {"train": True},
        ("train", "n01 n02", "train/n01/images/n01_0.JPEG train/n02/images/n02_0.JPEG"),
    ),
    "its unlabelled images": ([TINY_IMAGES, TINY], {"split": "test"}, "have no labels"),
    "its table of another version": (
        [TINY_IMAGES, TINY, images("val/images/9.JPEG")],
        {},
        "do not agree about '9.JPEG'",
    ),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.filterwarnings("ignore:.*in no class folder")
def test_a_folder_is_read_by_the_rule_or_refused(tmp_path, case):
    check_case(tmp_path, CASES[case])


def test_the_table_is_large():
    assert len(CASES) >= 40


def test_order_and_labels_are_those_of_torchvision(tmp_path):
    rng = np.random.default_rng(0)
    names = [
        f"{rng.choice(['a', 'a-b', 'B', '10', '2'])}/{'/'.join(rng.choice(list('xyz-'), 2))}.png" for _ in range(60)
    ]
    images(*names)(tmp_path)
    theirs, ours = ImageFolder(tmp_path), load_images(tmp_path)
    assert ours.classes == tuple(theirs.classes)
    assert list(zip(ours.files.paths(range(len(ours))), ours.labels.tolist(), strict=True)) == theirs.samples


def test_folders_of_domains_are_named(tmp_path):
    images("art/cat/0.png", "art/dog/0.png", "photo/cat/0.png", "photo/dog/0.png")(tmp_path)
    with pytest.warns(UserWarning, match="the classes of .* are 'art', 'photo', and each of them holds the same"):
        assert load_images(tmp_path).classes == ("art", "photo")


def test_images_that_are_left_out_are_counted(tmp_path):
    images(*PAIR, "0.png", "1.png")(tmp_path)
    with pytest.warns(UserWarning, match="2 images in .* such as '0.png', are in no class folder; left out"):
        load_images(tmp_path)
    images("beside/train/cat/0.png", "beside/test/cat/0.png", "beside/test tube/0.png")(tmp_path)
    with pytest.warns(UserWarning, match="beside them, 'test tube' with images in no class folder; left out"):
        load_images(tmp_path / "beside")
    images("cats/train/cat.0.png", "cats/train/dog.0.png", "cats/test1/0.png")(tmp_path)
    with pytest.warns(UserWarning, match="'test1', 'train'; if 'train' is a split, its images are in no class folder"):
        load_images(tmp_path / "cats")


def test_nothing_is_warned_of_where_all_is_well(tmp_path):
    images(*SPLITS)(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_images(tmp_path)
