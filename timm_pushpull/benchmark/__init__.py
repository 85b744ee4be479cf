"""The corruption benchmark: the errors of a model on clean images and under every corruption and severity.

    >>> import timm
    >>> from timm_pushpull.data import load_images
    >>> model, images = timm.create_model("resnet18_cifar", num_classes=10), load_images("digits").subset(10)
    >>> evaluation = evaluate(model, images, preset="cifar10-c", corruptions=["fog"], progress=False)
    >>> 0 <= evaluation.clean_error <= 1, len(evaluation.errors["fog"])
    (True, 5)

The error of a network that hashes images is 1 - mAP:

    >>> hashing = timm.create_model("resnet18_cifar", num_classes=16)
    >>> task = retrieval(hashing, load_images("digits", "train").subset(20), top=5, progress=False)
    >>> evaluation = evaluate(hashing, images, task=task, preset="cifar10-c", corruptions=["fog"], progress=False)

A benchmark is a row of cells: the clean images, then every (corruption, severity). Images are evaluated in blocks, so
that memory does not grow with their number; a block is decoded once for all its cells. Decoding and corrupting run in
threads beside the model.
"""

from timm_pushpull.benchmark.classes import check_classes, restrict_to_classes
from timm_pushpull.benchmark.database import retrieval
from timm_pushpull.benchmark.distributed import Distributed
from timm_pushpull.benchmark.evaluation import CLEAN, Evaluation
from timm_pushpull.benchmark.loop import evaluate
from timm_pushpull.benchmark.progress_log import ProgressLog, identity
from timm_pushpull.benchmark.results import Measurement, Results
from timm_pushpull.benchmark.sources import OnTheFlyCorruptions, PrecomputedCorruptions
from timm_pushpull.benchmark.tasks import Classification, Retrieval

__all__ = [
    "CLEAN",
    "Classification",
    "Distributed",
    "Evaluation",
    "Measurement",
    "OnTheFlyCorruptions",
    "PrecomputedCorruptions",
    "ProgressLog",
    "Results",
    "Retrieval",
    "check_classes",
    "evaluate",
    "identity",
    "restrict_to_classes",
    "retrieval",
]
