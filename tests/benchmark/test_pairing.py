"""Clean images are paired with the corrupted ones that were made from them, or refused; junk shifts no labels."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from timm_pushpull import InputError
from timm_pushpull.benchmark import CLEAN, PrecomputedCorruptions
from timm_pushpull.benchmark.pairing import pair
from timm_pushpull.data import ImageSet, generate, load_images, open_corrupted

pytestmark = pytest.mark.usefixtures("datasets_cache")

CLASSES = ("ant", "bee", "cat")
LAYOUTS = ("npy", "imagefolder", "parquet")


def grey(level: int) -> Image.Image:
    return Image.new("RGB", (8, 8), (level,) * 3)


def write_classes(folder: Path, names: tuple[str, ...] = CLASSES, count: int = 4) -> ImageSet:
    """Class folders in which every image has a grey level of its own."""
    for number, name in enumerate(names):
        (folder / name).mkdir(parents=True)
        for image in range(count):
            grey(10 * (count * number + image)).save(folder / name / f"{name}{image}.png")
    return load_images(folder)


def write_table(folder: Path, rows: list[tuple[str | None, int, int]], names: tuple[str, ...] = CLASSES) -> ImageSet:
    """A Parquet file of (file name, grey level, label)."""
    import datasets

    folder.mkdir()
    images = []
    for number, (name, level, _) in enumerate(rows):
        grey(level).save(folder.parent / f"{number}.png")
        images.append({"bytes": (folder.parent / f"{number}.png").read_bytes(), "path": name})
    features = datasets.Features(image=datasets.Image(), label=datasets.ClassLabel(names=list(names)))
    table = datasets.Dataset.from_dict({"image": images, "label": [row[2] for row in rows]}, features=features)
    table.to_parquet(folder / "test.parquet")
    return load_images(folder)


def make(images: ImageSet, output: Path, layout: str = "imagefolder", **options):
    generate(
        images,
        output,
        format=layout,
        preset="cifar10-c",
        corruptions=["contrast"],
        severities=[1],
        progress=False,
        **options,
    )
    return open_corrupted(output)


def levels(source: PrecomputedCorruptions) -> list[int]:
    """Grey levels of the clean images in the order of the corrupted ones."""
    positions = np.arange(len(source.labels))
    return [int(image[0, 0, 0]) for _, _, part, _ in source.batches(positions, [CLEAN], 5, 1) for image in part]


def shuffled(images: ImageSet, named: bool = True) -> list[tuple[str | None, int, int]]:
    order = np.random.default_rng(1).permutation(len(images))
    paths = images.files.paths(order.tolist())
    return [
        (Path(path).name if named else None, 10 * int(row), int(images.labels[row]))
        for path, row in zip(paths, order, strict=True)
    ]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_images_that_a_set_was_made_from(tmp_path, layout):
    images = write_classes(tmp_path / "clean")
    source = PrecomputedCorruptions(make(images, tmp_path / "set", layout), 8, clean=images)
    assert levels(source) == [10 * row for row in range(12)]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_set_of_a_table_whose_rows_are_in_any_order(tmp_path, layout):
    """Image files are read in the order of their names, whatever the rows were."""
    folder = write_classes(tmp_path / "folder")
    for number, named in enumerate((True, False)):
        place = tmp_path / str(number)
        place.mkdir()
        clean = write_table(place / "table", shuffled(folder, named))
        corrupted = make(clean, place / "set", layout)
        source = PrecomputedCorruptions(corrupted, 8, clean=clean)
        assert np.array_equal(source.labels, np.array(levels(source)) // 40)


@pytest.mark.parametrize("layout", ["imagefolder", "parquet"])
def test_the_same_images_in_another_order_are_paired_by_name(tmp_path, layout):
    folder = write_classes(tmp_path / "folder")
    corrupted = make(folder, tmp_path / "set", layout)
    other = write_table(tmp_path / "table", shuffled(folder))
    assert levels(PrecomputedCorruptions(corrupted, 8, clean=other)) == [10 * row for row in range(12)]
    limited = PrecomputedCorruptions(corrupted, 8, clean=other, limit=5)
    assert np.array_equal(np.array(levels(limited)) // 40, limited.labels)
    # Classes under other numbers, as in a table that does not sort them.
    rows = [(name, level, 2 - label) for name, level, label in shuffled(folder)]
    (tmp_path / "more").mkdir()
    reversed_classes = write_table(tmp_path / "more" / "table", rows, CLASSES[::-1])
    assert levels(PrecomputedCorruptions(corrupted, 8, clean=reversed_classes)) == [10 * row for row in range(12)]


def test_the_same_images_in_another_order_without_names_are_refused(tmp_path):
    folder = write_classes(tmp_path / "folder")
    corrupted = make(folder, tmp_path / "set", "npy")
    other = write_table(tmp_path / "table", shuffled(folder, named=False))
    with pytest.raises(
        InputError, match="have other labels than the images of 'table', split 'test', the first in row"
    ):
        PrecomputedCorruptions(corrupted, 8, clean=other)


@pytest.mark.parametrize("layout", ["imagefolder", "parquet"])
def test_unrelated_images_of_the_same_number_are_refused(tmp_path, layout):
    corrupted = make(write_classes(tmp_path / "clean"), tmp_path / "set", layout)
    (tmp_path / "files").mkdir()
    rows = [(f"{name}_{image}.png", 0, number) for number, name in enumerate(CLASSES) for image in range(4)]
    with pytest.raises(InputError, match="lacks 12 of the 12 images of 'set', such as 'ant0'"):
        PrecomputedCorruptions(corrupted, 8, clean=write_table(tmp_path / "files" / "table", rows))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_unrelated_classes_of_the_same_number_are_refused(tmp_path, layout):
    corrupted = make(write_classes(tmp_path / "clean"), tmp_path / "set", layout)
    with pytest.raises(InputError, match=r"classes of 'set' \(ant, bee, cat, ...\) are not those of 'other'"):
        PrecomputedCorruptions(corrupted, 8, clean=write_classes(tmp_path / "other", ("x", "y", "z")))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_set_of_some_of_the_images(tmp_path, layout):
    images = write_classes(tmp_path / "clean")
    corrupted = make(images.subset(5), tmp_path / "set", layout)
    assert levels(PrecomputedCorruptions(corrupted, 8, clean=images)) == [10 * row for row in images.subset(5).indices]


def write_repeated(folder: Path) -> ImageSet:
    """Images of one name in folders below the class folders."""
    for number, place in enumerate(f"{name}/v{part}" for name in CLASSES for part in range(4)):
        (folder / place).mkdir(parents=True)
        grey(10 * number).save(folder / place / "0.png")
    return load_images(folder)


@pytest.mark.parametrize("count", [None, 7])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_set_of_images_whose_names_repeat(tmp_path, layout, count):
    images = write_repeated(tmp_path / "clean")
    source = PrecomputedCorruptions(make(images.subset(count), tmp_path / "set", layout), 8, clean=images)
    pixels = [image for _, _, part, _ in source.batches(np.arange(len(source.labels)), [CLEAN], 5, 1) for image in part]
    # Contrast at this severity keeps the order of grey levels: each corrupted image is that of its clean one.
    made = PrecomputedCorruptions(open_corrupted(tmp_path / "set"), 8)
    corrupted = [
        int(image[0, 0, 0])
        for _, _, part, _ in made.batches(np.arange(len(made.labels)), [("contrast", 1)], 5, 1)
        for image in part
    ]
    assert [int(image[0, 0, 0]) for image in pixels] == sorted(10 * row for row in images.subset(count).indices)
    assert corrupted == sorted(corrupted)


def test_repeated_names_elsewhere_are_refused(tmp_path):
    images = write_repeated(tmp_path / "clean")
    corrupted = make(images.subset(7), tmp_path / "set")
    shutil.rmtree(tmp_path / "clean" / "ant" / "v0")
    with pytest.raises(InputError, match=r"lacks 7 of the 7 images of 'set', .* or has several of that name"):
        PrecomputedCorruptions(corrupted, 8, clean=load_images(tmp_path / "clean"))


def test_unnamed_images_of_a_dataset_of_another_name_are_mentioned(tmp_path):
    images = write_classes(tmp_path / "clean")
    corrupted = make(images, tmp_path / "set", "npy")
    with pytest.warns(UserWarning, match="'set' was made from 'clean', .* those of 'other'; they are paired in their"):
        PrecomputedCorruptions(corrupted, 8, clean=write_classes(tmp_path / "other"))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.filterwarnings("ignore:.*left out")
def test_a_set_without_the_images_that_could_not_be_read(tmp_path, layout):
    write_classes(tmp_path / "clean")
    (tmp_path / "clean" / "bee" / "bee0.png").write_bytes(b"cut off")
    images = load_images(tmp_path / "clean")
    source = PrecomputedCorruptions(make(images, tmp_path / "set", layout), 8, clean=images)
    assert levels(source) == [10 * row for row in range(12) if row != 4]


def test_arrays_without_manifest_are_paired_where_labels_agree(tmp_path):
    folder = write_classes(tmp_path / "folder")
    corrupted = _published_arrays(tmp_path / "arrays", folder.labels)
    assert levels(PrecomputedCorruptions(corrupted, 8, clean=folder)) == [10 * row for row in range(12)]
    swapped = replace(folder, labels=folder.labels[::-1].copy())
    with pytest.raises(InputError, match="8 of 12 images of 'arrays' have other labels"):
        PrecomputedCorruptions(corrupted, 8, clean=swapped)
    with pytest.raises(InputError, match="has 3 images and 'arrays' 12"):
        PrecomputedCorruptions(corrupted, 8, clean=folder.subset(3))


def _published_arrays(folder: Path, labels: np.ndarray):
    folder.mkdir()
    np.save(folder / "fog.npy", np.zeros((5 * len(labels), 8, 8, 3), np.uint8))
    np.save(folder / "labels.npy", labels.astype(np.uint8))
    return open_corrupted(folder)


def test_imagenet_words_and_wordnet_ids_are_the_same_classes(tmp_path):
    from timm.data import ImageNetInfo

    names = ImageNetInfo("imagenet-1k").label_names()
    words = ("tench, Tinca tinca", *(f"class {number}" for number in range(1, 1000)))
    folder = write_classes(tmp_path / "folder", tuple(names[:2]))
    for place in ("fog/1", "fog/2"):
        shutil.copytree(tmp_path / "folder", tmp_path / "set" / place)
    corrupted = open_corrupted(tmp_path / "set")
    rows = [(f"{name}{image}_{name}.png", 0, label) for label, name in enumerate(names[:2]) for image in range(4)]
    clean = replace(write_table(tmp_path / "table", rows, CLASSES[:2]), classes=words)
    assert len(PrecomputedCorruptions(corrupted, 8, clean=clean).labels) == len(folder)


# --- Folders of a published set ---


@pytest.fixture
def published(tmp_path) -> Path:
    """A set in the layout of ImageNet-C, without a manifest."""
    for name in ("contrast", "blur/defocus_blur"):
        for severity in (1, 2):
            write_classes(tmp_path / "set" / name / str(severity))
    return tmp_path / "set"


@pytest.mark.parametrize("junk", ["@eaDir", ".ipynb_checkpoints", "__MACOSX", "ant/@eaDir"])
def test_folders_of_file_managers_shift_no_labels(published, junk):
    before = open_corrupted(published)
    for place in ("contrast/1", "blur/defocus_blur/2", "contrast", "."):
        (published / place / junk / "thumbnail.jpg").mkdir(parents=True)
        grey(0).save(published / place / junk / "0.png")
        grey(0).save(published / place / junk / "thumbnail.jpg" / "0.png")
    after = open_corrupted(published)
    assert (
        (after.classes, after.corruptions)
        == (before.classes, before.corruptions)
        == (CLASSES, ("defocus_blur", "contrast"))
    )
    for name in after.corruptions:
        for severity in (1, 2):
            (_, labels, _) = next(after.batches(name, severity, 12))
            assert labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4


def test_an_empty_class_folder_is_refused(published):
    for severity in (1, 2):
        for path in (published / "blur" / "defocus_blur" / str(severity) / "bee").iterdir():
            path.unlink()
    with pytest.raises(InputError, match="the class folder 'bee' in defocus_blur/1 holds no images"):
        open_corrupted(published)


def test_a_corruption_that_is_there_twice_is_refused(published):
    shutil.copytree(published / "contrast", published / "digital" / "contrast")
    with pytest.raises(InputError, match="are one corruption; remove one"):
        open_corrupted(published)


def test_classes_that_are_numbers_are_compared_by_name(tmp_path):
    """In folders they are sorted as text, "10" before "2"; in tables as numbers."""
    numbers = tuple(map(str, range(11)))
    folder = write_classes(tmp_path / "set", numbers, count=1)
    rows = [(f"{name}0.png", 10 * number, number) for number, name in enumerate(numbers)]
    table = write_table(tmp_path / "table", rows, numbers)
    for clean, other in ((folder, table), (table, folder)):
        corrupted = make(clean, tmp_path / f"C-{clean.name}")
        assert levels(PrecomputedCorruptions(corrupted, 8, clean=other)) == levels(
            PrecomputedCorruptions(corrupted, 8, clean=clean)
        )


def test_another_split_of_the_same_dataset_is_refused(tmp_path):
    """Its files may have the same names and classes."""
    for split in ("train", "test"):
        write_classes(tmp_path / "set" / split)
    corrupted = make(load_images(tmp_path / "set", "test"), tmp_path / "C")
    with pytest.raises(InputError, match="made from split 'test' of 'set', not from 'train'; choose it with --split"):
        PrecomputedCorruptions(corrupted, 8, clean=load_images(tmp_path / "set", "train"))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_file_name_in_latin_1_goes_through_every_layout(tmp_path, layout):
    write_classes(tmp_path / "clean", ("cat",), 2)
    folder = os.fsencode(tmp_path / "clean" / "cat")
    os.rename(folder + b"/cat0.png", folder + b"/caf\xe9.png")
    clean = load_images(tmp_path / "clean")
    corrupted = make(clean, tmp_path / layout, layout)
    assert sorted(pair(clean, corrupted).tolist()) == [0, 1]
    assert [label for _, labels, _ in corrupted.batches("contrast", 1, 1) for label in labels] == [0, 0]
