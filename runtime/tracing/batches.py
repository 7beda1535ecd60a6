"""A span for each batch that carries a traced command, and inside it one for the script's round trip.

Owns how many requests become one batch: the batch belongs to the first of them, and is linked with all the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from opentelemetry import context as otel_context
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode, get_current_span, set_span_in_context

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

MOST_WAITING: Final = 50_000
"""Traced commands that may wait for a batch; only commands that never get one could make them more."""


class BatchSpans:
    """See engine/observed.py."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer
        self._waiting: dict[int, Span] = {}
        """id of a waiting command -> the span it was submitted in. Its batcher holds the command meanwhile."""

    def queued(self, command: Any) -> None:
        """A command waits for a batch."""
        span = get_current_span()
        if span.is_recording():
            if len(self._waiting) >= MOST_WAITING:
                self._waiting.clear()
            self._waiting[id(command)] = span

    def sent(self, commands: Sequence[Any]) -> tuple[Span, Span] | None:
        """A batch goes out."""
        waiting = self._waiting
        if not waiting:
            return None
        spans = [span for command in commands if (span := waiting.pop(id(command), None)) is not None]
        if not spans:
            return None
        batch = self._tracer.start_span(
            "batch",
            context=set_span_in_context(spans[0], otel_context.Context()),
            links=[Link(span.get_span_context()) for span in spans[1:]],
            attributes={"holdfast.commands": len(commands), "holdfast.commands.traced": len(spans)},
        )
        script = self._tracer.start_span(
            "script",
            context=set_span_in_context(batch, otel_context.Context()),
            kind=SpanKind.CLIENT,
            attributes={"db.system.name": "redis", "db.operation.name": "EVALSHA"},
        )
        return batch, script

    def answered(self, batch: object, error: str) -> None:
        """The answer is there."""
        if isinstance(batch, tuple):
            script: Span = batch[1]
            if error:
                script.set_status(Status(StatusCode.ERROR, error[:200]))
            script.end()

    def delivered(self, batch: object) -> None:
        """Every caller has its answer."""
        if isinstance(batch, tuple):
            span: Span = batch[0]
            span.end()
