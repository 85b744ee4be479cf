"""The class names of ImageNet: WordNet ids such as n01440764, and what they mean, as timm knows them."""

from __future__ import annotations

import re
from collections.abc import Sequence

_ID = re.compile(r"n\d{8}")


def wordnet_ids(classes: Sequence[str]) -> Sequence[str]:
    """The WordNet ids of the classes of ImageNet-1k, if these are their names; else the names themselves."""
    if len(classes) != 1000 or "tench" not in classes[0]:
        return classes
    from timm.data import ImageNetInfo

    return ImageNetInfo("imagenet-1k").label_names()


def label_descriptions(classes: Sequence[str]) -> dict[str, str]:
    """The words for classes that are named by WordNet ids, such as "tench, Tinca tinca"; empty for other names."""
    if not all(_ID.fullmatch(name) for name in classes):
        return {}
    from timm.data import ImageNetInfo

    describe = ImageNetInfo().label_name_to_description
    try:
        return {name: describe(name) for name in classes}
    except KeyError:  # no id of WordNet
        return {}


def readable(classes: Sequence[str]) -> tuple[str, ...]:
    """Class names, with WordNet ids replaced by their first words; the id is appended where these are not unique."""
    words = [description.split(",")[0] for description in label_descriptions(classes).values()]
    if not words:
        return tuple(classes)
    return tuple(
        word if words.count(word) == 1 else f"{word} ({name})" for word, name in zip(words, classes, strict=True)
    )
