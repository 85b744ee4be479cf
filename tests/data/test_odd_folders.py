"""Folders as people have them: each is read by the rule of torchvision's ImageFolder, or refused in one clear line.

Every case writes a few tiny images, and says which split, classes and files come out, or what the error names.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torchvision.datasets import ImageFolder

from timm_pushpull import InputError
from timm_pushpull.benchmark.pairing import pair
from timm_pushpull.data import generate, load_images, open_corrupted

Write = Callable[[Path], None]


def images(*names: str) -> Write:
    """Write an image of 8 x 8 px under each of these names."""

    def write(folder: Path) -> None:
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 8)).save(folder / name, "PNG")

    return write


def texts(**contents: str) -> Write:
    """Write text files; `__` in a name stands for a folder, `_dot_` for a dot."""

    def write(folder: Path) -> None:
        for key, content in contents.items():
            path = folder / key.replace("__", "/").replace("_dot_", ".")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)

    return write


def folders(*names: str) -> Write:
    return lambda folder: [(folder / name).mkdir(parents=True) for name in names] and None


def link(name: str, target: str) -> Write:
    return lambda folder: (folder / name).symlink_to(folder / target)


def rename(name: str, other: bytes) -> Write:
    return lambda folder: os.rename(os.fsencode(folder / name), os.fsencode(folder) + b"/" + other)


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

#: What is written, the arguments, and: split, classes, files (in order); or the text of the error.
CASES: dict[str, tuple[list[Write], dict, tuple[str, str, str] | str]] = {
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
    "metadata": (
        [images("test_0.png", "b.png"), texts(metadata_dot_csv="file_name,label\nb.png,y\ntest_0.png,x\n")],
        {"train": True},
        ("train", "x y", (1, 0)),
    ),
    "metadata with a text and a number": (
        [images("0.png", "1.png"), texts(metadata_dot_csv="file_name,species,year\n0.png,y,1993\n1.png,x,1990\n")],
        {"train": True},
        "choose one with --label-column: species, year",
    ),
    "metadata with a label and a number": (
        [images("0.png", "1.png"), texts(metadata_dot_csv="file_name,year,label\n0.png,1993,y\n1.png,1990,x\n")],
        {"train": True},
        ("train", "x y", (1, 0)),
    ),
    "metadata with a number that is no class": (
        [images("0.png", "1.png", "2.png"), texts(metadata_dot_csv="file_name,year\n0.png,5\n1.png,5\n2.png,3\n")],
        {"train": True},
        "holds no labels; its columns are: .*year .int64.; choose one with --label-column",
    ),
    "metadata over class folders": (
        [images(*PAIR, "cat/1.png"), texts(metadata_dot_csv="file_name,by\ncat/0.png,x\ndog/0.png,x\ncat/1.png,y\n")],
        {"train": True},
        "holds folders such as 'cat' and a metadata file with the column 'by'; choose --label-column by",
    ),
    "the same, the column named": (
        [images(*PAIR, "cat/1.png"), texts(metadata_dot_csv="file_name,by\ncat/0.png,x\ndog/0.png,x\ncat/1.png,y\n")],
        {"train": True, "label_column": "by"},
        ("train", "x y", (0, 0, 1)),
    ),
    "captions": (
        [images("0.png", "1.png", "2.png"), texts(metadata_dot_csv="file_name,text\n0.png,a\n1.png,b\n2.png,c\n")],
        {"train": True},
        "holds no labels; its columns are: .*choose one with --label-column",
    ),
    "booleans": (
        [images("0.png", "1.png"), texts(metadata_dot_csv="file_name,is_cat\n0.png,True\n1.png,False\n")],
        {"train": True},
        ("train", "False True", (1, 0)),
    ),
    "decimal labels": (
        [images("0.png", "1.png"), texts(metadata_dot_csv="file_name,label\n0.png,0.5\n1.png,1.5\n")],
        {"train": True},
        "holds decimal numbers, not class numbers or names; write whole numbers or text",
    ),
    "a blank label": (
        [images("0.png", "1.png"), texts(metadata_dot_csv="file_name,label\n0.png,cat\n1.png,\n")],
        {"train": True},
        "has no value in row 1, counted from 0; fill it in",
    ),
    "a label that is blank space": (
        [images("0.png", "1.png"), texts(metadata_dot_csv='file_name,label\n0.png,cat\n1.png," "\n')],
        {"train": True},
        "has no value in row 1",
    ),
    "numbers that are no classes": (
        [images("0.png", "1.png"), texts(metadata_dot_csv="file_name,label\n0.png,0\n1.png,4000000000\n")],
        {"train": True},
        "no class numbers",
    ),
    "metadata of another form": (
        [images("0.png"), texts(metadata_dot_csv="name,label\n0.png,x\n")],
        {"train": True},
        "`file_name`",
    ),
    "metadata in every split": (
        [
            images("train/0.png", "val/test1.png"),
            texts(
                train__metadata_dot_csv="file_name,label\n0.png,x\n",
                val__metadata_dot_csv="file_name,label\ntest1.png,y\n",
            ),
        ],
        {"split": "val"},
        ("validation", "y", (0,)),
    ),
    "metadata beside splits": (
        [images("train/0.png", "test/1.png"), texts(metadata_dot_csv="file_name,label\ntrain/0.png,x\ntest/1.png,x\n")],
        {},
        "give every split a metadata file",
    ),
}


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.mark.parametrize("case", CASES)
@pytest.mark.filterwarnings("ignore:.*in no class folder")
def test_a_folder_is_read_by_the_rule_or_refused(tmp_path, case):
    writers, arguments, expected = CASES[case]
    folder = tmp_path / "photos"
    folder.mkdir()
    for write in writers:
        write(folder)
    options = dict(arguments)
    place = folder / options.pop("below", "")
    if isinstance(expected, str):
        with pytest.raises(InputError, match=expected) as error:
            load_images(place, **options)
        assert len(str(error.value).splitlines()) == 1
        return
    found = load_images(place, **options)
    split, classes, files = expected
    assert (found.split, found.classes) == (split, tuple(classes.split()) if isinstance(classes, str) else classes)
    if isinstance(files, tuple) and isinstance(files[0], int):
        assert found.labels.tolist() == list(files)
        return
    files = tuple(files.split()) if isinstance(files, str) else files
    assert tuple(os.path.relpath(path, place) for path in found.files.paths(range(len(found)))) == files
    depth = 1 if files[0].split("/")[0] not in found.classes or split == files[0].split("/")[0] else 0
    assert [found.classes[label] for label in found.labels] == [file.split("/")[depth] for file in files]


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
    folder = tmp_path / "listed"
    images("0.png", "1.png", "2.png")(folder)
    texts(metadata_dot_csv="file_name,label\n0.png,x\n")(folder)
    with pytest.warns(UserWarning, match="2 of 3 images in .* have no row in a metadata file; left out"):
        load_images(folder, train=True)


def test_parquet_below_brackets_is_refused_in_words(tmp_path):
    import datasets

    folder = tmp_path / "a[1]"
    folder.mkdir()
    features = datasets.Features(image=datasets.Image(), label=datasets.ClassLabel(names=["x"]))
    table = datasets.Dataset.from_dict({"image": [Image.new("RGB", (8, 8))], "label": [0]}, features=features)
    table.to_parquet(folder / "test.parquet")
    with pytest.raises(InputError, match=re.escape("cannot read a folder with '[' in its path")):
        load_images(folder)


def test_nothing_is_warned_of_where_all_is_well(tmp_path):
    images(*SPLITS)(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_images(tmp_path)


@pytest.mark.parametrize("layout", ["npy", "imagefolder", "parquet"])
def test_a_file_name_in_latin_1_goes_through_every_layout(tmp_path, layout):
    images("set/cat/0.png", "set/cat/1.png")(tmp_path)
    os.rename(os.fsencode(tmp_path / "set" / "cat" / "0.png"), os.fsencode(tmp_path / "set" / "cat") + b"/caf\xe9.png")
    found = load_images(tmp_path / "set")
    options = {"preset": "cifar10-c", "corruptions": ["contrast"], "severities": [1], "progress": False}
    generate(found, tmp_path / layout, format=layout, **options)
    corrupted = open_corrupted(tmp_path / layout)
    assert sorted(pair(found, corrupted).tolist()) == [0, 1]
    assert [label for _, labels, _ in corrupted.batches("contrast", 1, 1) for label in labels] == [0, 0]
