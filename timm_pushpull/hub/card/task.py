"""The model's task and metrics, as a card names them."""

from __future__ import annotations

from dataclasses import dataclass

from timm_pushpull.benchmark.results import Results
from timm_pushpull.utils.markdown import code


@dataclass(frozen=True)
class Task:
    """A task.

    Attributes:
        hub: The Hub's name for it (`pipeline_tag`).
        name: Its name in words.
        tags: Further tags.
        score, score_name: Type and name of the metric that equals 1 - error.
        error: Name of the error, capitalised.
    """

    hub: str
    name: str
    tags: tuple[str, ...]
    score: str
    score_name: str
    error: str


def task_of(results: Results) -> Task:
    """The task that was measured."""
    error = results.error_name[:1].upper() + results.error_name[1:]
    if not results.retrieval:
        return Task("image-classification", "Image classification", (), "accuracy", "Top-1 accuracy", error)
    top = results.retrieval.top
    # The Hub has no task for image-to-image retrieval.
    tags = ("image-retrieval", "hashing")
    return Task("image-feature-extraction", "Image retrieval", tags, f"map_at_{top}", f"mAP@{top}", error)


def definition(results: Results) -> str:
    """Explanation of the error of retrieval; empty for classification."""
    if not results.retrieval:
        return ""
    known = results.retrieval
    return (
        f"For each test image, the {known.database_images:,} clean images of {code(results.dataset)}, split "
        f"{code(known.database_split)}, are ranked by the Hamming distance of their hashes to its hash. Its average "
        f"precision is the mean of the precisions at those of the first {known.top:,} ranks that hold an image of "
        f"its class; {task_of(results).score_name} is the mean of that over the test images."
    )
