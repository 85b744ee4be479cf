"""Generated sets: their layouts, and that a set's bytes do not depend on how it came about."""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from conftest import assert_one_clear_line, run_command
from processes import SERVER
from timm_pushpull import InputError, cli
from timm_pushpull.corruptions import corrupt, corrupt_batch
from timm_pushpull.data import load_images
from timm_pushpull.generate import generate
from timm_pushpull.generate.source import geometry

FORMATS = ("npy", "imagefolder", "parquet")
SMALL = {
    "preset": "cifar10-c",
    "corruptions": ("contrast", "gaussian_noise"),
    "severities": (1, 4),
    "size": 32,
    "seed": 5,
    "chunk": 3,
    "command": "make",
    "progress": False,
}


def make(folder: Path, output: Path, **options):
    return generate(load_images(str(folder)), output, **{**SMALL, **options})


def make_process(folder: Path, output: Path, die_at: int = 0, file_limit: int = 0, **options) -> None:
    """The body of a process; it kills itself at its `die_at`-th rename, or can write no file beyond `file_limit`."""
    images = load_images(str(folder))
    renames, rename = iter(range(1, 10**6)), os.replace

    def rename_or_die(*paths) -> None:
        if next(renames) == die_at:
            os.kill(os.getpid(), signal.SIGKILL)
        rename(*paths)

    os.replace = rename_or_die
    if file_limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit, file_limit))
    try:
        generate(images, output, **{**SMALL, **options})
    except InputError as error:
        output.with_suffix(".error").write_text(str(error))
        raise SystemExit(2) from None


def start(*arguments, **options):
    process = SERVER.Process(target=make_process, args=arguments, kwargs=options)
    process.start()
    return process


def content(folder: Path) -> dict[str, bytes | dict]:
    """All files of a folder; of the manifest, what does not change when this checkout is committed."""
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    found = {name: path.read_bytes() for name, path in sorted(files.items())}
    if "manifest.json" in found:
        found["manifest.json"] = {**json.loads(found["manifest.json"]), "commit": None}
    return found


def expected(folder: Path, name: str, severity: int) -> np.ndarray:
    images = load_images(str(folder))
    clean = np.stack([geometry("cifar10-c", 32)(images.read(row)) for row in images.indices])
    return np.stack([corrupt(x, name, severity, "cifar10-c", seed=5, index=i) for i, x in enumerate(clean)])


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
    pixels = np.stack([np.asarray(picture) for picture in rows["image"]])
    np.testing.assert_array_equal(pixels, expected(image_folder, "gaussian_noise", 4))
    assert len(datasets.get_dataset_config_names(str(tmp_path / "out"))) == 2


def test_npy_goes_through_the_same_jpeg_as_files(tmp_path, image_folder):
    make(image_folder, tmp_path / "npy", format="npy", jpeg_quality=85)
    make(image_folder, tmp_path / "files", format="imagefolder", jpeg_quality=85)
    array = np.load(tmp_path / "npy" / "contrast.npy")
    with Image.open(tmp_path / "files" / "contrast" / "4" / "light" / "2.JPEG") as picture:
        np.testing.assert_array_equal(array[10 + 7], np.asarray(picture))


@pytest.mark.parametrize("format", FORMATS)
def test_limited_sets_are_parts_of_whole_ones(tmp_path, format):
    images = load_images("digits").limited(12)
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


@pytest.mark.parametrize("format", FORMATS)
def test_two_shards_at_once_make_the_same_set_as_one_run(tmp_path, image_folder, format):
    make(image_folder, tmp_path / "one", format=format)
    for attempt in range(3):
        output = tmp_path / f"shards{attempt}"
        processes = [start(image_folder, output, format=format, shard=(number, 2)) for number in (1, 2)]
        for process in processes:
            process.join(60)
            assert process.exitcode == 0
        assert content(output) == content(tmp_path / "one")


@pytest.mark.parametrize(("format", "first"), [("npy", 3), ("imagefolder", 9), ("parquet", 9)])
def test_a_run_that_is_killed_again_and_again_ends_with_the_same_bytes(tmp_path, image_folder, format, first):
    """Every process dies before some rename: among files, among records, while completing."""
    make(image_folder, tmp_path / "one", format=format, chunk=1)
    output, kills = tmp_path / "out", 0
    for attempt in range(40):
        process = start(image_folder, output, format=format, chunk=1, die_at=first + attempt % 4)
        process.join(60)
        if process.exitcode == 0:
            break
        assert process.exitcode == -signal.SIGKILL
        assert not (output / "manifest.json").exists() or not (output / ".work").exists()
        kills += 1
    assert kills >= 2
    assert process.exitcode == 0
    assert content(output) == content(tmp_path / "one")


