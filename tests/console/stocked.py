"""A shop's data put into a service by its API: products, stock, holds, orders, requests for approval, alerts.

Owns short ways to it for tests and pictures; never looks at the console.
"""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Mapping
from typing import Any

import httpx

_numbers = itertools.count(1)


class Stocked:
    """Clients of one service by role, and what they put into it. `keys`: role -> key."""

    def __init__(self, address: str, keys: Mapping[str, str]) -> None:
        self.address = address
        self._keys = keys
        self._clients: dict[str, httpx.Client] = {}

    def as_(self, role: str) -> httpx.Client:
        """A client of the API with the key of this role."""
        if role not in self._clients:
            headers = {"authorization": f"Bearer {self._keys[role]}"}
            self._clients[role] = httpx.Client(base_url=self.address, headers=headers, timeout=60, trust_env=False)
        return self._clients[role]

    def close(self) -> None:
        """Leave."""
        for client in self._clients.values():
            client.close()

    def sku(self, prefix: str = "T") -> str:
        """A SKU that nobody has."""
        return f"{prefix}-{uuid.uuid4().hex[:8].upper()}"

    def product(self, sku: str = "", *, stock: int = 0, name: str = "", **more: Any) -> str:
        """A product; its SKU."""
        sku = sku or self.sku()
        body = {"name": name or f"Product {sku}", "initial_stock": stock, **more}
        self._done(self.as_("admin").put(f"/inventory/products/{sku}", json=body))
        return sku

    def hold(self, sku: str, quantity: int = 1, **more: Any) -> str:
        """A hold; its id."""
        body = {"customer_id": f"c-{next(_numbers)}", "sku": sku, "quantity": quantity, **more}
        return str(self._done(self.as_("storefront").post("/inventory/reserve", json=body))["id"])

    def sell(self, sku: str, quantity: int = 1, **more: Any) -> str:
        """A hold that became an order; the order's id."""
        order_id = f"order-{uuid.uuid4().hex[:8]}"
        hold = self.hold(sku, quantity, **more)
        self._done(self.as_("storefront").post(f"/inventory/reserve/{hold}/confirm", json={"order_id": order_id}))
        return order_id

    def change(self, sku: str, kind: str, quantity: int, reason: str, role: str = "operator") -> dict[str, Any]:
        """Receive, remove, count or damage: its row, or `approval` when it waits for a second person."""
        if kind == "damage":
            body = {"sku": sku, "quantity": quantity, "reason": reason}
            return self._done(self.as_(role).post("/inventory/damage", json=body))
        body = {"sku": sku, "kind": kind, "quantity": quantity, "reason": reason}
        return self._done(self.as_(role).post("/inventory/adjust", json=body))

    def on_hand(self, sku: str) -> int:
        """Of the counters, now."""
        return int(self._done(self.as_("auditor").get(f"/inventory/products/{sku}/status"))["on_hand"])

    def upload(self, text: str, *, name: str = "stock.csv", mode: str = "set", reason: str = "monthly count") -> str:
        """A file's preview; the import's id."""
        answer = self.as_("operator").post(
            "/inventory/bulk-update", data={"mode": mode, "reason": reason}, files={"file": (name, text, "text/csv")}
        )
        return str(self._done(answer)["id"])

    def _done(self, answer: httpx.Response) -> dict[str, Any]:
        assert answer.is_success, answer.text
        found: dict[str, Any] = answer.json()
        return found
