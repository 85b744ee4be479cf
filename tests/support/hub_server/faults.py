"""Faults to order: what goes wrong with the next requests of one kind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass
class Fault:
    """`times` requests (None: all) of `kind` fail, once `after` of them have passed.

    With `status` nothing is done and that is the answer. The others break what is sent, and HEAD has nothing to break:
    `drop` closes the connection after so many bytes of the answer's body, what was asked being done (an upload: after
    so many bytes read, nothing being done); `truncate` leaves so many bytes off the body, which says so in its
    Content-Length; `corrupt` flips a byte. `wait` holds the request for so many seconds first, `run` is called first.
    """

    kind: str
    status: int | None = None
    message: str = "a fault of the test's"
    code: str = ""
    times: int | None = 1
    after: int = 0
    drop: int | None = None
    truncate: int = 0
    corrupt: bool = False
    retry_after: int | None = None
    wait: float = 0
    run: Callable[[], object] | None = None

    @property
    def breaks_the_body(self) -> bool:
        return self.drop is not None or self.truncate > 0 or self.corrupt

    def spoil(self, body: bytes) -> bytes:
        if self.truncate:
            body = body[: max(len(body) - self.truncate, 0)]
        if self.corrupt and body:
            middle = len(body) // 2
            body = body[:middle] + bytes([body[middle] ^ 1]) + body[middle + 1 :]
        return body


class Faults(list[Fault]):
    def due(self, kind: str, method: str) -> Fault | None:
        """The fault that meets this request, which counts it; one at most."""
        for fault in self:
            if fault.kind != kind or fault.times == 0 or (method == "HEAD" and fault.breaks_the_body):
                continue
            if fault.after > 0:
                fault.after -= 1
                continue
            if fault.times is not None:
                fault.times -= 1
            return fault
        return None
