"""HTTP: reads requests, lets faults happen, sends answers. What they mean is in the routes."""

from __future__ import annotations

import json
import re
import socket
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit

from .answers import Answer, Call, Refused
from .faults import Fault
from .routes import find_route

if TYPE_CHECKING:
    from .accounts import Account
    from .hub import Hub


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    kind: str  # see routes.py; "" if no route knows it
    authorized: bool  # it carried a token, be it a wrong one
    query: str = ""
    host: str = ""


class _Server(ThreadingHTTPServer):
    """Stopped, it hangs up: clients keep connections open, and would go on talking to a Hub that is gone."""

    def __init__(self, *arguments: Any) -> None:
        self.connections: set[socket.socket] = set()
        super().__init__(*arguments)

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        self.connections.add(connection)
        return connection, address

    def shutdown_request(self, request: Any) -> None:
        self.connections.discard(request)
        super().shutdown_request(request)

    def server_close(self) -> None:
        super().server_close()
        for connection in list(self.connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, *_: object) -> None:
        """Clients hang up; faults hang up on them. Only what is neither is worth a trace."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(*_)


def start(hub: Hub, port: int) -> ThreadingHTTPServer:
    server = _Server(("127.0.0.1", port), type("Handler", (_Handler,), {"hub": hub}))
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    return server


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one go
    disable_nagle_algorithm = True

    def log_message(self, *_: object) -> None:
        pass

    def handle_request(self) -> None:
        path, query = urlsplit(self.path).path, urlsplit(self.path).query
        kind, function, parts = find_route(self.command, path)
        with self.hub.lock:
            authorized, host = "Authorization" in self.headers, self.headers.get("Host", "")
            self.hub.requests.append(Request(self.command, unquote(path), kind, authorized, query, host))
            fault = self.hub.faults.due(kind, self.command) or Fault(kind)
        if fault.run:
            fault.run()
        if fault.wait:
            self.hub.stopped.wait(fault.wait)
        if kind == "upload" and fault.drop is not None:
            self.read(fault.drop)
            self.hang_up()
            return
        call = Call(self.hub, self.command, None, parts, parse_qs(query), self.headers, self.read())
        try:
            if fault.status is not None:
                again = {} if fault.retry_after is None else {"Retry-After": str(fault.retry_after)}
                raise Refused(fault.status, fault.message, fault.code, headers=again)
            if function is None:
                self.hub.unknown.append(f"{self.command} {self.path}")
                raise Refused(404, f"no route {path}")
            if kind not in (
                "upload",
                "complete",
                "download",
            ):  # elsewhere on the real Hub, by a link that needs no token
                call.account = self.account()
            with self.hub.lock:
                answer = function(call)
        except Refused as refused:
            answer = refused.answer()
        except Exception as error:  # not 500, which clients ask again and again
            self.hub.unknown.append(f"{self.command} {self.path}: {error!r}")
            answer = Refused(501, f"the test's Hub broke: {error!r}").answer()
        self.send(answer, fault)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_PATCH = handle_request  # noqa: N815

    def account(self) -> Account | None:
        given = self.headers.get("Authorization")
        if given is None:
            return None
        account = self.hub.accounts.get(given.removeprefix("Bearer ").strip())
        if account is None:
            raise Refused(401, "Invalid credentials in Authorization header")
        return account

    def read(self, most: int | None = None) -> bytes:
        """The request's body, or its first bytes, after which the connection is of no more use."""
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            body = b""
            while size := int(self.rfile.readline().split(b";")[0] or b"0", 16):
                body += self.rfile.read(size)
                self.rfile.readline()
                if most is not None and len(body) >= most:
                    return body
            while self.rfile.readline().strip():
                pass
            return body
        length = int(self.headers.get("Content-Length") or 0)
        return self.rfile.read(length if most is None else min(most, length))

    def send(self, answer: Answer, fault: Fault) -> None:
        raw = isinstance(answer.content, bytes)
        body = answer.content if raw else json.dumps(answer.content).encode()
        status, headers = answer.status, {"Content-Type": "application/octet-stream" if raw else "application/json"}
        if status == 200 and "Accept-Ranges" in answer.headers:
            whole, (status, body) = len(body), _part(body, self.headers.get("Range"))
            if status != 200:
                start = self.headers["Range"].removeprefix("bytes=").split("-")[0]
                of = f"{start}-{int(start) + len(body) - 1}" if status == 206 else "*"
                headers["Content-Range"] = f"bytes {of}/{whole}"
        body = fault.spoil(body)
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body)), **answer.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body if fault.drop is None else body[: fault.drop])
        if fault.drop is not None:
            self.hang_up()

    def hang_up(self) -> None:
        self.wfile.flush()
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)


def _part(body: bytes, asked: str | None) -> tuple[int, bytes]:
    match = re.fullmatch(r"bytes=(\d+)-(\d*)", asked or "")
    if not match:
        return 200, body
    start, end = int(match[1]), int(match[2] or len(body) - 1)
    return (206, body[start : end + 1]) if start < len(body) else (416, b"")
