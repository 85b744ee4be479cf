"""What the same words mean in Python and in commands, and what is recorded of published files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from support.example_run import SMALL, write_run
from timm_pushpull import InputError, cli
from timm_pushpull.benchmark import CLEAN, OnTheFlyCorruptions, PrecomputedCorruptions
from timm_pushpull.benchmark.results import Results
from timm_pushpull.corruptions import corrupt
from timm_pushpull.data import ResizeCenterCrop, generate, load_images, open_corrupted


def test_a_preset_has_its_jpeg_quality_everywhere():
    images, cell = load_images("digits").subset(3), ("contrast", 3)
    for preset, quality in (("imagenet-c", 85), ("tiny-imagenet-c", 85), ("cifar10-c", None)):
        for given, expected in ((None, quality), ("none", None), (40, 40)):
            source = OnTheFlyCorruptions(images, ResizeCenterCrop(32, 32), preset=preset, jpeg_quality=given)
            ((_, _, pixels, _),) = source.batches(np.arange(3), [cell], 3, 1)
            clean = np.asarray(images.read(images.indices[0]))
            index = int(images.indices[0])
            np.testing.assert_array_equal(pixels[0], corrupt(clean, *cell, preset, index=index, jpeg_quality=expected))
    with pytest.raises(InputError, match="jpeg_quality is 'best'; use 1 to 100, or none"):
        OnTheFlyCorruptions(images, ResizeCenterCrop(32, 32), jpeg_quality="best")


@pytest.fixture
def measure(tmp_path, run_inside):
    """Measure a small classifier on a set; returns the process and the path of its results."""
    write_run(tmp_path / "run", **SMALL, classes=("ant", "bee"))

    def run(place: Path, *options: str):
        output = tmp_path / "results.json"
        arguments = ("--model", f"local-dir:{tmp_path / 'run'}", "--corrupted", place, "--corruptions", "contrast")
        process = run_inside(
            cli.main,
            "timm-pushpull",
            "benchmark",
            *arguments,
            *options,
            "--image-size",
            "32",
            "--overwrite",
            "--output",
            output,
        )
        return process, output

    return run


def test_clean_images_beside_a_set_are_read_block_by_block(tmp_path, monkeypatch):
    images, geometry = load_images("digits").subset(300), ResizeCenterCrop(32, 32)
    generate(images, tmp_path / "set", preset="cifar10-c", corruptions=["contrast"], severities=[1], format="npy")
    source = PrecomputedCorruptions(open_corrupted(tmp_path / "set"), 32, clean=images, geometry=geometry)
    read = []
    batches = OnTheFlyCorruptions.batches

    def counted(self, positions, *arguments):
        read.append(len(positions))
        return batches(self, positions, *arguments)

    monkeypatch.setattr(OnTheFlyCorruptions, "batches", counted)
    monkeypatch.setattr(OnTheFlyCorruptions, "block_images", lambda self, batch_size: 120)
    found = list(source.batches(np.arange(300), [CLEAN], 50, 1))
    assert read == [120, 120, 60]
    np.testing.assert_array_equal(np.concatenate([place for _, place, _, _ in found]), np.arange(300))
    assert [last for *_, last in found] == [False] * (len(found) - 1) + [True]
    whole = np.concatenate([pixels for _, _, pixels, _ in found])
    np.testing.assert_array_equal(whole[-1], np.asarray(images.read(images.indices[-1])))


def published_folders(folder: Path, side: int) -> Path:
    for severity in range(1, 6):
        for name in ("ant", "bee"):
            (folder / "contrast" / str(severity) / name).mkdir(parents=True)
            Image.new("RGB", (side, side)).save(folder / "contrast" / str(severity) / name / "0.png")
    return folder


def published_arrays(folder: Path) -> Path:
    folder.mkdir()
    np.save(folder / "contrast.npy", np.zeros((10, 32, 32, 3), np.uint8))
    np.save(folder / "labels.npy", np.array([0, 1] * 5, np.uint8))
    return folder


def test_published_files_are_recorded_with_the_preset_of_their_size(tmp_path, measure):
    places = [(published_arrays(tmp_path / "CIFAR-10-C"), "cifar10-c")]
    places += [(published_folders(tmp_path / "tiny", 64), "tiny-imagenet-c")]
    places += [(published_folders(tmp_path / "large", 224), "imagenet-c")]
    for place, preset in places:
        process, output = measure(place)
        assert process.returncode == 0, process.stderr
        assert Results.load(output).preset == preset
    process, output = measure(tmp_path / "tiny", "--preset", "cifar10-c")
    assert Results.load(output).preset == "cifar10-c"


def test_a_preset_that_is_not_that_of_the_manifest_is_refused(tmp_path, measure):
    published_folders(tmp_path / "source", 32)
    generate(
        load_images(tmp_path / "source" / "contrast" / "1"),
        tmp_path / "set",
        format="npy",
        preset="cifar10-c",
        corruptions=["contrast"],
        progress=False,
    )
    process, output = measure(tmp_path / "set", "--preset", "imagenet-c")
    assert process.returncode == 2
    assert "was made with preset cifar10-c, not imagenet-c; leave --preset out" in process.stderr
    process, output = measure(tmp_path / "set")
    assert Results.load(output).preset == "cifar10-c"
