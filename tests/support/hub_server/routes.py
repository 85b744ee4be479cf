"""Every route: its kind (the name for `hub.fail` and in `hub.requests`), methods, path, and what answers it."""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import unquote

from . import collections, pulls, reading, refs, repos, uploads
from .answers import Answer, Call

_R = r"/api/(?P<kind>models|datasets|spaces)/(?P<repo>[^/]+/[^/]+)"
_WEB = r"/(?:(?P<kind>datasets|spaces)/)?(?P<repo>[^/]+/[^/]+?)"
_REV = r"(?P<revision>refs/(?:pr|convert)/[^/]+|[^/]+)"  # clients quote the slashes; people do not
_NUMBER = r"(?P<number>\d+)"
_SLUG = r"/api/collections/(?P<slug>[^/]+/[^/]+)"

_TABLE: list[tuple[str, str, str, Callable[[Call], Answer]]] = [
    ("whoami", "GET", r"/api/whoami-v2", repos.whoami),
    ("create", "POST", r"/api/repos/create", repos.create),
    ("delete_repo", "DELETE", r"/api/repos/delete", repos.delete),
    ("settings", "PUT", rf"{_R}/settings", repos.settings),
    ("validate", "POST", r"/api/validate-yaml", repos.validate),
    ("list", "GET", r"/api/(?P<kind>models|datasets|spaces)", reading.listing),
    ("preupload", "POST", rf"{_R}/preupload/{_REV}", uploads.preupload),
    ("batch", "POST", rf"{_WEB}\.git/info/lfs/objects/batch", uploads.batch),
    ("upload", "PUT", r"/objects/(?P<oid>\w+)(?:/(?P<number>\d+))?", uploads.store),
    ("complete", "POST", r"/objects/(?P<oid>\w+)", uploads.complete),  # of an upload in parts
    ("verify", "POST", rf"{_WEB}\.git/info/lfs/verify", uploads.verify),
    ("commit", "POST", rf"{_R}/commit/{_REV}", uploads.commit),
    ("info", "GET HEAD", rf"{_R}(?:/revision/{_REV})?", reading.info),
    ("access", "GET HEAD", rf"{_R}/auth-check", reading.access),
    ("tree", "GET", rf"{_R}/tree/{_REV}(?:/(?P<path>.*))?", reading.tree),
    ("paths", "POST", rf"{_R}/paths-info/{_REV}", reading.paths),
    ("resolve", "GET HEAD", rf"{_WEB}/resolve/{_REV}/(?P<path>.+)", reading.resolve),
    ("download", "GET HEAD", r"/objects/(?P<oid>\w+)", reading.download),  # where resolve sends for LFS files
    ("refs", "GET", rf"{_R}/refs", refs.listing),
    ("commits", "GET", rf"{_R}/commits/{_REV}", refs.log),
    ("tag", "POST", rf"{_R}/tag/{_REV}", refs.create_tag),
    ("tag", "DELETE", rf"{_R}/tag/(?P<name>[^/]+)", refs.delete_tag),
    ("branch", "POST", rf"{_R}/branch/(?P<name>[^/]+)", refs.create_branch),
    ("branch", "DELETE", rf"{_R}/branch/(?P<name>[^/]+)", refs.delete_branch),
    ("squash", "POST", rf"{_R}/super-squash/(?P<name>[^/]+)", refs.squash),
    ("discussions", "GET", rf"{_R}/discussions", pulls.listing),
    ("discussions", "POST", rf"{_R}/discussions", pulls.create),
    ("discussions", "GET", rf"{_R}/discussions/{_NUMBER}", pulls.get),
    ("discussions", "POST", rf"{_R}/discussions/{_NUMBER}/comment", pulls.comment),
    ("discussions", "POST", rf"{_R}/discussions/{_NUMBER}/status", pulls.set_status),
    ("merge", "POST", rf"{_R}/discussions/{_NUMBER}/merge", pulls.merge),
    ("collection", "GET", r"/api/collections", collections.listing),
    ("collection", "POST", r"/api/collections", collections.create),
    ("collection", "GET", _SLUG, collections.get),
    ("collection", "DELETE", _SLUG, collections.delete),
    ("collection", "POST", rf"{_SLUG}/items?", collections.add_item),
    ("collection", "DELETE", rf"{_SLUG}/items/(?P<item>\w+)", collections.delete_item),
]
_ROUTES = [(kind, methods.split(), re.compile(path), function) for kind, methods, path, function in _TABLE]

KINDS = {kind for kind, *_ in _TABLE}


def find_route(method: str, path: str) -> tuple[str, Callable[[Call], Answer] | None, dict[str, str]]:
    for kind, methods, pattern, function in _ROUTES:
        match = pattern.fullmatch(path)
        if match and method in methods:
            return kind, function, {name: unquote(part) for name, part in match.groupdict().items() if part is not None}
    return "", None, {}
