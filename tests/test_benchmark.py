"""The benchmark against a loop of its own, and the command around it."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from conftest import assert_one_clear_line, run_command
from example_run import write_run
from timm_pushpull import InputError, cli
from timm_pushpull.benchmark import check_classes, evaluate
from timm_pushpull.corruptions import CORRUPTIONS, corrupt
from timm_pushpull.data import load_images
from timm_pushpull.preprocess import Geometry

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)


class GreyLevelClassifier(torch.nn.Module):
    """Ten classes by the last digit of a pixel's grey levels: feels every change of a corruption and of its draws."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        mean, std = (torch.tensor(v).view(-1, 1, 1) for v in (MEAN, STD))
        levels = (255 * (images * std + mean)).round().long()
        return torch.nn.functional.one_hot(levels[:, :, 12, 10:14].sum(dim=(1, 2)) % 10, 10).float()


def test_equals_an_independent_loop():
    images, model, geometry = load_images("digits").limited(60), GreyLevelClassifier(), Geometry(28, 32)
    clean, errors = evaluate(
        model, images, geometry, mean=MEAN, std=STD, preset="cifar10-c", seed=3, batch_size=17, progress=False
    )

    def is_wrong(pixels: np.ndarray, label: int) -> bool:
        x = torch.from_numpy(pixels.copy()).permute(2, 0, 1) / 255 - torch.tensor(MEAN).view(-1, 1, 1)
        return model((x / torch.tensor(STD).view(-1, 1, 1)).unsqueeze(0)).argmax().item() != label

    crops = {row: np.asarray(images.read(row))[2:30, 2:30] for row in images.indices}
    assert clean == np.mean([is_wrong(crop, images.labels[row]) for row, crop in crops.items()])
    assert set(errors) == set(CORRUPTIONS)
    for name, row_of_errors in errors.items():
        for severity, error in enumerate(row_of_errors, start=1):
            wrong = [
                is_wrong(corrupt(crop, name, severity, "cifar10-c", seed=3, index=row), images.labels[row])
                for row, crop in crops.items()
            ]
            assert error == np.mean(wrong)
    assert len({tuple(row) for row in errors.values()}) > 3  # the classifier does feel the corruptions


def test_processes_add_up_to_one():
    images, arguments = load_images("digits").limited(61), {"mean": MEAN, "std": STD, "corruptions": ("contrast",)}
    alone = evaluate(GreyLevelClassifier(), images, Geometry(32, 32), progress=False, **arguments)
    counts = []
    for rank in range(3):
        evaluate(
            GreyLevelClassifier(),
            images,
            Geometry(32, 32),
            progress=False,
            rank=rank,
            processes=3,
            add_up=lambda part: counts.append(part) or part,
            **arguments,
        )
    total = sum(counts).double() / len(images)
    assert alone == (total[0].item(), {"contrast": total[1:].tolist()})


def test_severities_that_were_not_asked_for_are_none():
    _, errors = evaluate(
        GreyLevelClassifier(),
        load_images("digits").limited(10),
        Geometry(32, 32),
        mean=MEAN,
        std=STD,
        corruptions=("contrast",),
        severities=(2, 5),
        progress=False,
    )
    assert [error is None for error in errors["contrast"]] == [True, False, True, True, False]


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (lambda x: torch.zeros(len(x), 3), "10 classes"),
        (lambda x: torch.full((len(x), 10), float("nan")), "not finite on clean"),
    ],
)
def test_impossible_logits_are_named(model, message):
    with pytest.raises(InputError, match=message):
        evaluate(model, load_images("digits").limited(10), Geometry(32, 32), mean=MEAN, std=STD, progress=False)


@pytest.mark.parametrize("names", [list("0123456789"), None])
def test_the_same_class_names_are_fine(names, recwarn):
    check_classes(names, load_images("digits"))
    assert not recwarn


def test_other_class_names_are_noticed():
    with pytest.raises(InputError, match="in this order"):
        check_classes(list("1023456789"), load_images("digits"))
    with pytest.raises(InputError, match="the model has 3 classes, 'digits' has 10"):
        check_classes(list("abc"), load_images("digits"))
    with pytest.warns(UserWarning, match="not those of 'digits'"):
        check_classes(list("abcdefghij"), load_images("digits"))


def test_command(tmp_path, image_folder):
    write_run(tmp_path / "run")
    output = tmp_path / "new" / "results.json"
    arguments = (
        "-m",
        "timm_pushpull.cli",
        "benchmark",
        "--model",
        "resnet18_cifar_pushpull",
        "--weights",
        f"local-dir:{tmp_path / 'run'}",
        "--dataset",
        image_folder,
        "--preset",
        "cifar10-c",
        "--limit",
        "6",
        "--seed",
        "4",
        "--corruptions",
        "contrast",
        "pixelate",
        "--severities",
        "1",
        "3",
        "--output",
        output,
    )
    process = run_command(*arguments)
    assert process.returncode == 0, process.stderr
    results = json.loads(output.read_text())
    assert (results["model"], results["dataset"], results["split"]) == ("resnet18_cifar_pushpull", "pictures", "test")
    assert (results["num_images"], results["seed"], results["preset"]) == (6, 4, "cifar10-c")
    assert results["partial"] is True
    assert set(results["errors"]) == {"contrast", "pixelate"}
    assert "--limit 6" in results["command"]
    assert "contrast" in process.stdout
    first = output.read_bytes()
    assert run_command(*arguments).returncode == 0
    assert output.read_bytes() == first

    info = run_command("-m", "timm_pushpull.cli", "info", output)
    assert results["weights_sha256"] in info.stdout
    compared = run_command("-m", "timm_pushpull.cli", "compare", tmp_path / "run", tmp_path / "run")
    assert compared.stdout.count("1.000") == 2
    assert_one_clear_line(
        run_command("-m", "timm_pushpull.cli", "compare", tmp_path / "run", output), "cannot be compared", "seed"
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"--model": "resnet18_cifra"}, ["did you mean"]),
        ({"--dataset": "./nowhere"}, ["no data set folder", "./nowhere"]),
        ({"--corruptions": "foog"}, ["unknown corruption 'foog'", "did you mean 'fog'"]),
        ({"--severities": "0"}, ["severity is 0"]),
        ({"--preset": "cifar"}, ["did you mean 'cifar10-c'"]),
        ({"--limit": "-1"}, ["limit is -1"]),
        ({"--split": "val"}, ["no split val"]),
        ({"--output": "/proc/nowhere/x.json"}, ["cannot write"]),
        ({"--batch-size": "x"}, ["--batch-size"]),
        ({"--dataset": "digits"}, ["classes"]),
    ],
)
def test_bad_input_is_one_line(tmp_path, image_folder, run_inside, changes, words):
    write_run(tmp_path / "run")
    arguments = {
        "--model": "resnet18_cifar_pushpull",
        "--weights": f"local-dir:{tmp_path / 'run'}",
        "--dataset": image_folder,
        "--output": tmp_path / "out" / "results.json",
        **changes,
    }
    process = run_inside(cli.main, "timm-pushpull", "benchmark", *(part for pair in arguments.items() for part in pair))
    assert_one_clear_line(process, *words)
    assert not (tmp_path / "out" / "results.json").exists()
