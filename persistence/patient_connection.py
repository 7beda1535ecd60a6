"""A Postgres connection that is given up when the server says nothing for too long, though it is still connected.

Owns that patience and nothing else. The server's own limit of a statement ends nothing while the server stands still
(its disk hangs, it was stopped), and TCP notices nothing, since the kernel over there goes on answering.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Generator
from typing import Any, Final, TypeVar

import psycopg

RV = TypeVar("RV")

MOST_AT_ONCE_S: Final = 1.0
"""Counted between two looks: when it was this process that stood still, the server is not to blame."""


def connecting(patience_s: float) -> Callable[..., Awaitable[psycopg.AsyncConnection[Any]]]:
    """`connect` of a connection that waits `patience_s` seconds at most for the server's next word.

    Then it is closed, and what was asked raises psycopg.OperationalError; whether it was done nobody knows.
    """

    class PatientConnection(psycopg.AsyncConnection[Any]):
        async def wait(self, gen: Generator[Any, Any, RV], *given: Any, **named: Any) -> RV:
            return await super().wait(_bounded(gen, patience_s, self), *given, **named)

    return PatientConnection.connect


def _bounded(
    gen: Generator[Any, Any, RV], patience_s: float, connection: psycopg.AsyncConnection[Any]
) -> Generator[Any, Any, RV]:
    """`gen` as psycopg drives it: it is resumed when the server has said something, and ten times a second if not."""
    waited_s, before = 0.0, time.monotonic()
    try:
        wanted = next(gen)
        while True:
            ready = yield wanted
            now = time.monotonic()
            waited_s = 0.0 if ready else waited_s + min(now - before, MOST_AT_ONCE_S)
            before = now
            if waited_s > patience_s:
                # Nobody reads any more what may still come, so that nobody can take it for another answer.
                connection.pgconn.finish()
                raise psycopg.OperationalError(f"the server has said nothing for {patience_s:g} s")
            wanted = gen.send(ready)
    except StopIteration as end:
        value: RV = end.value
        return value
