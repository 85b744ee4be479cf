"""The model card of a release: everything a reader wants to know, from the files of its folder alone."""

from timm_pushpull.hub.card.check import discrepancies
from timm_pushpull.hub.card.metadata import eval_results_yaml, metadata
from timm_pushpull.hub.card.page import CITATION, card_of, model_card
from timm_pushpull.hub.card.picture import robustness_picture
from timm_pushpull.hub.card.usage import HERE

__all__ = [
    "CITATION",
    "HERE",
    "card_of",
    "discrepancies",
    "eval_results_yaml",
    "metadata",
    "model_card",
    "robustness_picture",
]
