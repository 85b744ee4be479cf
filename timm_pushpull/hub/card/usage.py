"""The card's snippets; each is a whole program that runs in a folder with an `image.png`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

#: What the card in a run folder loads; publishing replaces it by the repository.
HERE = "local-dir:."

_HUB = "hf-hub:"

_START = """\
import timm
import timm_pushpull  # registers the architecture
import torch
from PIL import Image
{imports}
name = {source}
image = Image.open("image.png").convert("RGB")
model = timm.create_model(name, pretrained=True{options}).eval()
transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))

with torch.inference_mode():
"""

_CLASSIFY = """\
    probabilities = model(transform(image).unsqueeze(0))[0].softmax(dim=0)
{words}for probability, label in zip(*probabilities.topk({top})):
    print(f"{{probability:.1%}}  {{{label}}}")
"""

_WORDS = """\
cfg = model.pretrained_cfg
words = [cfg["label_descriptions"][name] for name in cfg["label_names"]]
"""

_HASH = """\
    code = pack(model(transform(image).unsqueeze(0)))  # uint8 of shape (1, {bytes})
print("".join(f"{{byte:08b}}" for byte in code[0]))
# timm_pushpull.benchmark.hashing.hamming_ranking(code, codes, k=10) finds the nearest of many such codes.
"""

_FEATURES = """\
    maps = model(transform(image).unsqueeze(0))
for features in maps:
    print(tuple(features.shape))  # (1, channels, height, width)
"""

_EMBED = """\
    embedding = model(transform(image).unsqueeze(0))
print(tuple(embedding.shape))  # (1, features)
"""

_TRANSFORMERS = """\
import timm_pushpull  # registers the architecture; before the model is loaded
import torch
from PIL import Image
{imports}from transformers import AutoImageProcessor, AutoModelForImageClassification

name = {name}
image = Image.open("image.png").convert("RGB")
processor = AutoImageProcessor.from_pretrained(name)
model = AutoModelForImageClassification.from_pretrained(name, dtype=torch.float32).eval()

with torch.inference_mode():
{rest}"""

_TRANSFORMERS_CLASSIFY = """\
    logits = model(**processor(image, return_tensors="pt")).logits
print({label})
"""

_TRANSFORMERS_HASH = """\
    code = pack(model(**processor(image, return_tensors="pt")).logits)  # here the outputs, not logits of classes
print("".join(f"{byte:08b}" for byte in code[0]))
"""

_IMPORT_PACK = "from timm_pushpull.benchmark.hashing import pack\n"


def usage(source: str, config: Mapping[str, Any], hashes: bool = False) -> str:
    """The snippets that load `source`; if that is on the Hub, also one for transformers.

    Args:
        hashes: Whether the model outputs a hash instead of classes.
    """
    quoted = json.dumps(source)  # one line, whatever it holds
    words, label, hub_label = "", "int(label)", "model.config.id2label[int(logits.argmax())]"
    if config.get("label_names"):
        label = "model.pretrained_cfg['label_names'][label]"
    if config.get("label_descriptions"):
        words, label = _WORDS, "words[label]"
        hub_label = f"model.config.label_descriptions[{hub_label}]"

    def snippet(options: str, rest: str, imports: str = "") -> str:
        return f"```python\n{_START.format(source=quoted, options=options, imports=imports)}{rest}```"

    outputs = [
        "### Image classification",
        snippet("", _CLASSIFY.format(top=min(5, int(config["num_classes"])), label=label, words=words)),
    ]
    if hashes:
        width = int(config["num_classes"]) // 8
        outputs = ["### Image hash", snippet("", _HASH.format(bytes=width), _IMPORT_PACK)]

    parts = [
        "```bash\npip install timm-pushpull\n```",
        *outputs,
        "### Feature maps",
        snippet(", features_only=True", _FEATURES),
        "### Image embeddings",
        snippet(", num_classes=0", _EMBED),
    ]
    if source.startswith(_HUB):
        name = json.dumps(source.removeprefix(_HUB))
        imports, rest = "", _TRANSFORMERS_CLASSIFY.format(label=hub_label)
        if hashes:
            imports, rest = _IMPORT_PACK, _TRANSFORMERS_HASH
        parts += [
            "### With transformers",
            f"```python\n{_TRANSFORMERS.format(name=name, imports=imports, rest=rest)}```",
            "It needs `pip install transformers`. Without `dtype`, the model would run in the precision of the file, "
            "which may be float16.",
        ]
    return "\n\n".join(parts)
