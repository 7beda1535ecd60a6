"""Every operation of the contract while Redis or Postgres is away or hangs: an answer in time, and never a mistake.

What still can be answered is; all else is a 503 that says when to come back. The requests are good ones, made of the
contract's own examples and of things that are there.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from api.services import ApiSettings
from inventory.context import InventorySettings
from inventory.rules import WebhookRules
from persistence.migrate import upgrade
from runtime.embedded_postgres import EmbeddedPostgres
from runtime.embedded_redis import EmbeddedRedis
from tests.http.conftest import Shop
from tests.http.running import RunningService
from tests.http.test_readiness import stopped
from tests.waiting import wait_until

Servers = tuple[EmbeddedRedis, EmbeddedPostgres]
OpenShop = Callable[[float], Shop]
AT_A_TIME = 8
LEDGER_S = 30.0
"""What the service waits for the ledger while all is well: a machine that is busy is no failure."""
AWAY_S = 1.0
"""What it waits while a server is away: as many waits follow each other as there are operations."""
PATIENCE_S = 40.0
"""Longer than anything here may take on a machine that is busy; a client gives up long before a hang would end."""
ENDLESS = {"/inventory/events"}
"""Answers that go on: looked at by their beginning."""


@pytest.fixture
def servers(make_redis: Callable[..., EmbeddedRedis], make_postgres: Callable[..., EmbeddedPostgres]) -> Servers:
    redis, postgres = make_redis(), make_postgres()
    postgres.create_database("shop")
    upgrade(postgres.database_url("shop"))
    return redis, postgres


@pytest.fixture
def open_shop(servers: Servers, make_service: Callable[..., RunningService]) -> Iterator[OpenShop]:
    """`open_shop(seconds)`: a service on these servers that waits so long for the ledger."""
    redis, postgres = servers
    opened: list[Shop] = []

    def open_one(ledger_timeout_s: float) -> Shop:
        rules = InventorySettings(ledger_timeout_s=ledger_timeout_s, webhooks=WebhookRules(allow_private=True))
        settings = ApiSettings(ledger_timeout_s=ledger_timeout_s, import_wait_s=ledger_timeout_s)
        running = make_service(settings, None, rules, redis=redis.url, database=postgres.database_url("shop"))
        shop = Shop(running, "protocol")
        opened.append(shop)
        wait_until(lambda: shop.as_("nobody").get("/readyz").status_code == 200, what="readiness")
        return shop

    yield open_one
    for shop in opened:
        shop.close()


@pytest.fixture
def operations(open_shop: OpenShop) -> Operations:
    """Made by a service that is patient, and is gone now."""
    patient = open_shop(LEDGER_S)
    operations = Operations(patient)
    patient.running.stop()
    return operations


class Operations:
    """One good request for each operation that the contract describes."""

    def __init__(self, shop: Shop) -> None:
        self._admin = shop.as_("admin")
        self._admin.timeout = PATIENCE_S
        self._document = self._admin.get("/openapi.json").json()
        self._sku = f"A-{uuid.uuid4().hex[:8]}"
        self._put()
        self._ids = self._made()

    def _put(self) -> None:
        body = {"name": "Lamp", "low_stock_threshold": 100, "initial_stock": 50}
        self._admin.put(f"/inventory/products/{self._sku}", json=body).raise_for_status()

    def _made(self) -> dict[str, str]:
        """Ids of things that are there, by the path that they stand behind."""

        def id_of(answer: httpx.Response) -> str:
            return str(answer.raise_for_status().json()["id"])

        admin, line = self._admin, {"sku": self._sku, "quantity": 1}
        many = {"sku": self._sku, "kind": "receive", "quantity": 5000, "reason": "a container"}
        form = {"mode": "add", "reason": "a delivery"}
        file = {"file": ("s.csv", f"sku,quantity\n{self._sku},1\n".encode())}
        return {
            "/inventory/reserve": id_of(admin.post("/inventory/reserve", json={"customer_id": "ann", **line})),
            "/inventory/approvals": admin.post("/inventory/adjust", json=many).json()["approval"]["id"],
            "/inventory/bulk-update": id_of(admin.post("/inventory/bulk-update", data=form, files=file)),
            "/admin/webhooks": id_of(
                admin.post("/admin/webhooks", json={"url": "http://127.0.0.1:8099/x", "events": ["*"]})
            ),
            "/admin/keys": id_of(admin.post("/admin/keys", json={"name": "till", "role": "storefront"})),
            "/admin/jobs": "digest",
        }

    def each(self) -> list[tuple[str, dict[str, Any]]]:
        """(name, arguments of httpx.Client.stream) of each, those that end things last."""
        found = [
            (f"{method.upper()} {path}", self._request(method.upper(), path, operation))
            for path, operations in self._document["paths"].items()
            for method, operation in operations.items()
        ]
        assert len(found) > 50
        return sorted(found, key=lambda one: one[1]["method"] == "DELETE")

    def _request(self, method: str, path: str, operation: dict[str, Any]) -> dict[str, Any]:
        begin = re.split(r"/\{", path)[0]
        filled = path.replace("{sku}", self._sku).replace("{delivery_id}", "1")
        filled = re.sub(r"\{\w+\}", self._ids.get(begin, "1"), filled)
        request: dict[str, Any] = {"method": method, "url": filled}
        if path == "/inventory/availability":
            request["params"] = {"sku": self._sku}
        content = operation.get("requestBody", {}).get("content", {})
        if "multipart/form-data" in content:
            text = f"sku,name,quantity\n{self._sku},Lamp,1\n"
            request["files"] = {"file": ("s.csv", text.encode())}
            request["data"] = {"mode": "add", "reason": "a delivery"} if path.endswith("bulk-update") else {}
        elif "application/json" in content:
            (example, *_) = content["application/json"]["examples"].values()
            text = httpx.Response(200, json=example["value"]).text
            request["content"] = re.sub(r'"sku":\s*"[^"]*"', f'"sku":"{self._sku}"', text)
            request["headers"] = {"content-type": "application/json"}
        return request


@contextmanager
def away(server: EmbeddedRedis | EmbeddedPostgres, how: str) -> Iterator[None]:
    """`gone`: stopped, and started again afterwards. `hangs`: it keeps its connections and says nothing."""
    if how == "gone":
        server.stop()
        yield
        server.start()
        return
    with stopped(server):
        yield


def check_all(shop: Shop, operations: Operations) -> dict[str, int]:
    """Every operation is answered as it should; name -> status. Several at a time, those that end things last."""
    wanted = list(operations.each())
    ending = [one for one in wanted if one[1]["method"] == "DELETE"]
    statuses: dict[str, int] = {}
    wrong = []
    with ThreadPoolExecutor(AT_A_TIME) as threads:
        for some in (wanted[: -len(ending)], ending):
            for name, status, trouble in threads.map(lambda one: _asked(shop, *one), some):
                statuses[name] = status
                wrong += [f"{name}: {trouble}"] if trouble else []
    assert not wrong, "\n".join(wrong)
    return statuses


def _asked(shop: Shop, name: str, request: dict[str, Any]) -> tuple[str, int, str]:
    """(name, status, what is wrong with the answer)."""
    try:
        with shop.as_("admin").stream(**request) as answer:
            status = answer.status_code
            if status < 400 and any(path in name for path in ENDLESS):
                return name, status, ""
            text = answer.read().decode(errors="replace")
    except httpx.TransportError as error:
        return name, 0, repr(error)
    told = status == 503 and int(answer.headers.get("retry-after", "0")) > 0
    return name, status, f"{status} {text[:200]}" if status >= 500 and not told else ""


def test_while_all_is_well(operations: Operations, open_shop: OpenShop) -> None:
    statuses = check_all(open_shop(LEDGER_S), operations)
    assert sum(status < 300 for status in statuses.values()) > 40, statuses
    assert not [name for name, status in statuses.items() if status == 503]


@pytest.mark.parametrize("how", ["gone", "hangs"])
def test_while_postgres_is_away(servers: Servers, operations: Operations, open_shop: OpenShop, how: str) -> None:
    _, postgres = servers
    shop = open_shop(AWAY_S)
    with away(postgres, how):
        statuses = check_all(shop, operations)
        assert sum(status == 503 for status in statuses.values()) > 30, statuses
    wait_until(lambda: shop.as_("nobody").get("/readyz").status_code == 200, timeout_s=60, what="readiness")


@pytest.mark.parametrize("how", ["gone", "hangs"])
def test_while_redis_is_away(servers: Servers, operations: Operations, open_shop: OpenShop, how: str) -> None:
    redis, _ = servers
    shop = open_shop(AWAY_S)
    with away(redis, how):
        statuses = check_all(shop, operations)
        assert sum(status == 503 for status in statuses.values()) > 15, statuses
    wait_until(lambda: shop.as_("nobody").get("/readyz").status_code == 200, timeout_s=60, what="readiness")
