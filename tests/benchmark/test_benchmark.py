"""The benchmark against a loop of its own, and the command around it."""

from __future__ import annotations

import json
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image

from support.example_benchmark import MEAN, STD, as_processes
from support.example_run import SMALL, write_run
from support.processes import assert_one_clear_line, run_command
from timm_pushpull import InputError, cli, metrics
from timm_pushpull.benchmark import CLEAN, Evaluation, OnTheFlyCorruptions, ProgressLog, check_classes, evaluate
from timm_pushpull.corruptions import CORRUPTIONS, EXTRA_CORRUPTIONS, corrupt
from timm_pushpull.data.loading import load_images
from timm_pushpull.data.preprocessing import ResizeCenterCrop, normalise
from timm_pushpull.models.weights import create_model


class GreyLevelClassifier(torch.nn.Module):
    """Ten classes by the last digit of a pixel's grey levels: feels every change of a corruption and of its draws."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        mean, std = (torch.tensor(v).view(-1, 1, 1) for v in (MEAN, STD))
        levels = (255 * (images * std + mean)).round().long()
        return torch.nn.functional.one_hot(levels[:, :, 12, 10:14].sum(dim=(1, 2)) % 10, 10).float()


def test_equals_an_independent_loop():
    images, model, geometry = load_images("digits").subset(60), GreyLevelClassifier(), ResizeCenterCrop(28, 32)
    evaluation = evaluate(
        model, images, geometry, mean=MEAN, std=STD, preset="cifar10-c", seed=3, batch_size=17, progress=False
    )

    clean, errors = evaluation.clean_error, evaluation.errors

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


def test_details_are_those_of_all_probabilities():
    images, weights = load_images("digits").subset(90), torch.randn(3 * 64, 10, generator=torch.manual_seed(0))
    model = lambda x: torch.nn.functional.adaptive_avg_pool2d(x, 8).flatten(1) @ weights / 8  # noqa: E731
    arguments = {"mean": MEAN, "std": STD, "corruptions": ("contrast",), "severities": (1,), "progress": False}
    evaluation = evaluate(model, images, ResizeCenterCrop(32, 32), batch_size=20, details=True, **arguments)
    pixels = np.stack([np.asarray(images.read(row)) for row in images.indices])
    labels = images.labels[images.indices]
    probabilities = model(normalise(pixels, MEAN, STD)).softmax(dim=1).numpy()
    order = np.argsort(-probabilities, axis=1)
    results = evaluation.as_results()
    assert results["top5_errors"].clean == np.mean(
        [label not in row[:5] for label, row in zip(labels, order, strict=True)]
    )
    expected = metrics.expected_calibration_error(probabilities.max(axis=1), order[:, 0] == labels)
    assert results["calibration_errors"].clean == pytest.approx(expected, abs=1e-6)
    assert expected > 0.05
    assert set(results["top5_errors"].errors) == {"contrast"}
    assert results["top5_errors"].errors["contrast"][1:] == [None] * 4


def test_intervals_hold_what_resampling_the_images_gives():
    rng = np.random.default_rng(0)
    difficulty = rng.uniform(0, 1, 400)  # of an image, in all cells alike
    cells = [CLEAN, *((name, severity) for name in CORRUPTIONS for severity in range(1, 6))]
    wrong = {cell: rng.uniform(size=400) < difficulty for cell in cells}
    evaluation = Evaluation(wrong)
    table = np.array([wrong[cell] for cell in cells[1:]])
    draws = [table[:, rng.integers(0, 400, 400)].mean() for _ in range(2000)]
    assert evaluation.mce_interval == pytest.approx(np.percentile(draws, [2.5, 97.5]), abs=0.004)
    low, high = evaluation.intervals["fog"][2]
    assert low < evaluation.errors["fog"][2] < high
    assert high - low == pytest.approx(2 * 1.96 * (0.25 / 400) ** 0.5, rel=0.05)


def test_every_corruption_has_the_same_weight_in_the_interval_of_the_mce():
    """Whatever the number of its severities that were measured."""
    rng = np.random.default_rng(0)
    always, often = np.ones(400, bool), rng.uniform(size=400) < 0.5
    evaluation = Evaluation({("fog", severity): always for severity in (1, 2, 3, 4)} | {("snow", 1): often})
    low, high = evaluation.mce_interval
    assert (low + high) / 2 == pytest.approx(evaluation.mce)
    assert high - low == pytest.approx(2 * 1.96 * 0.5 * often.std(ddof=1) / 20, rel=0.01)


def test_an_error_rate_has_the_interval_of_wilson():
    few = np.arange(20) == 0
    assert Evaluation({CLEAN: few}).interval(CLEAN) == metrics.confidence_interval(0.05, 20)
    low, _ = Evaluation({CLEAN: few.astype(float)}).interval(CLEAN)  # of a mean
    assert low == 0


def test_the_interval_of_the_mce_is_that_of_the_test_corruptions():
    rng = np.random.default_rng(0)
    test = {(name, severity): rng.uniform(size=40) < 0.3 for name in CORRUPTIONS for severity in range(1, 6)}
    validation = {(name, severity): np.ones(40, bool) for name in EXTRA_CORRUPTIONS for severity in range(1, 6)}
    assert Evaluation(test | validation).mce_interval == Evaluation(test).mce_interval
    assert Evaluation(validation).mce_interval is None


def test_images_that_change_between_two_runs_are_noticed(tmp_path, image_folder):
    arguments = {"mean": MEAN, "std": STD, "corruptions": ("contrast",), "progress": False}

    def run(severities: tuple[int, ...]) -> Evaluation:
        log = ProgressLog(tmp_path / "log", {"model": "x"})
        images = load_images(str(image_folder))
        model = lambda x: x.mean(dim=(2, 3))[:, :2]  # noqa: E731
        return evaluate(model, images, ResizeCenterCrop(32, 32), severities=severities, log=log, **arguments)

    first, both = run((1,)), run((1, 2))
    assert both.fingerprint == first.fingerprint != "0" * 16
    Image.new("RGB", (40, 36)).save(image_folder / "test" / "dark" / "3.png")
    with pytest.raises(InputError, match="not those of the interrupted measurement"):
        run((1, 2, 3))


@pytest.mark.parametrize("processes", [2, 3, 7])
def test_processes_find_the_same_wrong_images_as_one(processes):
    images = load_images("digits").subset(61)
    arguments = {"mean": MEAN, "std": STD, "corruptions": ("contrast", "fog"), "details": True, "progress": False}
    alone = evaluate(GreyLevelClassifier(), images, ResizeCenterCrop(32, 32), **arguments)
    work = partial(evaluate, GreyLevelClassifier(), images, ResizeCenterCrop(32, 32), batch_size=5, **arguments)
    for together in as_processes(processes, work):
        assert together.as_results() | {"seconds": 0} == alone.as_results() | {"seconds": 0}
        for cell, errors in alone.image_errors.items():
            np.testing.assert_array_equal(together.image_errors[cell], errors)


def test_severities_that_were_not_asked_for_are_none():
    errors = evaluate(
        GreyLevelClassifier(),
        load_images("digits").subset(10),
        ResizeCenterCrop(32, 32),
        mean=MEAN,
        std=STD,
        corruptions=("contrast",),
        severities=(2, 5),
        progress=False,
    ).errors
    assert [error is None for error in errors["contrast"]] == [True, False, True, True, False]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"corruptions": ("contrast", "foog")}, "did you mean 'fog'"),
        ({"corruptions": "fog"}, r"corruptions is 'fog'; give a sequence, such as \['fog'\]"),
        ({"severities": (1, 6)}, "severity is 6"),
        ({"severities": 3}, r"severities is 3; give a sequence, such as \[3\]"),
        ({"frost_dir": "nowhere"}, "frost1.png is missing"),
        ({"jpeg_quality": 101}, "jpeg_quality is 101"),
        ({"seed": -1}, "seed is -1"),
        ({"precision": "fp16"}, "precision is 'fp16'; use bf16 or fp32"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"batch_size": "64"}, "batch_size is '64'; use an integer"),
        ({"mean": (0.5, 0.5)}, r"mean is \(0.5, 0.5\); give three numbers"),
        ({"std": (0, 1, 1)}, r"std is \(0, 1, 1\); give three numbers above 0"),
        ({"images": "digits"}, "images are str; give .*load_images"),
        ({"model": "resnet18"}, "the model is 'resnet18'; give the network itself"),
        ({"geometry": lambda image: np.zeros((32, 32, 3))}, r"the geometry gives float64 of shape \(32, 32, 3\)"),
        ({"workers": 0}, "workers is 0"),
        ({"model": torch.nn.Linear(1, 1).half()}, r"the model's weights are float16; use model.float\(\)"),
        ({"model": torch.nn.Linear(1, 1, device="meta")}, r"the model is on meta, and device is cpu; use model.to"),
        (
            {"model": create_model("resnet18_cifar_pushpull", in_chans=1, **SMALL)},
            "input has 1 channels, and images have 3; create it with in_chans=3",
        ),
        ({"preset": "imagenet-c", "geometry": ResizeCenterCrop(28, 32)}, "needs at least 32 px"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_the_first_image(options, message):
    def model(images: torch.Tensor) -> torch.Tensor:
        raise AssertionError("an image was measured")

    options = {"geometry": ResizeCenterCrop(32, 32), "preset": "cifar10-c", "mean": MEAN, "std": STD, **options}
    options = {"model": model, "images": load_images("digits").subset(10), **options}
    with pytest.raises(InputError, match=message):
        evaluate(progress=False, **options)


def test_a_cell_that_is_named_twice_is_measured_once():
    images, options = load_images("digits").subset(20), {"mean": MEAN, "std": STD, "progress": False}
    run = partial(evaluate, GreyLevelClassifier(), images, ResizeCenterCrop(32, 32), **options)
    once, twice = run(corruptions=["fog"], severities=[1]), run(corruptions=["fog", "fog"], severities=[1, np.int64(1)])
    assert twice.errors == once.errors
    assert once.errors["fog"][0] > 0


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (lambda x: torch.zeros(len(x), 3), "10 classes"),
        (lambda x: torch.full((len(x), 10), float("nan")), "not finite on clean"),
        (lambda x: torch.zeros(1, 10), r"outputs of shape \(1, 10\) for 10 images"),
        (lambda x: (torch.zeros(len(x), 10), None), "the model gives tuple"),
    ],
)
def test_impossible_logits_are_named(model, message):
    with pytest.raises(InputError, match=message):
        evaluate(model, load_images("digits").subset(10), ResizeCenterCrop(32, 32), mean=MEAN, std=STD, progress=False)


def test_a_model_without_a_data_config_needs_the_preprocessing():
    images = load_images("digits").subset(10)
    with pytest.raises(InputError, match="pass geometry"):
        evaluate(GreyLevelClassifier(), images, mean=MEAN, std=STD, progress=False)
    with pytest.raises(InputError, match="pass mean and std"):
        evaluate(GreyLevelClassifier(), images, ResizeCenterCrop(32, 32), progress=False)


def test_options_beside_a_source_are_refused():
    source = OnTheFlyCorruptions(load_images("digits").subset(10), ResizeCenterCrop(32, 32), preset="cifar10-c")
    with pytest.raises(InputError, match="seed, preset are for an ImageSet; give them to OnTheFlyCorruptions"):
        evaluate(GreyLevelClassifier(), source, mean=MEAN, std=STD, seed=7, preset="imagenet-c")


@pytest.mark.parametrize("names", [list("0123456789"), None])
def test_the_same_class_names_are_fine(names, recwarn):
    check_classes(names, list("0123456789"), "digits")
    assert not recwarn


def test_other_class_names_are_noticed():
    with pytest.raises(InputError, match="in this order"):
        check_classes(list("1023456789"), list("0123456789"), "digits")
    with pytest.raises(InputError, match="the model has 3 classes, 'digits' has 10"):
        check_classes(list("abc"), list("0123456789"), "digits")
    with pytest.warns(UserWarning, match="not those of 'digits'"):
        check_classes(list("abcdefghij"), list("0123456789"), "digits")


def test_command(tmp_path, image_folder, run_inside):
    write_run(tmp_path / "run")
    output = tmp_path / "new" / "results.json"
    arguments = (
        "-m",
        "timm_pushpull",
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
    assert (results["model"], results["dataset"], results["split"]) == ("resnet18_cifar_pushpull", "photos", "test")
    assert (results["num_images"], results["seed"], results["preset"]) == (6, 4, "cifar10-c")
    assert results["partial"] is True
    assert set(results["errors"]) == {"contrast", "pixelate"}
    assert "--limit 6" in results["command"]
    assert "contrast" in process.stdout
    first = output.read_bytes()
    assert run_inside(cli.main, "timm-pushpull", *arguments[2:]).returncode == 0
    assert output.read_bytes() == first

    info = run_inside(cli.main, "timm-pushpull", "info", output)
    assert results["weights_sha256"] in info.stdout
    compared = run_inside(cli.main, "timm-pushpull", "compare", tmp_path / "run", tmp_path / "run")
    rows = [line.split("|") for line in compared.stdout.splitlines() if line.startswith("| resnet18_cifar_pushpull")]
    assert [row[4].strip() for row in rows] == ["100.0"] * 2  # mrCE
    assert_one_clear_line(
        run_inside(cli.main, "timm-pushpull", "compare", tmp_path / "run", output), "cannot be compared", "seed"
    )


def test_a_module_in_training_mode_is_measured_in_eval_mode_and_left_as_it_was(image_folder):
    images = load_images(str(image_folder))
    model = create_model("resnet18_cifar", num_classes=2).eval()
    for _ in range(3):
        model.train()(torch.randn(4, 3, 32, 32))  # now the running statistics are not those of a batch
    model.layer1.eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    logits = []
    model.register_forward_hook(lambda module, inputs, output: logits.append(output.clone()))
    evaluate(model, images, corruptions=(), progress=False)
    assert [module.training for module in model.modules()] == modes
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    model.eval()
    evaluate(model, images, corruptions=(), progress=False)
    assert torch.equal(*logits)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"--model": "resnet18_cifra"}, ["did you mean"]),
        ({"--dataset": "./nowhere"}, ["no dataset folder", "./nowhere"]),
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
