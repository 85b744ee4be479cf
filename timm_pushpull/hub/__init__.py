"""From a training run to a public model: staged, verified, published, pulled back."""

from timm_pushpull.hub.folder import Release, check_repo_id
from timm_pushpull.hub.publishing import Published, publish
from timm_pushpull.hub.staging import dress, stage
from timm_pushpull.hub.verification import verify

__all__ = ["Published", "Release", "check_repo_id", "dress", "publish", "stage", "verify"]
