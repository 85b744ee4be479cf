"""Benchmarks that are interrupted, and benchmarks on published files, by the command in real processes."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from support.example_run import some_results, write_run
from support.processes import Command, assert_one_clear_line, launch, run_command, wait_for_all
from timm_pushpull import InputError, cli
from timm_pushpull.benchmark import CLEAN, ProgressLog
from timm_pushpull.benchmark.progress_log import identity
from timm_pushpull.benchmark.results import Results
from timm_pushpull.corruptions import CORRUPTIONS
from timm_pushpull.data.corrupted import generate, open_corrupted
from timm_pushpull.data.loading import load_images

COMMAND = ("-m", "timm_pushpull", "benchmark")


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "run"
    write_run(folder)
    config = json.loads((folder / "config.json").read_text())
    config["pretrained_cfg"]["crop_pct"] = 1.0  # so that published files can hold what the network sees
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture
def small_folder(tmp_path) -> Path:
    """Ten test images of 32 px in two classes."""
    rng = np.random.default_rng(0)
    for name, darkest in (("dark", 0), ("light", 140)):
        (tmp_path / "small" / "test" / name).mkdir(parents=True)
        for number in range(5):
            pixels = rng.integers(darkest, darkest + 100, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "small" / "test" / name / f"{number}.png")
    return tmp_path / "small"


def arguments(model: Path, dataset: Path | str | None, output: Path, *more: str | Path) -> list[str]:
    given = ["--model", "resnet18_cifar_pushpull", "--weights", f"local-dir:{model}", "--preset", "cifar10-c"]
    given += ["--output", output, *more]
    return [str(part) for part in (given if dataset is None else [*given, "--dataset", dataset])]


def figures(path: Path) -> dict:
    """Everything of a results file but the time it took and the command."""
    return {name: value for name, value in json.loads(path.read_text()).items() if name not in ("seconds", "command")}


@pytest.mark.slow
def test_a_killed_benchmark_goes_on_where_it_stopped(tmp_path, image_folder, model):
    cells = ("--corruptions", "fog", "frost", "snow", "gaussian_noise", "--batch-size", "3")
    assert run_command(*COMMAND, *arguments(model, image_folder, tmp_path / "whole.json", *cells)).returncode == 0
    output = tmp_path / "killed.json"
    log = output.with_name("killed.json.part")
    lines: list[bytes] = []
    for _ in range(3):
        with Command(*COMMAND, *arguments(model, image_folder, output, *cells)) as command:
            while command.is_running() and ((log.read_bytes().count(b"\n") if log.exists() else 0) < len(lines) + 4):
                time.sleep(0.01)
            command.kill()
        if output.exists():
            break
        kept = log.read_bytes().splitlines(keepends=True)
        assert kept[: len(lines)] == lines  # what was finished is not measured again
        lines = [line for line in kept if line.endswith(b"\n")]
    assert len(lines) > 4
    with log.open("ab") as file:
        file.write(b'{"cell": ["fog", 1], "sta')  # the machine stopped in the middle of a line
    assert run_command(*COMMAND, *arguments(model, image_folder, output, *cells)).returncode == 0
    assert figures(output) == figures(tmp_path / "whole.json")
    assert not log.exists()


def test_two_processes_write_the_same_results(tmp_path, image_folder, model):
    cells = ("--corruptions", "fog", "contrast", "--batch-size", "2", "--details")
    assert run_command(*COMMAND, *arguments(model, image_folder, tmp_path / "one.json", *cells)).returncode == 0
    wait_for_all(launch(3, *COMMAND, *arguments(model, image_folder, tmp_path / "three.json", *cells)))
    one, three = (figures(tmp_path / name) for name in ("one.json", "three.json"))
    for results in (one, three):
        results.pop("hardware")  # names the number of threads
    calibration = [results.pop("calibration_errors") for results in (one, three)]
    assert one == three
    # Sums of confidences, which are rounded otherwise in smaller batches and with other numbers of threads.
    assert list(calibration[0]) == list(calibration[1]) == ["clean", "fog", "contrast"]
    for name, expected in calibration[0].items():
        assert calibration[1][name] == pytest.approx(expected, rel=1e-5)


def test_a_finished_or_another_measurement_is_told_apart(tmp_path, image_folder, model, run_inside):
    output = tmp_path / "results.json"
    cells = ("--corruptions", "contrast", "--severities", "1")

    def run(*more: str):
        return run_inside(
            cli.main, "timm-pushpull", "benchmark", *arguments(model, image_folder, output, *cells, *more)
        )

    assert run().returncode == 0
    before = output.read_bytes()
    again = run()
    assert again.returncode == 0
    assert "was finished before" in again.stdout
    assert output.read_bytes() == before
    assert_one_clear_line(run("--seed", "5"), "its seed is 0, not 5", "--overwrite")
    assert_one_clear_line(run("--limit", "4"), "num_images is 10, not 4")
    assert output.read_bytes() == before
    assert run("--seed", "5", "--overwrite").returncode == 0
    assert json.loads(output.read_text())["seed"] == 5


@pytest.mark.parametrize(
    "change",
    [
        *({"weights_sha256": "1" * 64}, {"dataset_config": "160px"}, {"split": "val"}, {"preset": "imagenet-c"}),
        *({"frost": "procedural"}, {"jpeg_quality": 70}, {"image_size": 99}, {"precision": "bf16"}),
        {"versions": {"torch": "1.0"}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_whatever_changes_errors_makes_another_measurement(change):
    results = some_results()
    assert identity(replace(results, **change)) != identity(results)


def test_a_progress_log_of_something_else_is_refused(tmp_path):
    log = ProgressLog(tmp_path / "log", {"model": "a", "seed": 1})
    log.append(CLEAN, 0, np.array([True, False, True]), None, 3, digest=7, seconds=0.5)
    assert ProgressLog(tmp_path / "log", {"model": "a", "seed": 1}).parts == log.parts
    with pytest.raises(InputError, match="its seed is 1, not 2"):
        ProgressLog(tmp_path / "log", {"model": "a", "seed": 2})


@pytest.mark.parametrize("layout", ["npy", "imagefolder", "parquet"])
def test_files_give_the_errors_of_the_same_corruptions_on_the_fly(tmp_path, small_folder, model, run_inside, layout):
    images = load_images(str(small_folder))
    cells = {"corruptions": ("fog", "impulse_noise"), "severities": (2, 4)}
    generate(
        images,
        tmp_path / "set",
        format=layout,
        preset="cifar10-c",
        size=32,
        jpeg_quality="none",
        progress=False,
        **cells,
    )
    asked = ("--corruptions", "fog", "impulse_noise", "--severities", "2", "4")
    outputs = []
    for name, more in (("fly", ()), ("files", ("--corrupted", tmp_path / "set"))):
        output = tmp_path / f"{name}.json"
        process = run_inside(
            cli.main, "timm-pushpull", "benchmark", *arguments(model, small_folder, output, *asked, *more)
        )
        assert process.returncode == 0, process.stderr
        outputs.append(Results.load(output))
    fly, files = outputs
    assert files.errors == fly.errors
    assert files.clean_error == fly.clean_error
    assert files.intervals == fly.intervals
    assert (files.corrupted, fly.corrupted) == ("set", None)


def test_files_alone_have_no_clean_error(tmp_path, image_folder, model, run_inside):
    generate(
        load_images(str(image_folder)),
        tmp_path / "set",
        format="npy",
        preset="cifar10-c",
        size=40,
        corruptions=("fog", "contrast"),
        progress=False,
    )
    output = tmp_path / "results.json"
    files = ("--corrupted", tmp_path / "set", "--limit", "6")
    run = lambda *more: run_inside(  # noqa: E731
        cli.main, "timm-pushpull", "benchmark", *arguments(model, None, output, *files, *more)
    )
    assert_one_clear_line(run(), "has no gaussian_noise", "--corruptions fog contrast")
    assert_one_clear_line(run("--corruptions", "fog", "--image-size", "48"), "40x40 px", "takes 48")
    process = run("--corruptions", "fog")  # cropped from 40 to the model's 32
    assert process.returncode == 0, process.stderr
    results = Results.load(output)
    assert results.clean_error is None
    assert results.num_images == 6
    assert len(results.intervals.errors["fog"][0]) == 2
    (tmp_path / "set" / "fog.npy").unlink()
    assert_one_clear_line(run("--corruptions", "fog", "--overwrite"), "lacks fog.npy")


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux, where a peak can be reset")
def test_memory_does_not_grow_with_the_images(tmp_path, model):
    """Peak memory of the same benchmark on ten times as many images, over what the process holds before."""
    rng = np.random.default_rng(0)
    for number in range(900):
        folder = tmp_path / "many" / "test" / ("dark" if number % 2 else "light")
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (192, 192, 3), dtype=np.uint8)).save(folder / f"{number}.jpg", quality=50)
    script = tmp_path / "peak.py"
    script.write_text(
        "import sys\n"
        "from pathlib import Path\n"
        "from timm_pushpull.benchmark import evaluate, sources\n"
        "from timm_pushpull.data.loading import load_images\n"
        "from timm_pushpull.data.preprocessing import ResizeCenterCrop\n"
        "sources._BLOCK_BYTES = 1 << 20\n"
        "def memory(name):\n"
        "    lines = Path('/proc/self/status').read_text().splitlines()\n"
        "    return next(int(line.split()[1]) for line in lines if line.startswith(name))\n"
        "images = load_images(sys.argv[1])\n"
        "model = lambda x: x.mean(dim=(2, 3))[:, :2]\n"
        "for count in (90, 90, 900):\n"  # the first also loads libraries
        "    Path('/proc/self/clear_refs').write_text('5')\n"
        "    before = memory('VmRSS')\n"
        "    evaluate(model, images.subset(count), ResizeCenterCrop(192, 192), mean=(0, 0, 0), std=(1, 1, 1),\n"
        "             corruptions=('contrast',), severities=(1, 5), progress=False)\n"
        "    print(memory('VmHWM') - before)\n"
    )
    # glibc would keep what is freed, more or less of it; so the peak is that of what is in use. PYTHON...: in a process
    # that reads these when it starts.
    eager = {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": "32768", "MALLOC_TRIM_THRESHOLD_": "32768"}
    process = run_command(script, tmp_path / "many", PYTHONUNBUFFERED="1", **eager)
    assert process.returncode == 0, process.stderr
    _, few, many = (int(line) / 1024 for line in process.stdout.splitlines()[-3:])
    assert many - few < 20  # MiB; all pixels would be 85 more


def test_all_the_cells_of_a_set_can_be_opened(tmp_path, image_folder):
    generate(
        load_images(str(image_folder)), tmp_path / "set", format="npy", preset="cifar10-c", size=32, progress=False
    )
    files = open_corrupted(tmp_path / "set")
    assert files.corruptions[:15] == CORRUPTIONS
    np.testing.assert_array_equal(files.labels, load_images(str(image_folder)).labels)
