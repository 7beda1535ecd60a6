"""A service for the tests of the client, and clients of every role over both adapters, sync and async.

`shop` is the storefront's and the admin's client over the kind at hand.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from inventory.context import InventorySettings
from inventory.rules import WebhookRules
from runtime.embedded_postgres import EmbeddedPostgres
from runtime.embedded_redis import EmbeddedRedis
from tests.client.driving import QUICK, open_client
from tests.http.running import KEYS, RunningService

WAYS = [("sync", "protocol"), ("async", "protocol"), ("sync", "asgi"), ("async", "asgi")]


@pytest.fixture(scope="session")
def service(
    session_folder: Path, postgres_server: EmbeddedPostgres, _template_database: str
) -> Iterator[RunningService]:
    server = EmbeddedRedis(session_folder / "client-redis")
    server.start()
    postgres_server.create_database("client_tests", template=_template_database)
    rules = InventorySettings(ledger_timeout_s=30.0, webhooks=WebhookRules(allow_private=True))
    database_url = postgres_server.database_url("client_tests")
    running = RunningService(server.url, database_url, inventory_settings=rules).start()
    yield running
    running.stop()
    server.stop()
    postgres_server.drop_database("client_tests")


class Shop:
    """Clients of one service over one adapter."""

    def __init__(self, running: RunningService, kind: str, adapter: str) -> None:
        self.running = running
        self.kind = kind
        self.url = running.address(adapter)
        self._open = ExitStack()
        self._clients: dict[str, Any] = {}

    def as_(self, role: str) -> Any:
        """The client of a role."""
        if role not in self._clients:
            client = open_client(self.kind, self.url, KEYS[role], retries=QUICK)
            self._clients[role] = self._open.enter_context(client)
        return self._clients[role]

    @property
    def storefront(self) -> Any:
        return self.as_("storefront")

    @property
    def admin(self) -> Any:
        return self.as_("admin")

    def sku(self, stock: int = 10, **settings: Any) -> str:
        """A product of this test alone."""
        sku = f"C-{uuid.uuid4().hex[:12]}"
        self.admin.put_product(sku, f"Product {sku}", initial_stock=stock, **settings)
        return sku

    def level(self, sku: str) -> tuple[int, int]:
        """(on_hand, reserved)."""
        status = self.admin.stock_status(sku)
        return status.on_hand, status.reserved

    def close(self) -> None:
        self._open.close()


@pytest.fixture(params=WAYS, ids="-".join)
def shop(request: pytest.FixtureRequest, service: RunningService) -> Iterator[Shop]:
    shop = Shop(service, *request.param)
    yield shop
    shop.close()


@pytest.fixture(params=WAYS[:2], ids="-".join)
def cold_shop(request: pytest.FixtureRequest, service: RunningService) -> Iterator[Shop]:
    """For what both adapters hand to the same FastAPI."""
    shop = Shop(service, *request.param)
    yield shop
    shop.close()
