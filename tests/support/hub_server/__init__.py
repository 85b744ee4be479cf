"""A small Hugging Face Hub on loopback that the real clients cannot tell from the real one (they need Xet off).

`with Hub() as hub:` serves. `hub.add`, `hub["me/x"]` and `hub.fail` are the test's side; routes.py lists what it knows.
"""

from .accounts import OTHER_TOKEN, READ_TOKEN, TOKEN, Account
from .collections import Collection
from .hub import Hub
from .repository import Commit, PullRequest, Repository
from .server import Request

__all__ = [
    "OTHER_TOKEN",
    "READ_TOKEN",
    "TOKEN",
    "Account",
    "Collection",
    "Commit",
    "Hub",
    "PullRequest",
    "Repository",
    "Request",
]
