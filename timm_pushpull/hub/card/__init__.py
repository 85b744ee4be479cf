"""The model card of a release, generated from the other files of its folder."""

from timm_pushpull.hub.card.check import discrepancies
from timm_pushpull.hub.card.figure import robustness_figure
from timm_pushpull.hub.card.metadata import eval_results_yaml, metadata
from timm_pushpull.hub.card.page import CITATION, card_of, model_card
from timm_pushpull.hub.card.training import setting_text
from timm_pushpull.hub.card.usage import HERE

__all__ = [
    "CITATION",
    "HERE",
    "card_of",
    "discrepancies",
    "eval_results_yaml",
    "metadata",
    "model_card",
    "robustness_figure",
    "setting_text",
]