def test_a_run_killed_at_any_moment_ends_with_the_same_bytes(tmp_path, image_folder):
    options = {"format": "npy", "severities": (1, 2, 3, 4, 5), "chunk": 1, "size": 96}
    make(image_folder, tmp_path / "one", **options)
    moments, kills = random.Random(0), 0
    for _ in range(5):
        process = start(image_folder, tmp_path / "out", **options)
        while process.is_alive() and not (tmp_path / "out" / ".work" / "survey.json").exists():
            time.sleep(0.001)
        time.sleep(moments.uniform(0, 0.05))
        process.kill()
        process.join()
        kills += process.exitcode != 0
    assert kills
    make(image_folder, tmp_path / "out", **options)
    assert content(tmp_path / "out") == content(tmp_path / "one")


def test_only_what_is_missing_is_made_anew(tmp_path, image_folder):
    process = start(image_folder, tmp_path / "out", format="imagefolder", chunk=5, die_at=40)
    process.join(60)
    first = tmp_path / "out" / "contrast" / "1" / "dark" / "0.png"
    before = first.stat().st_mtime_ns
    make(image_folder, tmp_path / "out", format="imagefolder", chunk=5)
    assert first.stat().st_mtime_ns == before


def test_a_finished_set_is_left_alone(tmp_path, image_folder):
    first = make(image_folder, tmp_path / "out", format="npy")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    again = make(image_folder, tmp_path / "out", format="npy")
    assert again.before
    assert again.manifest == first.manifest
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()} == before


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("finished", [True, False])
def test_overwrite_starts_anew(tmp_path, image_folder, format, finished):
    make(image_folder, tmp_path / "one", format="npy", seed=6)
    make(image_folder, tmp_path / "out", format=format, shard=(1, 1 if finished else 2))
    make(image_folder, tmp_path / "out", format="npy", seed=6, overwrite=True)
    assert content(tmp_path / "out") == content(tmp_path / "one")


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
        clean = geometry("cifar10-c", 32)(load_images(str(image_folder)).read(3))
        np.testing.assert_array_equal(array[2], corrupt(clean, "gaussian_noise", 1, "cifar10-c", seed=5, index=3))


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.filterwarnings("ignore:.*left out")
def test_nothing_readable_is_an_error(tmp_path, image_folder, format):
    for path in (image_folder / "test").rglob("*.png"):
        path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(InputError, match="none of the 10 images"):
        make(image_folder, tmp_path / "out", format=format)
    assert not (tmp_path / "out" / "manifest.json").exists()


@pytest.mark.parametrize(("format", "limit"), [("npy", 20_000), ("imagefolder", 2500), ("parquet", 4000)])
def test_a_full_disk_is_one_line_and_the_command_goes_on_later(tmp_path, image_folder, format, limit):
    """Files cannot grow beyond a limit, which the system reports as it does a full disk."""
    process = start(image_folder, tmp_path / "out", format=format, file_limit=limit)
    process.join(60)
    assert process.exitcode == 2
    error = (tmp_path / "out.error").read_text()
    assert "file too large" in error
    assert "run the same command again" in error
    assert str(tmp_path / "out") in error
    left = [name for name in content(tmp_path / "out") if not name.startswith(".")]
    assert not any(name.endswith((".npy", ".parquet", "manifest.json")) for name in left)
    make(image_folder, tmp_path / "out", format=format)
    make(image_folder, tmp_path / "one", format=format)
    assert content(tmp_path / "out") == content(tmp_path / "one")


def test_pictures_of_several_sizes(tmp_path, image_folder):
    with pytest.raises(InputError, match="image 0 has 36x40 px, image 1 has 36x41 px; give a --size"):
        make(image_folder, tmp_path / "npy", format="npy", size="keep")
    make(image_folder, tmp_path / "files", format="imagefolder", size="keep")
    for number, height in enumerate((40, 41, 42)):
        with Image.open(tmp_path / "files" / "contrast" / "1" / "dark" / f"{number}.png") as picture:
            assert picture.size == (36, height)


def test_the_same_class_and_file_name_do_not_overwrite_each_other(tmp_path, image_folder):
    import datasets

    pictures = [Image.new("RGB", (32, 32), (level, 0, 0)) for level in (10, 20, 30)]
    for number, picture in enumerate(pictures):
        (tmp_path / str(number)).mkdir()
        picture.save(tmp_path / str(number) / "a.png")
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
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 90, 3), dtype=np.uint8))
    pixels = geometry(preset, size)(picture)
    assert pixels.shape == (*shape, 3)
    if preset == "tiny-imagenet-c":
        np.testing.assert_array_equal(pixels, np.asarray(picture.resize((64, 64), Image.Resampling.BILINEAR)))


def test_the_command(tmp_path, image_folder):
    victim = image_folder / "test" / "dark" / "2.png"
    victim.write_bytes(b"no picture")
    arguments = (
        "-m",
        "timm_pushpull.cli",
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
    assert "100%" in process.stderr
    assert "--workers" not in json.loads((tmp_path / "out" / "manifest.json").read_text())["command"]


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
