"""Hot requests with a span each, where tracing is on. Where it is off nothing of this is there.

Owns where a span begins and ends: around the endpoint, to the moment its answer goes out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from api.hot.endpoints import Endpoint, Hot, Run
    from api.hot.exchange import Exchange, Headers
    from api.request_spans import RequestSpans


def trace(hot: Hot, spans: RequestSpans) -> None:
    """From now on every endpoint of `hot` is traced."""
    for endpoint in hot.endpoints():
        endpoint.run = _traced(endpoint, spans)


def _traced(endpoint: Endpoint, spans: RequestSpans) -> Run:
    run, name = endpoint.run, endpoint.name

    def traced(exchange: Exchange) -> None:
        span = spans.begin(name, exchange.traceparent)
        if span is None:
            run(exchange)
            return
        exchange.trace_id = span.trace_id
        send = exchange.send

        def send_and_end(status: int, body: bytes, headers: Headers) -> None:
            span.end(name, status, exchange.log_id().decode())
            send(status, body, headers)

        exchange.send = send_and_end  # type: ignore[method-assign]
        with span.attached():
            run(exchange)

    return traced
