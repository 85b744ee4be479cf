"""Image retrieval by binary hashes, as in the paper's supplement (section 7.2, Tables 5 and 8).

A network with 64 outputs is trained towards the hash of the image's class (`hash_targets`, `csq_loss`); the signs of
its outputs are the image's hash (`pack`). For each query, a database is ranked by Hamming distance (`hamming_ranking`).
The quality is the mean of the queries' average precisions at rank 200 (`mean_average_precision`); the paper's error is
one minus that.
"""

from timm_pushpull.benchmark.hashing.csq import BITS, QUANTIZATION_WEIGHT, csq_loss, hash_targets
from timm_pushpull.benchmark.hashing.precision import average_precision, mean_average_precision
from timm_pushpull.benchmark.hashing.ranking import TOP, hamming_ranking, pack

__all__ = [
    "BITS",
    "QUANTIZATION_WEIGHT",
    "TOP",
    "average_precision",
    "csq_loss",
    "hamming_ranking",
    "hash_targets",
    "mean_average_precision",
    "pack",
]
