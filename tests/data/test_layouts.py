"""Readers of corrupted sets: every layout gives back what was written, and says what is wrong with a damaged set."""

from __future__ import annotations

import json
import shutil
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from support.example_run import SMALL, write_run
from timm_pushpull import InputError, cli
from timm_pushpull.benchmark.results import Results
from timm_pushpull.corruptions import corrupt
from timm_pushpull.data.corrupted import generate, open_corrupted
from timm_pushpull.data.loading import load_images
from timm_pushpull.data.preprocessing import preset_geometry
from timm_pushpull.utils.json_text import with_checksum

pytestmark = pytest.mark.usefixtures("datasets_cache")

CORRUPTIONS = ("contrast", "gaussian_noise", "pixelate")


def make(folder: Path, output: Path, format: str, **options) -> Path:
    options = {"preset": "cifar10-c", "corruptions": CORRUPTIONS, "size": 32, "jpeg_quality": "none", **options}
    generate(load_images(str(folder)), output, format=format, progress=False, **options)
    return output


def gathered(corrupted, *arguments, **options) -> tuple[np.ndarray, list[int], list[int]]:
    batches = list(corrupted.batches(*arguments, **options))
    images, labels, indices = zip(*batches, strict=True)
    assert all(array.dtype == np.int64 for array in (*labels, *indices))
    return np.concatenate([np.stack(list(part)) for part in images]), *(np.concatenate(x) for x in (labels, indices))


@pytest.mark.parametrize("format", ["npy", "imagefolder", "parquet"])
def test_what_was_generated_comes_back(tmp_path, image_folder, format):
    corrupted = open_corrupted(make(image_folder, tmp_path / "out", format))
    assert (corrupted.name, len(corrupted), corrupted.classes) == ("out", 10, ("dark", "light"))
    assert corrupted.corruptions == ("gaussian_noise", "contrast", "pixelate")
    assert corrupted.severities == (1, 2, 3, 4, 5)
    source = load_images(str(image_folder))
    clean = [preset_geometry("cifar10-c", 32)(source.read(row)) for row in range(10)]
    expected = [corrupt(image, "gaussian_noise", 2, "cifar10-c", index=row) for row, image in enumerate(clean)]
    images, labels, indices = gathered(corrupted, "gaussian_noise", 2, 4)
    assert [len(batch[1]) for batch in corrupted.batches("contrast", 5, 4)] == [4, 4, 2]
    np.testing.assert_array_equal(images, expected)
    np.testing.assert_array_equal(labels, source.labels)
    np.testing.assert_array_equal(indices, range(10))
    some = [7, 0, 3]
    images, labels, indices = gathered(corrupted, "gaussian_noise", 2, 2, some)
    np.testing.assert_array_equal(images, [expected[index] for index in some])
    np.testing.assert_array_equal(labels, source.labels[some])
    np.testing.assert_array_equal(indices, some)
    assert list(corrupted.batches("contrast", 1, 4, [])) == []


@pytest.mark.parametrize("format", ["npy", "imagefolder", "parquet"])
def test_wrong_requests_are_named(tmp_path, image_folder, format):
    corrupted = open_corrupted(make(image_folder, tmp_path / "out", format, severities=(2, 4)))
    assert corrupted.severities == (2, 4)
    for arguments, message in (
        (("contrasts", 2, 4), "did you mean 'contrast'"),
        (("contrast", 3, 4), "no severity 3; it has: 2, 4"),
        (("contrast", 2, 0), "batch size is 0"),
        (("contrast", 2, 4, [10]), "no image 10; it has 10"),
    ):
        with pytest.raises(InputError, match=message):
            corrupted.batches(*arguments)


@pytest.mark.parametrize("format", ["npy", "imagefolder", "parquet"])
def test_some_severities(tmp_path, image_folder, format):
    """Their blocks are not where those of five severities would be."""
    corrupted = open_corrupted(make(image_folder, tmp_path / "out", format, severities=(2, 4)))
    clean = preset_geometry("cifar10-c", 32)(load_images(str(image_folder)).read(3))
    for severity in (2, 4):
        image = gathered(corrupted, "contrast", severity, 4, [3])[0][0]
        np.testing.assert_array_equal(image, corrupt(clean, "contrast", severity, "cifar10-c", index=3))


