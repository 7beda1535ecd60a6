"""What the API needs of a tracer: a span for a request that is to be traced, and nothing for any other.

Owns the shape only; runtime/tracing/requests.py makes them. No tracer: neither path knows that there could be one.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol


class RequestSpan(Protocol):
    """One traced request."""

    trace_id: str
    """32 hex digits."""

    def attached(self) -> AbstractContextManager[None]:
        """While inside, what is done belongs to this request."""

    def end(self, name: str, status: int, request_id: str) -> None:
        """The answer goes out. Only the first call counts."""


class RequestSpans(Protocol):
    """Decides which requests are traced."""

    def begin(self, name: str, traceparent: bytes) -> RequestSpan | None:
        """The span of a request that came with this `traceparent` (empty: none); None: it is not traced."""
