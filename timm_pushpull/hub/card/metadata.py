"""What the Hub itself reads: the card's metadata block, and the files in `.eval_results`."""

from __future__ import annotations

from collections.abc import Iterator

import yaml
from huggingface_hub import EvalResult, ModelCardData

from timm_pushpull.benchmark.results import Results
from timm_pushpull.hub.card.task import task_of
from timm_pushpull.utils.errors import InputError

#: Names of datasets, as folders have them, to their ids on the Hub.
_HUB_IDS = {"cifar10": "uoft-cs/cifar10", "cifar100": "uoft-cs/cifar100", "imagenette": "frgfm/imagenette"}


def hub_dataset(name: str) -> str:
    """The Hub id of a well-known dataset that was read from a folder with its name; any other name as it is."""
    return _HUB_IDS.get(name, name)


def metadata(results: Results, title: str) -> ModelCardData:
    """The metadata block. Its `model-index` lists every measured error, as a fraction."""
    task, dataset = task_of(results), hub_dataset(results.dataset)

    def entry(metric: str, name: str, value: float, config: str | None = None) -> EvalResult:
        # The Hub groups results by the dataset's configuration, so corruption and severity go there.
        config = ", ".join(filter(None, (results.dataset_config, config))) or None
        return EvalResult(
            task_type=task.hub,
            task_name=task.name,
            dataset_type=dataset,
            dataset_name=f"{results.dataset}, {config}" if config else results.dataset,
            dataset_config=config,
            dataset_split=results.split,
            metric_type=metric,
            metric_name=name,
            metric_value=round(value, 6),
        )

    entries = []
    if results.clean_error is not None:
        # The Hub shows scores, so the accuracy is listed too; as a fraction, like in cards of transformers' Trainer.
        entries.append(entry(task.score, task.score_name, 1 - results.clean_error))
        entries.append(entry("error", task.error, results.clean_error))
    if results.mce is not None and not results.partial:
        entries.append(entry("mce", "mean corruption error (absolute)", results.mce, results.preset))
    entries += [entry("error", task.error, error, cell) for cell, error in _cells(results)]
    initial = results.training.initial_weights if results.training else None
    return ModelCardData(
        base_model=initial.repository if initial else None,
        language=None,
        license=results.weights_license,
        library_name="timm",
        pipeline_tag=task.hub,
        tags=[task.hub, *task.tags, "timm", "timm-pushpull", "robustness", "common-corruptions"],
        datasets=[dataset] if "/" in dataset else None,  # ids on the Hub only
        model_name=title,
        eval_results=entries,
    )


def eval_results_yaml(results: Results, title: str) -> str:
    """Content of a `.eval_results/*.yaml`: clean error, mCE and every cell as tasks of the dataset, as fractions.

    The Hub accepts such a file only if the dataset is registered as a benchmark with these tasks
    (https://huggingface.co/docs/hub/eval-results).

    Raises:
        InputError: huggingface_hub is older than 1.4.
    """
    try:
        from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml
    except ImportError:
        raise InputError("files of .eval_results need huggingface_hub 1.4: pip install -U huggingface_hub") from None
    values = [("clean", results.clean_error)] if results.clean_error is not None else []
    if results.mce is not None and not results.partial:
        values.append(("mce", results.mce))
    notes = f"{title}: {results.error_name}, lower is better; split {results.split}, preset {results.preset}"
    entries = [
        EvalResultEntry(dataset_id=hub_dataset(results.dataset), task_id=task, value=round(value, 6), notes=notes)
        for task, value in [*values, *_cells(results)]
    ]
    return yaml.safe_dump(eval_result_entries_to_yaml(entries), sort_keys=False)


def _cells(results: Results) -> Iterator[tuple[str, float]]:
    for corruption, row in results.errors.items():
        for severity, error in enumerate(row, start=1):
            if error is not None:
                yield f"{corruption}-{severity}", error
