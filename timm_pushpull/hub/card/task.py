"""What a card calls the network's task, its score and its errors."""

from __future__ import annotations

from dataclasses import dataclass

from timm_pushpull.benchmark.results import Results
from timm_pushpull.hub.card.markdown import code


@dataclass(frozen=True)
class Task:
    """A task as cards speak of it.

    Attributes:
        hub: The Hub's name of it, by which models are filed.
        name: In words.
        tags: Beside the Hub's name.
        score, score_name: Type and name of the metric that is 1 less the error.
        error: Name of the error, as a sentence begins.
    """

    hub: str
    name: str
    tags: tuple[str, ...]
    score: str
    score_name: str
    error: str


def task_of(results: Results) -> Task:
    """The task of a model that was measured."""
    error = results.error_name[:1].upper() + results.error_name[1:]
    if not results.retrieval:
        return Task("image-classification", "Image classification", (), "accuracy", "Top-1 accuracy", error)
    top = results.retrieval["top"]
    # The Hub has no task of retrieving images by images.
    tags = ("image-retrieval", "hashing")
    return Task("image-feature-extraction", "Image retrieval", tags, f"map_at_{top}", f"mAP@{top}", error)


def definition(results: Results) -> str:
    """What an error of retrieval is; nothing for a wrong class, which needs no word."""
    if not results.retrieval:
        return ""
    known = results.retrieval
    return (
        f"Each image ranks the {known['database_images']:,} clean images of {code(results.dataset)}, split "
        f"{code(known['database_split'])}, by the Hamming distance of their hashes to its own. Its average precision "
        f"is the mean of the precisions at those of the first {known['top']:,} ranks that hold an image of its class, "
        f"and {task_of(results).score_name} is the mean over images."
    )
