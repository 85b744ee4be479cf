"""The corruption benchmark: the errors of a model on clean images and under every corruption and severity.

    >>> evaluation = evaluate(model, load_images("uoft-cs/cifar10").subset(1000), preset="cifar10-c")
    >>> evaluation.clean_error, evaluation.errors["fog"], evaluation.mce_interval
    >>> task = retrieval(model, load_images("uoft-cs/cifar10", "train"))  # 1 - mAP@200 of a network that hashes images
    >>> evaluate(model, load_images("uoft-cs/cifar10"), task=task, preset="cifar10-c").clean_error

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
