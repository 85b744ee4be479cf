"""Releases on the Hugging Face Hub.

- `release`: the folder of a release, read and checked.
- `card`: its model card.
- `staging`: a release made from a training run.
- `verification`: whether weights, card and results belong together.
- `publishing`: upload, download again and compare, tag.

Downloading is in `timm_pushpull.utils.hub_client`, because loading pretrained weights needs it too.
"""

from timm_pushpull.hub.publishing import Published, check_access, publish
from timm_pushpull.hub.release import Release, check_repo_id
from timm_pushpull.hub.staging import prepare_upload, stage
from timm_pushpull.hub.verification import verify

__all__ = ["Published", "Release", "check_access", "check_repo_id", "prepare_upload", "publish", "stage", "verify"]
