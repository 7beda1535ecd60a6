"""A span for each flush that is traced, made of the steps that the flusher names as it passes them.

Owns which step means what. A flush that never commits ends, as an error, when the next one begins.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from opentelemetry import context as otel_context
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, set_span_in_context

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer


class FlushSpans:
    """Call it with each step (worker/failpoints.py). One flusher, one thread."""

    def __init__(self, tracer: Tracer, share: float) -> None:
        self._tracer = tracer
        self._share = share
        self._flush: Span | None = None
        self._transaction: Span | None = None

    def __call__(self, step: str) -> None:
        """A step is passed."""
        if step == "after_read":
            self._end(failed=True)
            if random.random() < self._share:  # noqa: S311 - a share is drawn
                self._begin()
        elif self._flush is None:
            return
        elif step == "after_commit":
            self._end(failed=False)
        elif self._transaction is not None:
            self._transaction.add_event(step)

    def _begin(self) -> None:
        nothing = otel_context.Context()
        self._flush = self._tracer.start_span("flush", context=nothing)
        self._transaction = self._tracer.start_span(
            "ledger transaction",
            context=set_span_in_context(self._flush, nothing),
            kind=SpanKind.CLIENT,
            attributes={"db.system.name": "postgresql"},
        )

    def _end(self, *, failed: bool) -> None:
        for span in (self._transaction, self._flush):
            if span is not None:
                if failed:
                    span.set_status(Status(StatusCode.ERROR, "never committed"))
                span.end()
        self._transaction = self._flush = None
