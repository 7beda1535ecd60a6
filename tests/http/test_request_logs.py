"""Every line that a request causes names the request, and what it was about; none tells a secret."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
import structlog

from inventory.stock_changes import change_stock
from runtime.logs import configure_logs
from tests.http.conftest import Shop
from tests.http.running import KEYS
from tests.waiting import wait_until

TRACED = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """Where the lines of this process go, in the form that a service writes them."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    written = io.StringIO()
    configure_logs("api-1", form="json", stream=written)
    yield written
    root.handlers[:] = before
    root.setLevel(level)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def lines(stream: io.StringIO, event: str) -> list[dict[str, Any]]:
    return [line for text in stream.getvalue().splitlines() if (line := json.loads(text))["event"] == event]


def test_lines_of_deeper_layers_carry_the_requests_id(
    one_shop: Shop, stream: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    sku = one_shop.sku(5)

    async def telling(*given: Any) -> Any:
        structlog.get_logger("inventory.stock_changes").warning("told from below")
        logging.getLogger("a.library").warning("told by a library")
        return await change_stock(*given)

    monkeypatch.setattr("api.routes.changes.change_stock", telling)
    body = {"sku": sku, "kind": "receive", "quantity": 1, "reason": "a delivery"}
    answers = [
        one_shop.as_("operator").post("/inventory/adjust", json=body, headers={"x-request-id": name})
        for name in ("first", "second")
    ]
    assert [answer.status_code for answer in answers] == [201, 201]
    for event in ("told from below", "told by a library"):
        assert [line["request_id"] for line in lines(stream, event)] == ["first", "second"]
    structlog.get_logger("elsewhere").warning("outside")
    assert "request_id" not in lines(stream, "outside")[0]


def test_a_failure_names_what_it_was_about(shop: Shop, stream: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("broken on purpose")

    held = shop.reserve(shop.sku(5))
    for owner in ("api.hot.by_id.ReadEndpoint", "api.hot.availability.AvailabilityEndpoint"):
        monkeypatch.setattr(f"{owner}.__call__", broken)
    client = shop.as_("storefront")
    about = {
        f"/inventory/reserve/{held['id']}": ("read", "reservation_id", held["id"]),
        "/inventory/availability/MUG-RED": ("availability", "sku", "MUG-RED"),
    }
    for path, (operation, field, value) in about.items():
        answer = client.get(path)
        assert answer.status_code == 500
        line = lines(stream, "request failed")[-1]
        assert line["request_id"] == answer.headers["x-request-id"]
        assert (line["operation"], line[field]) == (operation, value)
        assert "broken on purpose" in line["exception"]
    assert KEYS["storefront"] not in stream.getvalue()


def test_a_cold_failure_does_too(one_shop: Shop, stream: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: Any) -> None:
        raise RuntimeError("broken on purpose")

    monkeypatch.setattr("api.requests.begin_audit", broken)
    answer = one_shop.as_("operator").put("/inventory/products/MUG-RED", json={"name": "Mug"})
    assert answer.status_code == 500
    (line,) = wait_until(lambda: lines(stream, "request failed"), 30, "the line")
    assert (line["operation"], line["sku"]) == ("put_product", "MUG-RED")
    assert line["request_id"] == answer.headers["x-request-id"]


def test_a_hostile_request_id_stays_on_its_line(shop: Shop, stream: io.StringIO) -> None:
    client = shop.as_("storefront")
    given = 'x" ,"level":"critical'
    answer = client.get("/inventory/reserve/" + "0" * 36, headers={"x-request-id": given})
    assert answer.headers["x-request-id"] == given
    assert all(msgspec.json.decode(line) for line in stream.getvalue().splitlines())


def test_no_trace_id_where_nothing_is_traced(one_shop: Shop, stream: io.StringIO) -> None:
    headers = {"traceparent": TRACED}
    one_shop.as_("storefront").get("/healthz", headers=headers).raise_for_status()
    structlog.get_logger("x").warning("a line")
    assert "trace_id" not in lines(stream, "a line")[0]