@pytest.mark.parametrize("grouped", [False, True])
def test_imagenet_c_without_a_manifest(tmp_path, image_folder, grouped):
    """The published archives have a folder per group, and no manifest."""
    folder = make(image_folder, tmp_path / "out", "imagefolder", size="keep", jpeg_quality=85)
    (folder / "manifest.json").unlink()
    if grouped:
        for group, name in (("noise", "gaussian_noise"), ("digital", "contrast"), ("digital", "pixelate")):
            (folder / group).mkdir(exist_ok=True)
            (folder / name).rename(folder / group / name)
    corrupted = open_corrupted(folder)
    assert corrupted.corruptions == ("gaussian_noise", "contrast", "pixelate")
    assert (len(corrupted), corrupted.classes) == (10, ("dark", "light"))
    images, labels, _ = next(corrupted.batches("contrast", 1, 10))
    assert [image.shape[:2] for image in images[:3]] == [(40, 36), (41, 36), (42, 36)]
    assert labels.tolist() == [0] * 5 + [1] * 5


def test_images_in_deeper_folders_belong_to_their_class(tmp_path, image_folder):
    """As in datasets; without a manifest only."""
    folder = make(image_folder, tmp_path / "out", "imagefolder")
    (folder / "manifest.json").unlink()
    for place in folder.glob("*/*/dark"):
        (place / "more").mkdir()
        next(place.glob("*.*")).rename(place / "more" / "z.png")
    corrupted = open_corrupted(folder)
    assert (len(corrupted), corrupted.names()[4]) == (10, "dark/more/z")
    assert corrupted.labels.tolist() == [0] * 5 + [1] * 5


@pytest.mark.parametrize("format", ["imagefolder", "parquet"])
def test_lost_images_are_missed_in_a_set_of_one_corruption_too(tmp_path, image_folder, format):
    options = {"corruptions": ("contrast",), "severities": (1,), "chunk": 5}
    folder = make(image_folder, tmp_path / "out", format, **options)
    next(path for path in sorted(folder.rglob("*")) if path.suffix in (".png", ".parquet")).unlink()
    with pytest.raises(InputError, match=r"'.*out' holds \d images, its manifest says 10; restore it"):
        open_corrupted(folder)


@pytest.mark.parametrize("quality", [0, 101, 10**6])
def test_a_quality_that_no_results_can_hold_is_refused_in_the_manifest(tmp_path, image_folder, quality):
    path = make(image_folder, tmp_path / "out", "npy") / "manifest.json"
    content = {**json.loads(path.read_text()), "jpeg_quality": quality}
    path.write_text(json.dumps(with_checksum({key: content[key] for key in content if key != "checksum"})))
    with pytest.raises(InputError, match=f"jpeg_quality is {quality}, but must be a number from 1 up to 100"):
        open_corrupted(tmp_path / "out")


def test_a_set_that_is_made_again_is_read_anew(tmp_path, image_folder):
    """`datasets` itself would go on giving what the folder held before."""
    for seed in (1, 2):
        folder = make(image_folder, tmp_path / "out", "parquet", seed=seed, overwrite=seed == 2)
        corrupted = open_corrupted(folder)
        clean = preset_geometry("cifar10-c", 32)(load_images(str(image_folder)).read(3))
        image = gathered(corrupted, "gaussian_noise", 1, 4, [3])[0][0]
        np.testing.assert_array_equal(image, corrupt(clean, "gaussian_noise", 1, "cifar10-c", seed=seed, index=3))


def test_the_card_of_a_parquet_set_is_checked_before_datasets_reads_it(tmp_path, image_folder):
    folder = make(image_folder, tmp_path / "out", "parquet")
    (folder / "manifest.json").unlink()
    aliases = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 40))
    (folder / "README.md").write_text(f"---\n{aliases}---\n")
    with pytest.raises(InputError, match="has the alias"):
        open_corrupted(folder)


