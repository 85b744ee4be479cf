"""The corruption benchmark: which images a classifier gets wrong, clean and under every corruption and severity.

    >>> evaluation = evaluate(model, load_images("cifar10").limited(1000), preset="cifar10-c")
    >>> evaluation.clean_error, evaluation.errors["fog"], evaluation.mce_interval

A benchmark is a row of cells: the clean images, then every (corruption, severity). Images are worked on in blocks, so
that memory does not grow with their number; a block is decoded once for all its cells. Decoding and corrupting run in
threads beside the model.
"""

from timm_pushpull.benchmark.classes import check_classes
from timm_pushpull.benchmark.evaluation import CLEAN, Evaluation
from timm_pushpull.benchmark.journal import Journal
from timm_pushpull.benchmark.loop import evaluate
from timm_pushpull.benchmark.sources import FilesSource, FlySource

__all__ = ["CLEAN", "Evaluation", "FilesSource", "FlySource", "Journal", "check_classes", "evaluate"]
