"""The tracing of one process: one tracer, and what hangs on it in each layer.

Owns the provider's end. Imports OpenTelemetry: only runtime/tracing/start.py imports this, and tests.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from runtime.tracing.batches import BatchSpans
from runtime.tracing.flushes import FlushSpans
from runtime.tracing.jobs import OtelJobSpans
from runtime.tracing.requests import OtelRequestSpans
from runtime.tracing.statements import StatementSpans

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

FLUSH_MS: Final = 3_000


class Tracing:
    """Hand its parts to whoever wires a process; `close` it at the end."""

    def __init__(self, provider: TracerProvider, share: float) -> None:
        """`share`: of requests without a `traceparent`, of flushes and of jobs, how many are traced (0 to 1)."""
        self._provider = provider
        tracer = provider.get_tracer("holdfast")
        self.requests = OtelRequestSpans(tracer, share)
        self.batches = BatchSpans(tracer)
        self.statements = StatementSpans(tracer)
        self.flushes = FlushSpans(tracer, share)
        self.jobs = OtelJobSpans(tracer, share, self.statements, self.flush)

    def flush(self) -> None:
        """Send what there is now."""
        self._provider.force_flush(FLUSH_MS)

    def close(self) -> None:
        """Send what there is, and end."""
        self._provider.force_flush(FLUSH_MS)
        self._provider.shutdown()
