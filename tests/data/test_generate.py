"""Generated sets: their layouts, and that a set's bytes do not depend on how the work was spread."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from support.generated import FORMATS, SMALL, content, expected, make
from support.processes import run_command
from timm_pushpull import InputError
from timm_pushpull.corruptions import corrupt_batch
from timm_pushpull.data.corrupted import generate
from timm_pushpull.data.loading import load_images
from timm_pushpull.data.preprocessing import preset_geometry


def test_npy_is_the_layout_of_cifar10_c(tmp_path, image_folder):
    outcome = make(image_folder, tmp_path / "out", format="npy")
    assert sorted(os.listdir(tmp_path / "out")) == ["contrast.npy", "gaussian_noise.npy", "labels.npy", "manifest.json"]
    labels = np.load(tmp_path / "out" / "labels.npy")
    assert labels.dtype == np.uint8
    np.testing.assert_array_equal(labels, np.tile([0] * 5 + [1] * 5, 2))
    for name in SMALL["corruptions"]:
        array = np.load(tmp_path / "out" / f"{name}.npy")
        np.testing.assert_array_equal(array[:10], expected(image_folder, name, 1))
        np.testing.assert_array_equal(array[10:], expected(image_folder, name, 4))
    assert outcome.manifest == json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert (outcome.manifest["num_images"], outcome.manifest["classes"]) == (10, ["dark", "light"])


def test_imagefolder_is_the_layout_of_imagenet_c(tmp_path, image_folder):
    make(image_folder, tmp_path / "out", format="imagefolder", jpeg_quality=85)
    found = {name for name in content(tmp_path / "out") if name != "manifest.json"}
    assert found == {
        f"{name}/{severity}/{label}/{number}.JPEG"
        for name in SMALL["corruptions"]
        for severity in SMALL["severities"]
        for label in ("dark", "light")
        for number in range(5)
    }
    pixels = expected(image_folder, "gaussian_noise", 4)
    path = tmp_path / "out" / "gaussian_noise" / "4" / "light" / "2.JPEG"
    Image.fromarray(pixels[7]).save(tmp_path / "x.JPEG", quality=85, optimize=True)
    assert path.read_bytes() == (tmp_path / "x.JPEG").read_bytes()
    hashed = run_shell("find * -type f | LC_ALL=C sort | xargs sha256sum | sha256sum", path.parents[1])
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert hashed.split()[0] == manifest["sha256"]["gaussian_noise/4"]


def run_shell(command: str, folder: Path) -> str:
    import subprocess

    return subprocess.run(command, shell=True, cwd=folder, capture_output=True, text=True, check=True).stdout


def test_parquet_loads_with_datasets(tmp_path, image_folder):
    import datasets

    make(image_folder, tmp_path / "out", format="parquet")
    rows = datasets.load_dataset(
        str(tmp_path / "out"), "gaussian_noise", split="severity_4", cache_dir=str(tmp_path / "cache")
    )
    assert rows.features["label"].names == ["dark", "light"]
    assert rows["label"] == [0] * 5 + [1] * 5
    pixels = np.stack([np.asarray(image) for image in rows["image"]])
    np.testing.assert_array_equal(pixels, expected(image_folder, "gaussian_noise", 4))
    assert len(datasets.get_dataset_config_names(str(tmp_path / "out"))) == 2


def test_npy_goes_through_the_same_jpeg_as_files(tmp_path, image_folder):
    make(image_folder, tmp_path / "npy", format="npy", jpeg_quality=85)
    make(image_folder, tmp_path / "files", format="imagefolder", jpeg_quality=85)
    array = np.load(tmp_path / "npy" / "contrast.npy")
    with Image.open(tmp_path / "files" / "contrast" / "4" / "light" / "2.JPEG") as image:
        np.testing.assert_array_equal(array[10 + 7], np.asarray(image))


@pytest.mark.parametrize("format", FORMATS)
def test_limited_sets_are_parts_of_whole_ones(tmp_path, format):
    images = load_images("digits").subset(12)
    options = {**SMALL, "corruptions": ("gaussian_noise",), "severities": (3,), "format": format}
    manifest = generate(images, tmp_path / "out", **options).manifest
    assert manifest["rows"] == manifest["num_images"] == 12
    if format == "npy":
        pixels = np.stack([np.asarray(images.read(row)) for row in images.indices])
        whole = corrupt_batch(pixels, "gaussian_noise", 3, "cifar10-c", seed=5, indices=images.indices)
        np.testing.assert_array_equal(np.load(tmp_path / "out" / "gaussian_noise.npy"), whole)


@pytest.mark.parametrize("format", FORMATS)
def test_workers_shards_and_chunks_change_no_byte(tmp_path, image_folder, format):
    make(image_folder, tmp_path / "one", format=format, workers=1)
    make(image_folder, tmp_path / "many", format=format, workers=5)
    for shard in (3, 1):
        outcome = make(image_folder, tmp_path / "shards", format=format, shard=(shard, 3))
        assert outcome.manifest is None
    assert outcome.missing == 1
    assert not (tmp_path / "shards" / "manifest.json").exists()
    assert make(image_folder, tmp_path / "shards", format=format, shard=(2, 3)).manifest
    assert content(tmp_path / "one") == content(tmp_path / "many") == content(tmp_path / "shards")
    if format != "parquet":  # there the chunks are files
        make(image_folder, tmp_path / "chunks", format=format, chunk=4)
        one, chunks = content(tmp_path / "one"), content(tmp_path / "chunks")
        assert {**one, "manifest.json": b""} == {**chunks, "manifest.json": b""}


def test_images_of_several_sizes(tmp_path, image_folder):
    with pytest.raises(InputError, match="image 0 has 36x40 px, image 1 has 36x41 px; give a --size"):
        make(image_folder, tmp_path / "npy", format="npy", size="keep")
    make(image_folder, tmp_path / "files", format="imagefolder", size="keep")
    for number, height in enumerate((40, 41, 42)):
        with Image.open(tmp_path / "files" / "contrast" / "1" / "dark" / f"{number}.png") as image:
            assert image.size == (36, height)


def test_the_same_class_and_file_name_do_not_overwrite_each_other(tmp_path, image_folder):
    import datasets

    images = [Image.new("RGB", (32, 32), (level, 0, 0)) for level in (10, 20, 30)]
    for number, image in enumerate(images):
        (tmp_path / str(number)).mkdir()
        image.save(tmp_path / str(number) / "a.png")
    paths = [str(tmp_path / str(number) / "a.png") for number in range(3)]
    features = datasets.Features(image=datasets.Image(), label=datasets.ClassLabel(names=["../x", "b"]))
    table = datasets.Dataset.from_dict({"image": paths, "label": [0, 0, 1]}, features=features)
    table.to_parquet(tmp_path / "set" / "test-00000-of-00001.parquet")
    generate(load_images(str(tmp_path / "set")), tmp_path / "out", **{**SMALL, "format": "imagefolder"})
    found = sorted(
        path.relative_to(tmp_path / "out" / "contrast" / "1") for path in tmp_path.glob("out/contrast/1/*/*")
    )
    assert [path.as_posix() for path in found] == ["_._x/a.png", "_._x/a_00000001.png", "b/a.png"]


@pytest.mark.parametrize(
    ("preset", "size", "shape"),
    [
        ("imagenet-c", None, (224, 224)),
        ("imagenet-c", 112, (112, 112)),
        ("tiny-imagenet-c", None, (64, 64)),
        ("cifar10-c", None, (50, 90)),
        ("imagenet-c", "keep", (50, 90)),
        ("cifar10-c", 40, (40, 40)),
    ],
)
def test_geometry_before_corruption(preset, size, shape):
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 90, 3), dtype=np.uint8))
    pixels = preset_geometry(preset, size)(image)
    assert pixels.shape == (*shape, 3)
    if preset == "tiny-imagenet-c":
        np.testing.assert_array_equal(pixels, np.asarray(image.resize((64, 64), Image.Resampling.BILINEAR)))


def test_the_command(tmp_path, image_folder):
    victim = image_folder / "test" / "dark" / "2.png"
    victim.write_bytes(b"not an image")
    arguments = (
        "-m",
        "timm_pushpull",
        "corrupt",
        image_folder,
        tmp_path / "out",
        "--format",
        "npy",
        "--size",
        "32",
    )
    arguments += ("--preset", "cifar10-c", "--corruptions", "contrast", "--severities", "2", "--workers", "2")
    process = run_command(*arguments)
    assert process.returncode == 1, process.stderr
    assert "image 2 " in process.stderr
    assert "left out 1 unreadable image" in process.stderr
    assert "is finished: 9 images, 1 corruption" in process.stdout
    assert "%|" not in process.stderr  # a file gets no bar
    assert "--workers" not in json.loads((tmp_path / "out" / "manifest.json").read_text())["command"]