def test_class_folders_may_be_numbers(tmp_path):
    images = load_images("digits").subset(25)
    generate(images, tmp_path / "out", format="imagefolder", preset="cifar10-c", corruptions=["fog"], progress=False)
    corrupted = open_corrupted(tmp_path / "out")
    assert (corrupted.corruptions, corrupted.classes, len(corrupted)) == (("fog",), tuple("0123456789"), 25)


def test_classes_without_images_keep_their_number(tmp_path, image_folder):
    images = load_images(str(image_folder))
    folder = tmp_path / "out"
    options = {"format": "imagefolder", "preset": "cifar10-c", "corruptions": ["contrast"], "progress": False}
    generate(type(images)(**{**vars(images), "indices": np.array([6, 8])}), folder, **options)
    _, labels, _ = next(open_corrupted(folder).batches("contrast", 1, 10))
    assert labels.tolist() == [1, 1]


def test_cifar10_c_without_a_manifest(tmp_path):
    rng = np.random.default_rng(0)
    array, labels = rng.integers(0, 256, (50, 8, 8, 3), dtype=np.uint8), np.tile(np.arange(10, dtype=np.uint8), 5)
    np.save(tmp_path / "fog.npy", array)
    np.save(tmp_path / "labels.npy", labels)
    corrupted = open_corrupted(tmp_path)
    assert (corrupted.classes, len(corrupted), corrupted.manifest) == (None, 10, {})
    images, got, indices = gathered(corrupted, "fog", 3, 4)
    np.testing.assert_array_equal(images, array[20:30])
    assert got.tolist() == indices.tolist() == list(range(10))


def test_only_a_batch_is_in_memory(tmp_path):
    np.lib.format.open_memmap(tmp_path / "fog.npy", "w+", np.uint8, (50_000, 32, 32, 3)).flush()
    np.save(tmp_path / "labels.npy", np.zeros(50_000, np.uint8))
    tracemalloc.start()
    try:
        for _ in open_corrupted(tmp_path).batches("fog", 4, 100):
            pass
        assert tracemalloc.get_traced_memory()[1] < 2 << 20
    finally:
        tracemalloc.stop()


def npy_set(folder: Path) -> None:
    np.save(folder / "fog.npy", np.zeros((10, 4, 4, 3), np.uint8))
    np.save(folder / "snow.npy", np.zeros((10, 4, 4, 3), np.uint8))
    np.save(folder / "labels.npy", np.zeros(10, np.uint8))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "labels.npy").unlink(), "lacks labels.npy"),
        (lambda f: np.save(f / "fog.npy", np.zeros((10, 4, 4, 3), np.float32)), "fog.npy.*float32.*expected uint8"),
        (lambda f: np.save(f / "fog.npy", np.zeros((10, 4, 4), np.uint8)), r"\(10, 4, 4\); expected uint8"),
        (lambda f: np.save(f / "snow.npy", np.zeros((15, 4, 4, 3), np.uint8)), "10 rows, snow.npy 15"),
        (
            lambda f: [np.save(f / n, np.zeros((11, 4, 4, 3), np.uint8)) for n in ("fog", "snow")],
            "11 rows, which is not a multiple",
        ),
        (lambda f: np.save(f / "labels.npy", np.zeros(15, np.uint8)), r"labels.npy.*\(15,\).*10 rows"),
        (lambda f: np.save(f / "labels.npy", np.zeros(10)), "labels.npy.*float64"),
        (lambda f: (f / "fog.npy").write_bytes((f / "fog.npy").read_bytes()[:300]), "fog.npy.*cut off"),
        (lambda f: (f / "fog.npy").write_bytes(b""), "fog.npy.*cut off"),
        (lambda f: np.save(f / "fog.npy", np.array([{}] * 10, object), allow_pickle=True), "fog.npy.*not an array"),
        (lambda f: [(f / n).unlink() for n in ("fog.npy", "snow.npy")], "no <corruption>.npy"),
        (lambda f: (f / ".work").mkdir(), "not finished"),
    ],
)
def test_damaged_arrays_are_named(tmp_path, damage, message):
    npy_set(tmp_path)
    assert len(open_corrupted(tmp_path)) == 2
    damage(tmp_path)
    with pytest.raises(InputError, match=message):
        open_corrupted(tmp_path)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: shutil.rmtree(f / "contrast" / "4"), "contrast/4 is missing"),
        (lambda f: (f / "contrast" / "4" / "dark" / "3.png").unlink(), "holds 9 images.*'dark/3.png'"),
        (lambda f: (f / "contrast" / "4" / "dark" / "3.png").write_bytes(b"x"), "dark/3.png.*cannot be read"),
    ],
)
@pytest.mark.parametrize("manifest", [True, False])
def test_damaged_folders_are_named(tmp_path, image_folder, damage, message, manifest):
    folder = make(image_folder, tmp_path / "out", "imagefolder")
    if not manifest:
        (folder / "manifest.json").unlink()
    damage(folder)
    with pytest.raises(InputError, match=message):
        list(open_corrupted(folder).batches("contrast", 4, 4))


