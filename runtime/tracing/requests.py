"""A span for each request that is traced, and the decision which ones are.

Owns that decision: what the caller has decided is followed, else a share is drawn. An untraced request costs the look
at its header and a random number, no span.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from opentelemetry import context as otel_context
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, get_current_span, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from engine.trace_context import TRACEPARENT

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import Tracer

_propagator = TraceContextTextMapPropagator()


def traceparent_of(span: Span) -> str:
    """As the header has it."""
    known = span.get_span_context()
    return f"00-{known.trace_id:032x}-{known.span_id:016x}-{known.trace_flags:02x}"


@contextmanager
def inside(span: Span) -> Iterator[None]:
    """While inside, new spans are children of this one, and log lines and requests to others carry its trace."""
    token = otel_context.attach(set_span_in_context(span))
    told = TRACEPARENT.set(traceparent_of(span))
    try:
        yield
    finally:
        TRACEPARENT.reset(told)
        otel_context.detach(token)


class OtelRequestSpan:
    """One request (see api/request_spans.py)."""

    def __init__(self, span: Span) -> None:
        self._span = span
        self._ended = False
        self.trace_id = f"{span.get_span_context().trace_id:032x}"

    @contextmanager
    def attached(self) -> Iterator[None]:
        """While inside, what is done belongs to this request."""
        with inside(self._span):
            yield

    def end(self, name: str, status: int, request_id: str) -> None:
        """The answer goes out."""
        if self._ended:
            return
        self._ended = True
        self._span.update_name(name)
        self._span.set_attributes(
            {"http.route": name, "http.response.status_code": status, "holdfast.request_id": request_id}
        )
        if status >= 500:
            self._span.set_status(Status(StatusCode.ERROR))
        self._span.end()


class OtelRequestSpans:
    """Decides which requests are traced (see api/request_spans.py)."""

    def __init__(self, tracer: Tracer, share: float) -> None:
        self._tracer = tracer
        self._share = share

    def begin(self, name: str, traceparent: bytes) -> OtelRequestSpan | None:
        """The span of a request, or None when it is not traced."""
        parent: Context | None = None
        if traceparent:
            parent = _propagator.extract({"traceparent": traceparent.decode("latin-1")}, otel_context.Context())
            known = get_current_span(parent).get_span_context()
            if not known.is_valid:
                parent = None
            elif not known.trace_flags.sampled:
                return None
        if parent is None and random.random() >= self._share:  # noqa: S311 - a share is drawn
            return None
        return OtelRequestSpan(
            self._tracer.start_span(name, context=parent or otel_context.Context(), kind=SpanKind.SERVER)
        )
