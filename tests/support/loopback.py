"""The tests' Hub: it serves from here on, and the Hub's clients read its address when they are imported, so import this
before them."""

from __future__ import annotations

import os
import tempfile

from support.hub_server import Hub

_FOLDER = tempfile.mkdtemp(prefix="timm-pushpull-tests-")
HUB = Hub().__enter__()
os.environ |= {
    "HF_ENDPOINT": HUB.endpoint,
    "HF_HUB_CACHE": os.path.join(_FOLDER, "cache"),
    "HF_TOKEN_PATH": os.path.join(_FOLDER, "token"),  # nobody's: tests must not act in the developer's name
    "HF_HUB_DISABLE_XET": "1",  # it asks servers of its own; the Hub takes Git LFS too
    "HF_HUB_DISABLE_TELEMETRY": "1",
}
os.environ.pop("HF_TOKEN", None)
