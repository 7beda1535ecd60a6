"""An operator's day on the whole service, as `holdfast up` runs it: receive, import, sell, alert, damage, return,
approve, export, reconcile. Every number is known beforehand; at the end counters, ledger and levels must tell it.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis

from runtime.data_folder import read_running_servers
from tests.runtime.up_process import Up, clean_environment
from tests.waiting import wait_until

CATEGORY = "kitchen"
STREAM = "holdfast:orders"
HOLDFAST = (sys.executable, "-c", "from runtime.cli import main; main()")


class Day:
    """One service, a key for each person, and short ways to what they do."""

    def __init__(self, up: Up) -> None:
        self.up = up
        self.admin = up.client()
        self.storefront = up.client("storefront")
        self.operator, self.manager, self.auditor = (self._person(role) for role in ("operator", "manager", "auditor"))

    def _person(self, role: str) -> httpx.Client:
        made = self.must(self.admin.post("/admin/keys", json={"name": role, "role": role}), 201)
        headers = {"Authorization": f"Bearer {made['key']}"}
        return httpx.Client(base_url=self.up.url, headers=headers, timeout=60, trust_env=False)

    def close(self) -> None:
        for client in (self.admin, self.storefront, self.operator, self.manager, self.auditor):
            client.close()

    @staticmethod
    def must(answer: httpx.Response, status: int = 200) -> Any:
        assert answer.status_code == status, answer.text
        return answer.json()

    @staticmethod
    def refused(answer: httpx.Response, status: int, code: str) -> Any:
        assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
        return answer.json()

    def stock(self, sku: str) -> tuple[int, int, str]:
        """(on_hand, reserved, status) as the operator sees it."""
        seen = self.must(self.operator.get(f"/inventory/{sku}/status"))
        return seen["on_hand"], seen["reserved"], seen["status"]

    def hold(self, lines: dict[str, int], **more: Any) -> str:
        body = {"customer_id": "ann", "lines": [{"sku": s, "quantity": q} for s, q in lines.items()], **more}
        return str(self.must(self.storefront.post("/inventory/reserve", json=body), 201)["id"])

    def upload(self, content: bytes, name: str, mode: str, reason: str) -> Any:
        return self.operator.post(
            "/inventory/bulk-update", files={"file": (name, content)}, data={"mode": mode, "reason": reason}
        )

    def alert(self, sku: str) -> Any:
        """The newest alert of a SKU."""
        found = self.must(self.operator.get("/inventory/alerts", params={"sku": sku}))["items"]
        return found[0] if found else {"status": None}

    def ledger(self, sku: str) -> list[dict[str, Any]]:
        """Every row of a SKU, oldest first, page by page."""
        rows: list[dict[str, Any]] = []
        cursor: str | None = None
        while True:
            params = {"limit": 3} | ({"cursor": cursor} if cursor else {})
            page = self.must(self.auditor.get(f"/inventory/transactions/{sku}", params=params))
            rows += page["items"]
            cursor = page["next_cursor"]
            if cursor is None:
                return rows[::-1]

    def orders_stream(self) -> redis.Redis:
        servers = read_running_servers(self.up.data_dir)
        assert servers is not None
        return redis.Redis.from_url(servers.redis_url)


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Day]:
    # Beside pytest's own folders: the path of a unix socket is short.
    up = Up(tmp_path_factory.mktemp("d") / "data").wait_until_ready()
    day = Day(up)
    yield day
    day.close()
    up.stop()


def test_a_day_in_the_shop(day: Day, tmp_path: Path) -> None:
    # --- the catalogue, and what each may do
    for sku, threshold in (("TEAPOT", 10), ("SAUCER", 0), ("-SPOON", 0)):
        body = {"name": f"={sku.title()}", "category": CATEGORY, "low_stock_threshold": threshold}
        day.must(day.operator.put(f"/inventory/products/{sku}", json=body), 201)
    day.refused(day.auditor.put("/inventory/products/TEAPOT", json={"name": "x"}), 403, "forbidden")

    # --- receive: with a reason, once whatever is repeated
    delivery = {"sku": "TEAPOT", "kind": "receive", "quantity": 40, "reason": "spring delivery", "reference": "D-17"}
    key = {"Idempotency-Key": "delivery-17"}
    row = day.must(day.operator.post("/inventory/adjust", json=delivery, headers=key), 201)
    assert (row["transaction_type"], row["quantity"], row["new_stock"]) == ("IN", 40, 40)
    assert day.must(day.operator.post("/inventory/adjust", json=delivery, headers=key), 201) == row
    day.refused(day.operator.post("/inventory/adjust", json={**delivery, "reason": "x"}), 422, "validation-error")

    # --- approve: a large change waits for somebody else
    container = {"sku": "SAUCER", "kind": "receive", "quantity": 5000, "reason": "container"}
    pending = day.must(day.manager.post("/inventory/adjust", json=container), 202)["approval"]
    assert pending["status"] == "PENDING"
    approve = f"/inventory/approvals/{pending['id']}/approve"
    day.refused(day.operator.post(approve), 403, "forbidden")
    day.refused(day.manager.post(approve), 403, "self-approval")
    assert day.stock("SAUCER")[0] == 0
    assert day.must(day.admin.post(approve))["status"] == "APPROVED"
    assert day.stock("SAUCER") == (5000, 0, "IN_STOCK")

    # --- import: a preview that moves nothing, every bad row at once, then applied whole
    bad = day.must(day.upload(b"sku,quantity\nTEAPOT,x\nNOBODY,1\n", "a.csv", "set", "stock take"), 201)
    assert {(error["row"], error["column"]) for error in bad["errors"]} == {(2, "quantity"), (3, "sku")}
    day.refused(day.operator.post(f"/inventory/bulk-update/{bad['id']}/apply"), 409, "preview-has-errors")
    listed = day.must(
        day.upload(b"sku,quantity,note\nTEAPOT,38,two broken\n-SPOON,12,\n", "b.csv", "set", "count"), 201
    )
    assert [(c["sku"], c["current"], c["new"], c["delta"]) for c in listed["changes"]] == [
        ("TEAPOT", 40, 38, -2),
        ("-SPOON", 0, 12, 12),
    ]
    assert day.stock("TEAPOT")[0] == 40
    applied = day.must(day.operator.post(f"/inventory/bulk-update/{listed['id']}/apply"))
    assert (applied["status"], applied["transactions"]) == ("APPLIED", 2)
    assert (day.stock("TEAPOT")[0], day.stock("-SPOON")[0]) == (38, 12)

    # --- sell: by HTTP, and by the stream
    hold = day.hold({"TEAPOT": 20, "SAUCER": 20})
    sold = {"type": "order.created", "order_id": "O-1", "reservation_ids": [hold]}
    assert day.must(day.storefront.post("/inventory/orders", json=sold))["status"] == "COMPLETED"
    second = day.hold({"TEAPOT": 10})
    with day.orders_stream() as stream:
        event = {"type": "order.created", "order_id": "O-2", "reservation_ids": [second]}
        stream.xadd(STREAM, {"event": json.dumps(event)})
        nonsense = stream.xadd(STREAM, {"event": "nonsense"})
    wait_until(lambda: day.stock("TEAPOT")[:2] == (8, 0), 20, "the order of the stream is sold")
    letters = "/inventory/orders/dead-letters"
    (letter,) = wait_until(lambda: day.must(day.auditor.get(letters))["items"], 20, "nonsense is set aside")
    assert (letter["stream_id"], letter["code"]) == (nonsense.decode(), "malformed-json")  # type: ignore[union-attr]

    # --- alert: eight are left of ten
    low = day.must(day.operator.get("/inventory/low-stock"))["items"]
    assert [(one["sku"], one["available"]) for one in low] == [("TEAPOT", 8)]
    wait_until(lambda: day.alert("TEAPOT")["status"] in {"PENDING", "NOTIFIED"}, 20, "an alert")

    # --- damage: never what a customer holds
    kept = day.hold({"TEAPOT": 6})
    damage = {"sku": "TEAPOT", "quantity": 3, "reason": "fell off the shelf"}
    short = day.refused(day.operator.post("/inventory/damage", json=damage), 409, "insufficient-stock")
    assert [one["available"] for one in short["shortages"]] == [2]
    day.must(day.operator.post("/inventory/damage", json={**damage, "quantity": 1}), 201)
    day.must(day.storefront.delete(f"/inventory/reserve/{kept}"))

    # --- return and cancel: never more than was sold
    items = [{"sku": "TEAPOT", "quantity": 5}]
    back = {"order_id": "O-1", "items": items, "reason": "wrong colour"}
    (returned,) = day.must(day.operator.post("/inventory/return", json=back), 201)["transactions"]
    assert (returned["transaction_type"], returned["quantity"]) == ("RETURN", 5)
    too_many = {**back, "items": [{"sku": "TEAPOT", "quantity": 16}]}
    day.refused(day.operator.post("/inventory/return", json=too_many), 409, "return-exceeds-order")
    cancelled = {"type": "order.cancelled", "order_id": "O-1", "reason": "lost on the way"}
    rows = day.must(day.storefront.post("/inventory/orders", json=cancelled))["transactions"]
    assert {(one["sku"], one["quantity"]) for one in rows} == {("TEAPOT", 15), ("SAUCER", 20)}
    assert day.stock("TEAPOT") == (27, 0, "IN_STOCK")
    wait_until(lambda: day.alert("TEAPOT")["status"] == "RESOLVED", 20, "the alert ends by itself")

    # --- export, and the same file in again: nothing changes
    exported = day.auditor.get("/inventory/export", params={"category": CATEGORY})
    found = {row["sku"]: row for row in csv.DictReader(io.StringIO(exported.text, newline=""))}
    assert {sku: int(row["on_hand"]) for sku, row in found.items()} == {"TEAPOT": 27, "SAUCER": 5000, "'-SPOON": 12}
    assert found["TEAPOT"]["name"] == "'=Teapot"
    for kind in ("csv", "xlsx"):
        file = day.auditor.get("/inventory/export", params={"category": CATEGORY, "format": kind}).content
        again = day.must(day.upload(file, f"stock.{kind}", "set", "the same again"), 201)
        assert (again["valid"], again["errors"], again["changes"]) == (3, [], [])

    # --- a wrong import is taken back
    wrong = day.must(day.upload(b"sku,quantity\nSAUCER,500\n", "c.csv", "add", "wrong shelf"), 201)
    day.must(day.operator.post(f"/inventory/bulk-update/{wrong['id']}/apply"))
    assert day.stock("SAUCER")[0] == 5500
    day.must(day.operator.post(f"/inventory/bulk-update/{wrong['id']}/revert"))
    assert day.stock("SAUCER")[0] == 5000

    # --- reconcile: the ledger tells the whole day, and everything agrees
    teapot = day.ledger("TEAPOT")
    assert [(one["transaction_type"], one["quantity"]) for one in teapot] == [
        ("IN", 40),
        ("ADJUSTMENT", -2),
        ("OUT", -20),
        ("OUT", -10),
        ("DAMAGE", -1),
        ("RETURN", 5),
        ("IN", 15),
    ]
    for before, after in itertools.pairwise(teapot):
        assert after["previous_stock"] == before["new_stock"]
    for sku in ("TEAPOT", "SAUCER", "-SPOON"):
        assert sum(one["quantity"] for one in day.ledger(sku)) == day.stock(sku)[0]
    agreed = day.must(day.auditor.get("/inventory/reconciliation"))
    assert (agreed["status"], agreed["drift"]) == ("ok", [])
    for command in (["audit"], ["jobs"], ["export", str(tmp_path / "stock.xlsx")]):
        done = subprocess.run(
            [
                sys.executable,
                "-c",
                "from runtime.cli import main; main()",
                *command,
                "--data-dir",
                str(day.up.data_dir),
            ],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env=clean_environment(),
        )
        assert done.returncode == 0, f"{command}: {done.stdout}\n{done.stderr}"
    assert os.path.getsize(tmp_path / "stock.xlsx") > 1000
