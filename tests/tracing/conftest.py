"""A service that traces everything into memory, and its spans."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from api.services import Services
from engine import EngineSettings
from runtime.tracing.tracing import Tracing
from tests.http.conftest import Shop
from tests.http.running import RunningService


class Spans:
    """The spans of a test, and the tracing that makes them."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self._provider = TracerProvider()
        self._provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracing = self.sharing(1.0)

    def sharing(self, share: float) -> Tracing:
        """A tracing into the same memory that draws another share."""
        return Tracing(self._provider, share)

    def named(self, name: str) -> list[ReadableSpan]:
        """Spans with this name that have ended."""
        return [span for span in self._exporter.get_finished_spans() if span.name == name]

    def all(self) -> list[ReadableSpan]:
        """Every span that has ended."""
        return list(self._exporter.get_finished_spans())

    def clear(self) -> None:
        """Forget those so far."""
        self._exporter.clear()


@pytest.fixture
def spans() -> Spans:
    return Spans()


@pytest.fixture(params=["protocol", "asgi"])
def traced_shop(request: pytest.FixtureRequest, redis_url: str, database_url: str, spans: Spans) -> Iterator[Shop]:
    """A shop whose service traces every request."""
    running = TracedService(redis_url, database_url, spans).start()
    shop = Shop(running, request.param)
    yield shop
    shop.close()
    running.stop()


class TracedService(RunningService):
    """A running service with tracing wired in as runtime/wiring.py does it."""

    def __init__(self, redis_url: str, database_url: str, spans: Spans) -> None:
        super().__init__(redis_url, database_url, None, EngineSettings(observer=spans.tracing.batches))
        self._tracing = spans.tracing

    def prepared(self, services: Services) -> Services:
        services.database.watch_statements(self._tracing.statements)
        return msgspec.structs.replace(services, spans=self._tracing.requests)
