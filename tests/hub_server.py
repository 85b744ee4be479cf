"""A small Hugging Face Hub on loopback for the real clients: repositories in memory, uploads by Git LFS or inline.

It knows what publishing and loading a model ask for, and answers 404 to the rest, listing it in `unknown`.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

TOKEN = "hf_test_token_of_me"


class Hub:
    """`with Hub() as hub:` serves at `hub.endpoint`; `hub.repositories[id]` maps a path to its content."""

    def __init__(self) -> None:
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.commits: dict[str, list[str]] = {}
        self.private: set[str] = set()
        self.objects: dict[str, bytes] = {}
        self.unknown: list[str] = []

    def __enter__(self) -> Hub:
        handler = type("Handler", (_Handler,), {"hub": self})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.endpoint = f"http://127.0.0.1:{self.server.server_port}"
        # The client follows redirects of the same origin itself and then misses a header: files come from another.
        self.files = f"http://localhost:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def answer(self, content: object = b"", status: int = 200, **headers: str) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def refuse(self, status: int, code: str, message: str) -> None:
        self.answer({"error": message}, status, X_Error_Code=code, X_Error_Message=message)

    def handle_request(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = urlsplit(self.path).path
        given = self.headers.get("Authorization")
        if path.startswith("/api/") and given not in (None, f"Bearer {TOKEN}"):
            self.refuse(401, "", "Invalid credentials in Authorization header")
            return
        for method, pattern, function in _ROUTES:
            match = re.fullmatch(pattern, path)
            if match and self.command in method:
                function(self, body, **match.groupdict())
                return
        self.hub.unknown.append(f"{self.command} {self.path}")
        self.refuse(404, "", f"no route {path}")

    do_GET = do_HEAD = do_POST = do_PUT = handle_request  # noqa: N815

    def create(self, body: bytes) -> None:
        asked = json.loads(body)
        name = f"{asked.get('organization') or 'me'}/{asked['name']}"
        if not name.startswith("me/"):
            self.refuse(403, "", "You don't have the rights to create a model under this namespace")
        elif name in self.hub.repositories:
            self.answer({"url": f"{self.hub.endpoint}/{name}", "error": "You already created this model repo"}, 409)
        else:
            self.hub.repositories[name], self.hub.commits[name] = {}, []
            if asked.get("private") or asked.get("visibility") == "private":
                self.hub.private.add(name)
            self.answer({"url": f"{self.hub.endpoint}/{name}", "id": name})

    def validate(self, body: bytes) -> None:
        self.answer({"errors": [], "warnings": []})

    def preupload(self, body: bytes, repo: str) -> None:
        self.answer(
            {
                "files": [
                    {
                        "path": file["path"],
                        "shouldIgnore": False,
                        "uploadMode": "lfs" if file["path"].endswith(".safetensors") else "regular",
                    }
                    for file in json.loads(body)["files"]
                ]
            }
        )

    def batch(self, body: bytes, repo: str) -> None:
        self.answer(
            {
                "transfer": "basic",
                "objects": [
                    {**wanted, "actions": {"upload": {"href": f"{self.hub.endpoint}/objects/{wanted['oid']}"}}}
                    for wanted in json.loads(body)["objects"]
                ],
            },
            Content_Type="application/vnd.git-lfs+json",
        )

    def store(self, body: bytes, oid: str) -> None:
        if hashlib.sha256(body).hexdigest() != oid:
            self.refuse(400, "", "wrong hash")
            return
        self.hub.objects[oid] = body
        self.answer()

    def commit(self, body: bytes, repo: str) -> None:
        files = dict(self.hub.repositories[repo])
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.hub.objects[value["oid"]]
        self.hub.repositories[repo] = files
        oid = hashlib.sha1(body).hexdigest()
        self.hub.commits[repo].append(oid)
        self.answer({"commitOid": oid, "commitUrl": f"{self.hub.endpoint}/{repo}/commit/{oid}", "success": True})

    def info(self, body: bytes, repo: str) -> None:
        if repo not in self.hub.repositories:
            self.refuse(404, "RepoNotFound", "Repository not found")
            return
        self.answer(
            {
                "id": repo,
                "sha": (self.hub.commits[repo] or ["0" * 40])[-1],
                "tags": [],
                "private": False,
                "siblings": [{"rfilename": name} for name in self.hub.repositories[repo]],
            }
        )

    def resolve(self, body: bytes, repo: str, file: str) -> None:
        if repo not in self.hub.repositories:
            self.refuse(404, "RepoNotFound", "Repository not found")
            return
        commit = self.hub.commits[repo][-1]
        content = self.hub.repositories[repo].get(file)
        if content is None:
            self.answer({"error": "Entry not found"}, 404, X_Error_Code="EntryNotFound", X_Repo_Commit=commit)
        elif file.endswith(".safetensors"):
            oid = hashlib.sha256(content).hexdigest()
            self.answer(
                b"",
                302,
                X_Repo_Commit=commit,
                X_Linked_Etag=f'"{oid}"',
                X_Linked_Size=str(len(content)),
                ETag=f'"{oid}"',
                Location=f"{self.hub.files}/objects/{oid}",
            )
        else:
            self.answer(content, X_Repo_Commit=commit, ETag=f'"{hashlib.sha1(content).hexdigest()}"')

    def download(self, body: bytes, oid: str) -> None:
        content = self.hub.objects[oid]
        start = int((re.match(r"bytes=(\d+)-", self.headers.get("Range") or "") or [0, 0])[1])
        self.answer(content[start:], 206 if start else 200, ETag=f'"{oid}"')


_REPO = r"(?P<repo>[^/]+/[^/]+)"
_ROUTES = [
    (("POST",), r"/api/repos/create", _Handler.create),
    (("POST",), r"/api/validate-yaml", _Handler.validate),
    (("POST",), rf"/api/models/{_REPO}/preupload/main", _Handler.preupload),
    (("POST",), rf"/api/models/{_REPO}/commit/main", _Handler.commit),
    (("POST",), rf"/{_REPO}\.git/info/lfs/objects/batch", _Handler.batch),
    (("GET", "HEAD"), rf"/api/models/{_REPO}(/revision/main)?", _Handler.info),
    (("GET", "HEAD"), rf"/{_REPO}/resolve/[^/]+/(?P<file>.+)", _Handler.resolve),
    (("PUT",), r"/objects/(?P<oid>\w+)", _Handler.store),
    (("GET", "HEAD"), r"/objects/(?P<oid>\w+)", _Handler.download),
]
