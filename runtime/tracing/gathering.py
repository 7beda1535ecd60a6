"""Spans kept until they are asked for, and sent then: for processes that fork, where no thread may be.

Owns that list and its bound.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter

MOST_SPANS: Final = 2_000


class Gathering(SpanProcessor):
    """Exports at `force_flush`, in the process that calls it; past MOST_SPANS the later ones are dropped."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self._spans: list[ReadableSpan] = []

    def on_end(self, span: ReadableSpan) -> None:
        """OpenTelemetry's: a span has ended."""
        if len(self._spans) < MOST_SPANS:
            self._spans.append(span)

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """OpenTelemetry's: send what there is; the exporter has its own limit of time."""
        spans, self._spans = self._spans, []
        if spans:
            self._exporter.export(spans)
        return True

    def shutdown(self) -> None:
        """OpenTelemetry's: send what there is, and end."""
        self.force_flush()
        self._exporter.shutdown()
