"""Datasets with several configurations: which one is read, and where it is recorded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from support.example_run import SMALL, some_results, write_run
from timm_pushpull import InputError, cli
from timm_pushpull.benchmark.results import Results
from timm_pushpull.data.loading import load_images

README = """---
configs:
- config_name: small
  data_files: [{split: test, path: small/*.parquet}]
- config_name: large
  data_files: [{split: test, path: large/*.parquet}]
---
"""


@pytest.fixture
def two_sizes(tmp_path) -> Path:
    """The same three images in two sizes, a configuration each."""
    import datasets

    folder = tmp_path / "two-sizes"
    features = datasets.Features(image=datasets.Image(), label=datasets.ClassLabel(names=["airplane", "automobile"]))
    for name, side in (("small", 40), ("large", 48)):
        images = [Image.new("RGB", (side, side), (60 * number,) * 3) for number in range(3)]
        table = datasets.Dataset.from_dict({"image": images, "label": [0, 1, 0]}, features=features)
        (folder / name).mkdir(parents=True)
        table.to_parquet(folder / name / "test.parquet")
    (folder / "README.md").write_text(README)
    return folder


def test_a_configuration_is_chosen(two_sizes):
    for name, side in (("small", 40), ("large", 48)):
        images = load_images(two_sizes, config=name)
        assert (images.config, images.read(0).size) == (name, (side, side))
    with pytest.raises(InputError, match="2 configurations; choose one with --dataset-config: small, large"):
        load_images(two_sizes)
    with pytest.raises(InputError, match="unknown configuration 'smal'; did you mean 'small'"):
        load_images(two_sizes, config="smal")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 40)), "has the alias"),
        ("x: " + "[" * 5000 + "\n", "nest(ed|ing)"),
        ("configs:\n- {config_name: a, data_files: 'http://127.0.0.1:9/x.parquet'}\n", "files on another machine"),
    ],
    ids=["aliases", "depth", "address"],
)
@pytest.mark.parametrize("name", ["README.md", ".huggingface.yaml"])
def test_descriptions_of_others_are_bounded(two_sizes, name, text, message):
    (two_sizes / name).write_text(f"---\n{text}---\n" if name == "README.md" else text)
    with pytest.raises(InputError, match=message):
        load_images(two_sizes, config="small")


def test_commands_record_the_configuration(two_sizes, tmp_path, run_inside):
    common = ("--dataset-config", "small", "--corruptions", "contrast", "--severities", "3", "--preset", "cifar10-c")
    process = run_inside(
        cli.main, "timm-pushpull", "corrupt", two_sizes, tmp_path / "set", *common, "--format", "imagefolder"
    )
    assert process.returncode == 0, process.stderr
    assert json.loads((tmp_path / "set" / "manifest.json").read_text())["dataset_config"] == "small"
    write_run(tmp_path / "run", **SMALL, classes=("airplane", "automobile"))
    model = ("--model", f"local-dir:{tmp_path / 'run'}", "--image-size", "32")
    for number, source in enumerate((("--dataset", two_sizes), ("--corrupted", tmp_path / "set"))):
        output = tmp_path / f"{number}.json"
        process = run_inside(cli.main, "timm-pushpull", "benchmark", *model, *source, *common, "--output", output)
        assert process.returncode == 0, process.stderr
        assert Results.load(output).dataset_config == "small"


def test_results_without_a_configuration_lack_the_key():
    assert "dataset_config" not in json.loads(some_results().to_json())
