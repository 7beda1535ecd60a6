"""Spans: from a request to the script in Redis, from a flush to its commit, and nothing at all where nobody asked."""

from __future__ import annotations

import asyncio
import http.server
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import StatusCode
from structlog.testing import capture_logs

from engine import Configure, Engine, EngineSettings
from engine.bootstrap import open_partition
from engine.trace_context import headers_to_send, trace_id
from persistence.database import Database
from runtime.settings import SettingsInvalid, load_settings
from runtime.tracing import start as start_module
from runtime.tracing.start import start_tracing
from tests.http.conftest import Shop
from tests.tracing.conftest import Spans
from tests.waiting import wait_until
from worker.flusher import Flusher

CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
UNSAMPLED = CALLER[:-1] + "0"


def parent_of(span: ReadableSpan, spans: Spans) -> ReadableSpan | None:
    if span.parent is None:
        return None
    return next((one for one in spans.all() if one.context.span_id == span.parent.span_id), None)


def one(spans: Spans, name: str) -> ReadableSpan:
    (found,) = wait_until(lambda: spans.named(name), 30, f"a span {name}")
    return found


def test_a_reserve_is_followed_into_its_script(traced_shop: Shop, spans: Spans) -> None:
    sku = traced_shop.sku(5)
    spans.clear()
    traced_shop.reserve(sku)
    request, batch, script = one(spans, "reserve"), one(spans, "batch"), one(spans, "script")
    assert parent_of(script, spans) is batch
    assert parent_of(batch, spans) is request
    assert request.parent is None
    assert request.attributes["http.response.status_code"] == 201
    assert request.attributes["holdfast.request_id"]
    assert (batch.attributes["holdfast.commands"], batch.attributes["holdfast.commands.traced"]) == (1, 1)
    assert script.attributes["db.system.name"] == "redis"
    assert request.start_time <= batch.start_time <= script.start_time <= script.end_time <= batch.end_time
    # No value of a customer or a product is in any of them.
    assert sku not in json.dumps([span.to_json() for span in spans.all()])


def test_what_a_caller_decided_is_followed(traced_shop: Shop, spans: Spans) -> None:
    client = traced_shop.as_("storefront")
    sku = traced_shop.sku(5)
    spans.clear()
    body = {"customer_id": "ann", "sku": sku, "quantity": 1}
    for path in (f"/inventory/availability/{sku}", "/healthz"):
        client.get(path, headers={"traceparent": CALLER}).raise_for_status()
    client.post("/inventory/reserve", json=body, headers={"traceparent": UNSAMPLED}).raise_for_status()
    for wrong in ("nonsense", "00-" + "0" * 32 + "-" + "0" * 16 + "-01", "\u00e9"):
        client.get("/healthz", headers={"traceparent": wrong.encode("latin-1")}).raise_for_status()
    availability, (first, *others) = one(spans, "availability"), spans.named("healthz")
    for span in (availability, first):
        assert f"{span.context.trace_id:032x}" == CALLER[3:35]
        assert f"{span.parent.span_id:016x}" == CALLER[36:52]
    assert len(others) == 3
    assert all(span.parent is None for span in others)
    assert not spans.named("reserve")


def test_refusals_and_errors_end_their_spans(traced_shop: Shop, spans: Spans) -> None:
    client = traced_shop.as_("storefront")
    client.post("/inventory/reserve", json={"customer_id": "ann", "sku": "NOPE", "quantity": 1})
    client.post("/inventory/reserve", json={"customer_id": "ann", "sku": "NOPE", "quantity": -1})
    wait_until(lambda: len(spans.named("reserve")) == 2, 30, "both have ended")
    statuses = sorted(span.attributes["http.response.status_code"] for span in spans.named("reserve"))
    assert statuses == [404, 422]
    assert all(span.status.status_code is StatusCode.UNSET for span in spans.named("reserve"))


def test_statements_belong_to_their_request_and_show_no_value(traced_shop: Shop, spans: Spans) -> None:
    spans.clear()
    answer = traced_shop.as_("auditor").get("/inventory/products", params={"q": "a-secret-name"})
    assert answer.status_code == 200
    request = one(spans, "list_products")
    statements = [span for span in spans.named("SELECT products") if span.parent]
    assert statements
    for span in statements:
        assert parent_of(span, spans) is request
        assert "a-secret-name" not in span.to_json()


def test_nobody_is_traced_who_was_not_drawn(spans: Spans) -> None:
    requests = spans.sharing(0.0).requests
    assert requests.begin("reserve", b"") is None
    assert requests.begin("reserve", b"nonsense") is None
    drawn = requests.begin("reserve", CALLER.encode())
    assert drawn is not None
    drawn.end("reserve", 201, "id")
    half = spans.sharing(0.5).requests
    begun = sum(half.begin("reserve", b"") is not None for _ in range(400))
    assert 100 < begun < 300


async def test_one_batch_of_many_requests_is_linked_with_all_of_them(
    redis_url: str, redis_client: Any, spans: Spans
) -> None:
    open_partition(redis_client, epoch=1, ledger_seq=0)
    engine = await Engine.connect(redis_url, EngineSettings(observer=spans.tracing.batches))
    await engine.execute(Configure("CUP", 0, 0, True, 50, "tests"))
    assert not spans.all()  # what no request has asked for makes no span

    async def ask(number: int) -> str:
        span = spans.tracing.requests.begin(f"request {number}", b"")
        assert span is not None
        with span.attached():
            assert trace_id() == span.trace_id
            await engine.reserve([("CUP", 1)], customer_id="ann")
        span.end(f"request {number}", 201, str(number))
        return span.trace_id

    traces = await asyncio.gather(*map(ask, range(8)))
    (batch,) = spans.named("batch")
    linked = {f"{link.context.trace_id:032x}" for link in batch.links}
    assert f"{batch.context.trace_id:032x}" == traces[0]
    assert linked == set(traces[1:])
    assert batch.attributes["holdfast.commands"] == 8
    assert trace_id() == ""
    redis_client.script_flush()
    spans.clear()
    await ask(99)
    assert len(spans.named("script")) == len(spans.named("batch")) == 1
    await engine.close()


