"""One hot request and its one answer, whichever adapter carries it.

Owns what an endpoint may see of a request. Never touches a socket: adapters subclass it and send.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from itertools import count
from typing import TYPE_CHECKING, Final

import structlog

from api.problems import Problem
from engine.identity import is_reservation_id

if TYPE_CHECKING:
    from api.auth import Caller
    from api.hot.endpoints import Endpoint

Headers = tuple[tuple[bytes, bytes], ...]

logger = structlog.get_logger("holdfast.access")

MAX_REQUEST_ID: Final = 128

_SLOTS: Final[dict[bytes, str]] = {
    b"authorization": "authorization",
    b"content-type": "content_type",
    b"idempotency-key": "idempotency_key",
    b"holdfast-durability": "durability",
    b"x-request-id": "request_id",
    b"content-length": "declared_length",
    b"connection": "connection",
    b"traceparent": "traceparent",
}
_UNUSUAL: Final = frozenset((b"upgrade", b"expect", b"transfer-encoding"))
# Clients spell header names in one of two ways; knowing both saves a lower() a header.
_IGNORED: Final = (b"host", b"accept", b"user-agent", b"accept-encoding", b"accept-language")
_KNOWN: Final[dict[bytes, str | None]] = {
    **_SLOTS,
    **{name.title(): slot for name, slot in _SLOTS.items()},
    **dict.fromkeys(_IGNORED),
    **{name.title(): None for name in _IGNORED},
}

_process = os.urandom(6).hex().encode()
_numbers = count(1)


class Exchange:
    """What an endpoint gets. Class attributes are the defaults, so that making one sets only what was sent."""

    endpoint: Endpoint
    caller: Caller
    authorization: bytes = b""
    content_type: bytes = b""
    idempotency_key: bytes | None = None
    durability: bytes | None = None
    request_id: bytes = b""
    declared_length: bytes = b"0"
    """Content-Length as sent."""
    connection: bytes = b""
    """Connection as sent; empty, in HTTP/1.1, means that it is kept."""
    argument: str = ""
    """The part of the path that varies: a reservation id or a SKU."""
    query: bytes = b""
    body: bytes = b""
    started: float = 0.0
    answered = False
    traceparent: bytes = b""
    """As sent; whether it is one is the tracer's to say."""
    trace_id: str = ""
    """Of a request that is traced."""
    rate_limit: Headers = ()
    """Headers that say how much of its limit the key has left; empty where it has none."""

    def read_headers(self, headers: Iterable[tuple[bytes, bytes]]) -> bool:
        """Take what the hot path needs; False if a header asks for something unusual (upgrade, Expect, chunks).

        A header sent twice counts with its last value. Names may be in any case.
        """
        slots = self.__dict__
        for name, value in headers:
            try:
                slot = _KNOWN[name]
            except KeyError:
                lower = name.lower()
                if lower in _UNUSUAL:
                    return False
                slot = _SLOTS.get(lower)
            if slot is not None:
                slots[slot] = value
        return True

    def log_id(self) -> bytes:
        """The request's id: the client's `X-Request-Id` if it is printable ASCII, else one of our own."""
        given = self.request_id
        if not given or len(given) > MAX_REQUEST_ID or not given.isascii() or not given.decode().isprintable():
            given = self.request_id = b"%b-%x" % (_process, next(_numbers))
        return given

    def needs_id(self, status: int) -> bool:
        """True if the answer must carry the request's id: the client gave one, or the logs may hold one.

        An ordinary success leaves no line in the logs, and its reservation id says more.
        """
        return status >= 400 or bool(self.request_id) or self.endpoint.access_log

    def answer(self, status: int, body: bytes, headers: Headers = ()) -> None:
        """Send the answer. Only the first call counts; one that comes after the client left is dropped."""
        if self.answered:
            return
        self.answered = True
        endpoint = self.endpoint
        duration_s = time.perf_counter() - self.started
        endpoint.count(status, duration_s)
        if endpoint.access_log:
            self.log(endpoint.name, status, duration_s)
        self.send(status, body, headers)

    def log(self, operation: str, status: int, duration_s: float) -> None:
        """Write the access log's line: ids and numbers, nothing that could hold a key."""
        logger.info(
            "request",
            **self.named(),
            operation=operation,
            status=status,
            duration_ms=round(duration_s * 1000, 3),
        )

    def named(self) -> dict[str, str]:
        """What every log line of this request carries: its id, the reservation or SKU in its path, its trace."""
        names = {"request_id": self.log_id().decode()}
        if self.argument:
            names["reservation_id" if is_reservation_id(self.argument) else "sku"] = self.argument[:MAX_REQUEST_ID]
        if self.trace_id:
            names["trace_id"] = self.trace_id
        return names

    def refuse(self, problem: Problem) -> None:
        """Answer with a problem document."""
        if not self.answered:
            self.endpoint.count_refused(problem.kind.code, problem.extra)
        self.answer(problem.kind.status, problem.body(), problem.headers())

    def send(self, status: int, body: bytes, headers: Headers) -> None:
        """Put the answer on the wire; each adapter has its own way."""
        raise NotImplementedError
