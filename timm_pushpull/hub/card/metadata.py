"""What the Hub reads of a release: the card's metadata block, and the newer files of results."""

from __future__ import annotations

from collections.abc import Iterator

import yaml
from huggingface_hub import EvalResult, ModelCardData

from timm_pushpull.benchmark.results import Results
from timm_pushpull.hub.card.task import task_of
from timm_pushpull.utils.errors import InputError


def metadata(results: Results, title: str) -> ModelCardData:
    """The metadata block, with every error that was measured in `model-index`; all values are fractions."""
    task = task_of(results)

    def entry(metric: str, name: str, value: float, config: str | None = None) -> EvalResult:
        # The corruption and its severity go into the configuration: the Hub groups results by it, not by arguments.
        return EvalResult(
            task_type=task.hub,
            task_name=task.name,
            dataset_type=results.dataset,
            dataset_name=f"{results.dataset}, {config}" if config else results.dataset,
            dataset_config=config,
            dataset_split=results.split,
            metric_type=metric,
            metric_name=name,
            metric_value=round(value, 6),
        )

    entries = []
    if results.clean_error is not None:
        # The Hub shows scores. A fraction, as the cards of transformers' Trainer have it, and like the errors here.
        entries.append(entry(task.score, task.score_name, 1 - results.clean_error))
        entries.append(entry("error", task.error, results.clean_error))
    if results.errors and not results.partial:
        entries.append(entry("mce", "mean corruption error (absolute)", results.mce, results.preset))
    entries += [entry("error", task.error, error, cell) for cell, error in _cells(results)]
    return ModelCardData(
        language=None,
        license="apache-2.0",
        library_name="timm",
        pipeline_tag=task.hub,
        tags=[task.hub, *task.tags, "timm", "timm-pushpull", "robustness", "common-corruptions"],
        datasets=[results.dataset],
        model_name=title,
        eval_results=entries,
    )


def eval_results_yaml(results: Results, title: str) -> str:
    """The content of a `.eval_results/*.yaml`: clean error, mCE and cells as tasks of the data set, fractions.

    The Hub takes such a file only where the data set is registered as a benchmark with these tasks
    (https://huggingface.co/docs/hub/eval-results).

    Raises:
        InputError: huggingface_hub is older than 1.4.
    """
    try:
        from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml
    except ImportError:
        raise InputError("files of .eval_results need huggingface_hub 1.4: pip install -U huggingface_hub") from None
    values = [("clean", results.clean_error)] if results.clean_error is not None else []
    if results.errors and not results.partial:
        values.append(("mce", results.mce))
    notes = f"{title}: {results.error_name}, lower is better; split {results.split}, preset {results.preset}"
    entries = [
        EvalResultEntry(dataset_id=results.dataset, task_id=task, value=round(value, 6), notes=notes)
        for task, value in [*values, *_cells(results)]
    ]
    return yaml.safe_dump(eval_result_entries_to_yaml(entries), sort_keys=False)


def _cells(results: Results) -> Iterator[tuple[str, float]]:
    for corruption, row in results.errors.items():
        for severity, error in enumerate(row, start=1):
            if error is not None:
                yield f"{corruption}-{severity}", error
