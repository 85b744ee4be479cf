"""The tests' Hub, and an environment that holds nothing of the developer's.

The Hub serves from here on. Its clients read their environment when they are imported, so import this before them.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from support.hub_server import Hub

if "huggingface_hub.constants" in sys.modules:
    raise ImportError("support.loopback has to be imported before huggingface_hub, which reads its environment once")

#: Where the Hugging Face libraries keep caches, and the token of nobody; removed at the end of the session.
HOME = Path(tempfile.mkdtemp(prefix="timm-pushpull-tests-"))
HUB = Hub().__enter__()

#: Variables that change what is tested: caches and tokens, data folders, ranks of a surrounding launcher.
_FOREIGN = ("HF_", "HUGGINGFACE_", "TRANSFORMERS_", "TIMM_PUSHPULL_", "ACCELERATE_", "MASTER_", "TORCHELASTIC_")
_FOREIGN += ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GIT_", "WANDB_")
for name in [name for name in os.environ if name.startswith(_FOREIGN)]:
    del os.environ[name]
os.environ |= {
    "NO_PROXY": "127.0.0.1,localhost",  # a proxy does not reach this machine's own Hub
    "no_proxy": "127.0.0.1,localhost",
    "HF_HOME": str(HOME),
    "HF_ENDPOINT": HUB.endpoint,
    "HF_HUB_DISABLE_XET": "1",  # it asks servers of its own; the Hub takes Git LFS too
    "HF_HUB_DISABLE_TELEMETRY": "1",
}