def test_a_flush_is_followed_to_its_commit(traced_shop: Shop, spans: Spans, redis_url: str, database_url: str) -> None:
    traced_shop.running.stop_flusher()
    traced_shop.reserve(traced_shop.sku(5))
    flusher = Flusher(redis_url, database_url, None, spans.tracing.flushes)
    thread = threading.Thread(target=flusher.run)
    thread.start()
    try:
        flush, transaction = one(spans, "flush"), one(spans, "ledger transaction")
    finally:
        flusher.stop()
        thread.join(30)
    assert parent_of(transaction, spans) is flush
    assert [event.name for event in transaction.events] == ["after_copy", "after_merge", "before_commit"]
    assert flush.status.status_code is StatusCode.UNSET


def test_a_flush_that_never_commits_ends_as_an_error(spans: Spans) -> None:
    steps = spans.tracing.flushes
    for step in ("after_read", "after_copy", "after_read", "after_copy", "after_commit"):
        steps(step)
    assert [span.status.status_code for span in spans.named("flush")] == [StatusCode.ERROR, StatusCode.UNSET]


async def test_a_job_carries_its_trace_to_others_and_sends_its_spans(database_url: str, spans: Spans) -> None:
    from sqlalchemy import text

    database = Database(database_url)
    with spans.tracing.jobs.around("webhooks.deliver", database) as failed:
        sent = headers_to_send()["traceparent"]
        await database.fetch(text("SELECT count(*) FROM webhooks"))
        failed("the receiver was away")
    assert headers_to_send() == {}
    await database.close()
    (job,) = spans.named("job webhooks.deliver")
    assert f"{job.context.trace_id:032x}" == sent[3:35]
    assert job.status.description == "the receiver was away"
    (statement,) = spans.named("SELECT webhooks")
    assert parent_of(statement, spans) is job


def test_log_lines_of_traced_requests_name_their_trace(traced_shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    held = traced_shop.reserve(traced_shop.sku(5))
    monkeypatch.setattr("api.hot.by_id.ReadEndpoint.__call__", broken)
    headers = {"traceparent": CALLER, "x-request-id": "of-the-client"}
    with capture_logs() as lines:
        answer = traced_shop.as_("storefront").get(f"/inventory/reserve/{held['id']}", headers=headers)
    assert answer.status_code == 500
    (line,) = [line for line in lines if line["event"] == "request failed"]
    assert line["trace_id"] == CALLER[3:35]
    assert line["request_id"] == "of-the-client"
    assert line["reservation_id"] == held["id"]


def broken(*_: object) -> None:
    raise RuntimeError("broken on purpose")


OFF = """
import importlib.abc, sys
class NotInstalled(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.startswith(("opentelemetry.sdk", "opentelemetry.exporter")):
            raise ModuleNotFoundError(name=name)
sys.meta_path.insert(0, NotInstalled())
from runtime import wiring
from runtime.settings import load_settings
from runtime.tracing.start import start_tracing
assert start_tracing(load_settings(), "api") is None
loaded = {name for name in sys.modules if name.startswith("runtime.tracing.")}
assert loaded == {"runtime.tracing.start"}, loaded
"""


def test_off_none_of_its_packages_is_needed() -> None:
    environment = {"PATH": "/usr/bin:/bin"}
    done = subprocess.run([sys.executable, "-c", OFF], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_off_by_the_standard_switch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    assert start_tracing(load_settings(otel_endpoint="http://127.0.0.1:1"), "api") is None


def test_without_the_packages_the_start_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(SettingsInvalid, match=r"pip install 'holdfast\[otel\]'"):
        start_tracing(load_settings(otel_endpoint="http://127.0.0.1:1"), "api")


@pytest.mark.parametrize("endpoint", ["127.0.0.1:4318", "ftp://x", "http://with space"])
def test_an_address_that_is_none(endpoint: str) -> None:
    with pytest.raises(SettingsInvalid, match="otel-endpoint"):
        load_settings(otel_endpoint=endpoint)


@pytest.fixture
def collector() -> Iterator[tuple[str, list[str]]]:
    """An address that takes spans, and the paths that were posted to."""
    posted: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            posted.append(self.path)
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", posted
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("forks", [False, True])
def test_spans_reach_a_collector(collector: tuple[str, list[str]], forks: bool) -> None:
    address, posted = collector
    tracing = start_tracing(load_settings(otel_endpoint=address + "/", trace_sample=1.0), "api-1", forks=forks)
    assert tracing is not None
    span = tracing.requests.begin("reserve", b"")
    assert span is not None
    span.end("reserve", 201, "id")
    tracing.close()
    assert posted == ["/v1/traces"]


def test_a_collector_that_is_away_holds_nothing_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(start_module, "EXPORT_TIMEOUT_S", 0.5)
    tracing = start_tracing(load_settings(otel_endpoint="http://127.0.0.1:1", trace_sample=1.0), "api-1")
    assert tracing is not None
    span = tracing.requests.begin("reserve", b"")
    assert span is not None
    span.end("reserve", 201, "id")
    ended = threading.Thread(target=tracing.close)
    ended.start()
    ended.join(60)
    assert not ended.is_alive()