@pytest.mark.parametrize("format", ["npy", "imagefolder"])
def test_a_corruption_that_the_manifest_names_is_missed(tmp_path, image_folder, format):
    folder = make(image_folder, tmp_path / "out", format)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["corruptions"].append("fog")
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(InputError, match=r"manifest.json' is damaged \(its checksum does not fit"):
        open_corrupted(folder)
    (folder / "manifest.json").write_text(json.dumps(with_checksum(manifest)))
    with pytest.raises(InputError, match=r"lacks fog\.npy|fog/1 is missing"):
        open_corrupted(folder)


@pytest.mark.parametrize("format", ["npy", "imagefolder", "parquet"])
def test_an_open_set_stays_open_when_the_working_folder_changes(tmp_path, image_folder, format, monkeypatch):
    make(image_folder, tmp_path / "out", format)
    monkeypatch.chdir(tmp_path)
    images, opened = load_images(str(image_folder.relative_to(tmp_path))), open_corrupted("out")
    monkeypatch.chdir("/")
    assert len(list(opened.batches("contrast", 4, 4))) == 3
    assert images.read(0).size


def test_other_places_are_named(tmp_path, image_folder):
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    for place, message in (
        (tmp_path / "nowhere", "no folder of corrupted images"),
        (tmp_path / "a.png", "no folder of corrupted images"),
        (image_folder, "holds no corrupted images"),
    ):
        with pytest.raises(InputError, match=message):
            open_corrupted(place)


def test_a_data_set_on_the_hub_is_the_folder_that_was_uploaded(tmp_path, image_folder, hub, run_inside):
    """With the real `datasets` client, and measured on by the command as by folder."""
    folder = make(image_folder, tmp_path / "made", "parquet")
    files = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    hub.add("lab/photos-c", files, kind="dataset")
    found, local = open_corrupted("lab/photos-c"), open_corrupted(folder)
    assert (found.name, found.corruptions, found.severities) == ("lab/photos-c", local.corruptions, local.severities)
    for corruption, severity in (("contrast", 1), ("gaussian_noise", 5)):
        for mine, theirs in zip(
            gathered(found, corruption, severity, 4), gathered(local, corruption, severity, 4), strict=True
        ):
            np.testing.assert_array_equal(mine, theirs)
    write_run(tmp_path / "run", **SMALL)
    errors = []
    for number, place in enumerate(("lab/photos-c", folder)):
        output = tmp_path / f"{number}.json"
        process = run_inside(
            cli.main,
            *("timm-pushpull", "benchmark", "--model", f"local-dir:{tmp_path / 'run'}", "--corrupted", place),
            *("--corruptions", "contrast", "pixelate", "--preset", "cifar10-c", "--output", output),
        )
        assert process.returncode == 0, process.stderr
        errors.append(Results.load(output).errors)
    assert errors[0] == errors[1]
    assert Results.load(tmp_path / "0.json").corrupted == "lab/photos-c"
    with pytest.raises(InputError, match=r"cannot load dataset 'lab/nothing': .*; there is no such folder either"):
        open_corrupted("lab/nothing")
