"""The card's snippets: each is a whole program that runs beside a `picture.png`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

#: How a card inside a run folder loads its model; publishing puts the repository's id in its place.
HERE = "local-dir:."

_HUB = "hf-hub:"

_START = """\
import timm
import timm_pushpull  # registers the architecture
import torch
from PIL import Image

name = {source}
image = Image.open("picture.png").convert("RGB")
model = timm.create_model(name, pretrained=True{options}).eval()
transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))

with torch.inference_mode():
"""

_CLASSIFY = """\
    probabilities = model(transform(image).unsqueeze(0))[0].softmax(dim=0)
for probability, label in zip(*probabilities.topk({top})):
    print(f"{{probability:.1%}}  {{{label}}}")
"""

_FEATURES = """\
    maps = model(transform(image).unsqueeze(0))
for features in maps:
    print(tuple(features.shape))  # (1, channels, height, width)
"""

_EMBED = """\
    embedding = model(transform(image).unsqueeze(0))
print(tuple(embedding.shape))  # (1, {features})
"""

_TRANSFORMERS = """\
import timm_pushpull  # registers the architecture; before the model is loaded
import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoModelForImageClassification

name = {name}
image = Image.open("picture.png").convert("RGB")
processor = AutoImageProcessor.from_pretrained(name)
model = AutoModelForImageClassification.from_pretrained(name, dtype=torch.float32).eval()

with torch.inference_mode():
    logits = model(**processor(image, return_tensors="pt")).logits
print(model.config.id2label[int(logits.argmax())])
"""


def usage(source: str, config: Mapping[str, Any]) -> str:
    """The snippets that load `source`; one for transformers too where that is a repository on the Hub."""
    quoted = json.dumps(source)  # one line, whatever it holds
    label = "model.pretrained_cfg['label_names'][label]" if config.get("label_names") else "int(label)"

    def snippet(options: str, rest: str) -> str:
        return f"```python\n{_START.format(source=quoted, options=options)}{rest}```"

    parts = [
        "```bash\npip install timm-pushpull\n```",
        "### Image classification",
        snippet("", _CLASSIFY.format(top=min(5, int(config["num_classes"])), label=label)),
        "### Feature maps",
        snippet(", features_only=True", _FEATURES),
        "### Image embeddings",
        snippet(", num_classes=0", _EMBED.format(features=int(config["num_features"]))),
    ]
    if source.startswith(_HUB):
        name = json.dumps(source.removeprefix(_HUB))
        parts += [
            "### With transformers",
            f"```python\n{_TRANSFORMERS.format(name=name)}```",
            "Without `dtype`, transformers keeps weights that are stored as float16 in that precision.",
        ]
    return "\n\n".join(parts)
