"""A service that was told of a collector: every process of it sends its spans there, and so do its webhooks theirs."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.runtime.up_process import Up
from tests.waiting import wait_until


class Listener:
    """Takes spans at /v1/traces, and webhooks anywhere else."""

    def __init__(self) -> None:
        self.spans: dict[str, set[str]] = {}
        """Process -> names of its spans."""
        self.traces: dict[str, set[str]] = {}
        """Name of a span -> trace ids."""
        self.delivered: list[str] = []
        """`traceparent` of each webhook."""
        listener = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.path == "/v1/traces":
                    listener.take(body)
                else:
                    listener.delivered.append(self.headers.get("traceparent", ""))
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()
        self.address = f"http://127.0.0.1:{self._server.server_port}"

    def take(self, body: bytes) -> None:
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            names = {one.key: one.value.string_value for one in resource.resource.attributes}
            assert names["service.name"] == "holdfast"
            for scope in resource.scope_spans:
                for span in scope.spans:
                    self.spans.setdefault(names["holdfast.process"], set()).add(span.name)
                    self.traces.setdefault(span.name, set()).add(span.trace_id.hex())

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def listener() -> Iterator[Listener]:
    made = Listener()
    yield made
    made.close()


@pytest.mark.timeout(240)
def test_every_process_sends_its_spans(listener: Listener, tmp_path: Path) -> None:
    environment = {
        "HOLDFAST_OTEL_ENDPOINT": listener.address,
        "HOLDFAST_TRACE_SAMPLE": "1",
        "HOLDFAST_WEBHOOK_ALLOW_PRIVATE": "true",
        "OTEL_BSP_SCHEDULE_DELAY": "200",
    }
    up = Up(tmp_path / "data", environment=environment)
    try:
        up.wait_until_ready()
        with up.client("admin") as office, up.client("storefront") as shop:
            hook = {"url": f"{listener.address}/hook", "events": ["reservation.created"]}
            office.post("/admin/webhooks", json=hook).raise_for_status()
            office.put("/inventory/products/mug", json={"name": "Mug", "initial_stock": 5}).raise_for_status()
            body = {"customer_id": "ann", "sku": "mug", "quantity": 1}
            shop.post("/inventory/reserve", json=body).raise_for_status()
        wanted = {
            "api-1": {"reserve", "batch", "script", "put_product"},
            "worker": {"flush", "ledger transaction"},
            "jobs": {"job webhooks.deliver"},
        }
        wait_until(
            lambda: all(names <= listener.spans.get(process, set()) for process, names in wanted.items()),
            60,
            "spans of every process",
        )
        (sent,) = wait_until(lambda: listener.delivered, 30, "the webhook is delivered")
        wait_until(lambda: sent[3:35] in listener.traces["job webhooks.deliver"], 30, "its job's trace")
    finally:
        up.stop()
    assert "Traceback" not in up.output
