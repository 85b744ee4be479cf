"""Bad input to generated sets: images that cannot be read, options, and folders of something else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from support.generated import FORMATS, content, make
from support.processes import assert_one_clear_line
from timm_pushpull import InputError, cli
from timm_pushpull.corruptions import corrupt
from timm_pushpull.data.loading import load_images
from timm_pushpull.data.preprocessing import preset_geometry


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.filterwarnings("ignore:.*left out")
def test_unreadable_images_are_left_out(tmp_path, image_folder, format):
    victim = image_folder / "test" / "dark" / "2.png"
    victim.write_bytes(victim.read_bytes()[:500])
    with pytest.warns(UserWarning, match=r"image 2 .*dark/2.png.*cannot be read.*left out"):
        outcome = make(image_folder, tmp_path / "out", format=format)
    assert outcome.unreadable == 1
    assert outcome.manifest["unreadable"] == [{"row": 2, "file": "dark/2"}]
    assert outcome.manifest["num_images"] == 9
    for shard in (2, 1):
        make(image_folder, tmp_path / "shards", format=format, shard=(shard, 2))
    assert content(tmp_path / "shards") == content(tmp_path / "out")
    assert make(image_folder, tmp_path / "out", format=format).unreadable == 1
    if format == "npy":
        array = np.load(tmp_path / "out" / "gaussian_noise.npy")
        assert np.load(tmp_path / "out" / "labels.npy").tolist() == [0] * 4 + [1] * 5 + [0] * 4 + [1] * 5
        clean = preset_geometry("cifar10-c", 32)(load_images(str(image_folder)).read(3))
        np.testing.assert_array_equal(array[2], corrupt(clean, "gaussian_noise", 1, "cifar10-c", seed=5, index=3))


def test_numbers_of_numpy_are_fine_and_single_values_refused(tmp_path, image_folder):
    make(image_folder, tmp_path / "one", format="npy")
    make(image_folder, tmp_path / "out", format="npy", seed=np.int64(5), severities=np.array([4, 1, 4]))
    assert content(tmp_path / "out") == content(tmp_path / "one")
    for single, message in (
        ({"severities": 3}, r"give a sequence, such as \[3\]"),
        ({"corruptions": "fog"}, "'fog'; give"),
    ):
        with pytest.raises(InputError, match=message):
            make(image_folder, tmp_path / "new", format="npy", **single)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.filterwarnings("ignore:.*left out")
def test_nothing_readable_is_an_error(tmp_path, image_folder, format):
    for path in (image_folder / "test").rglob("*.png"):
        path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(InputError, match="none of the 10 images"):
        make(image_folder, tmp_path / "out", format=format)
    assert not (tmp_path / "out" / "manifest.json").exists()


def corrupt_command(run_inside, folder: Path, output: Path, **changes):
    options = {"format": "npy", "size": "32", "corruptions": "contrast", "severities": "1", **changes}
    arguments = [part for name, value in options.items() if value for part in (f"--{name.replace('_', '-')}", value)]
    return run_inside(cli.main, "timm-pushpull", "corrupt", folder, output, *arguments)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"shard": "0/3"}, ["shard is 0/3", "1/3 to 3/3"]),
        ({"shard": "4/3"}, ["shard is 4/3"]),
        ({"shard": "x"}, ["--shard is 'x'", "1/4"]),
        ({"shard": "1/0"}, ["shard is 1/0"]),
        ({"corruptions": "fogg"}, ["unknown corruption 'fogg'", "did you mean 'fog'"]),
        ({"preset": "imagenet"}, ["did you mean 'imagenet-c'"]),
        ({"format": "parket"}, ["did you mean 'parquet'"]),
        ({"format": None}, ["--format"]),
        ({"severities": "6"}, ["severity is 6"]),
        ({"size": "big"}, ["--size is 'big'", "keep"]),
        ({"size": "0"}, ["size is 0"]),
        ({"size": "keep"}, ["one size", "36x40"]),
        ({"jpeg_quality": "101"}, ["--jpeg-quality is '101'"]),
        ({"jpeg_quality": "best"}, ["--jpeg-quality is 'best'"]),
        ({"workers": "0"}, ["workers is 0"]),
        ({"limit": "0"}, ["limit is 0"]),
        ({"seed": "-1"}, ["seed is -1"]),
        ({"split": "val"}, ["no split val"]),
    ],
)
def test_bad_input_is_one_line(tmp_path, image_folder, run_inside, changes, words):
    assert_one_clear_line(corrupt_command(run_inside, image_folder, tmp_path / "out", **changes), *words)
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_other_folders_are_refused(tmp_path, image_folder, run_inside):
    (tmp_path / "file").write_text("")
    assert_one_clear_line(corrupt_command(run_inside, image_folder, tmp_path / "file"), "is a file")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("all of it")
    assert_one_clear_line(corrupt_command(run_inside, image_folder, tmp_path / "mine"), "thesis.txt", "something else")
    options = {"preset": "cifar10-c", "seed": "5"}
    assert corrupt_command(run_inside, image_folder, tmp_path / "out", **options, shard="1/1").returncode == 0
    again = corrupt_command(run_inside, image_folder, tmp_path / "out", **options)
    assert again.returncode == 0
    assert "was finished before" in again.stdout
    for name, value in (("seed", "6"), ("severities", "2"), ("limit", "4"), ("split", "train"), ("format", "parquet")):
        process = corrupt_command(run_inside, image_folder, tmp_path / "out", **{**options, name: value})
        assert_one_clear_line(process, "another finished set", {"limit": "rows"}.get(name, name), "--overwrite")
    process = run_inside(
        cli.main, "timm-pushpull", "corrupt", image_folder, tmp_path / "mine", "--format", "npy", "--overwrite"
    )
    assert_one_clear_line(process, "something else")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "all of it"


def test_another_job_is_refused_in_an_unfinished_folder(tmp_path, image_folder):
    make(image_folder, tmp_path / "out", format="npy", shard=(1, 2))
    with pytest.raises(InputError, match="another unfinished set: seed is 5 there and 6 here"):
        make(image_folder, tmp_path / "out", format="npy", shard=(2, 2), seed=6)
    with pytest.raises(InputError, match="what other shards have made"):
        make(image_folder, tmp_path / "out", format="npy", shard=(2, 2), overwrite=True)
