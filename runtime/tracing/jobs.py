"""A span for each run of a background job that is traced, and its statements in it.

Owns the span, and that it is sent before the process of the run ends. What the run sends to others carries its trace.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from opentelemetry import context as otel_context
from opentelemetry.trace import SpanKind, Status, StatusCode

from runtime.tracing.requests import inside

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

    from persistence.database import Database
    from runtime.tracing.statements import StatementSpans


class OtelJobSpans:
    """See worker/jobs/context.py `JobSpans`."""

    def __init__(self, tracer: Tracer, share: float, statements: StatementSpans, flush: Callable[[], None]) -> None:
        self._tracer = tracer
        self._share = share
        self._statements = statements
        self._flush = flush

    @contextmanager
    def around(self, job: str, database: Database) -> Iterator[Callable[[str], None]]:
        """A run of `job`, whose statements go to `database`; call what is given with why it failed, if it did."""
        if random.random() >= self._share:  # noqa: S311 - a share is drawn
            yield lambda _: None
            return
        database.watch_statements(self._statements)
        span = self._tracer.start_span(f"job {job}", context=otel_context.Context(), kind=SpanKind.CONSUMER)
        try:
            with inside(span):
                yield lambda why: span.set_status(Status(StatusCode.ERROR, why[:200]))
        finally:
            span.end()
            # A run has a process of its own, which ends without a word.
            self._flush()
