"""Images that a table describes, as people write it: read as labels, or refused in one clear line."""

from __future__ import annotations

import re

import pytest
from PIL import Image

from support.odd_folders import Case, check_case, images, texts
from timm_pushpull import InputError
from timm_pushpull.data import load_images

pytestmark = pytest.mark.usefixtures("datasets_cache")

PAIR = ("cat/0.png", "dog/0.png")

CASES: dict[str, Case] = {
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


@pytest.mark.parametrize("case", CASES)
@pytest.mark.filterwarnings("ignore:.*in no class folder")
def test_a_table_is_read_or_refused(tmp_path, case):
    check_case(tmp_path, CASES[case])


def test_images_without_a_row_are_counted(tmp_path):
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
