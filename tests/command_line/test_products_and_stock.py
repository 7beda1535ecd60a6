"""`holdfast products` and `stock`: the catalogue and the counters as the service has them, page after page."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import redis

from tests.command_line.conftest import Holdfast, one_line
from tests.http.running import RunningService


def test_a_product_is_made_looked_at_and_changed(holdfast: Holdfast, ask: Callable[..., Any]) -> None:
    sku = "PROD 1"
    made = holdfast.json("products", "set", sku, "--name", "Red mug", "-c", "kitchen", "--initial-stock", 7)
    assert (made["sku"], made["name"], made["category"], made["status"]) == (sku, "Red mug", "kitchen", "active")
    changed = holdfast.json("products", "set", sku, "--low-stock-threshold", 5, "--status", "inactive")
    assert (changed["name"], changed["low_stock_threshold"], changed["status"]) == ("Red mug", 5, "inactive")
    assert changed["category"] == "kitchen"
    assert holdfast.json("products", "set", sku, "--category", "")["category"] is None
    changed = holdfast.json("products", "set", sku, "--category", "kitchen")
    assert holdfast.json("products", "show", sku) == changed
    assert ask("GET", f"/inventory/products/{sku}/status")["on_hand"] == 7
    shown = one_line(holdfast.done("products", "show", sku))
    assert "name Red mug category kitchen status inactive low below 5" in shown


def test_what_makes_no_product(holdfast: Holdfast) -> None:
    nameless = holdfast("products", "set", "PROD-NONE", "--category", "kitchen")
    assert nameless.exit_code == 2
    assert "give --name" in nameless.stderr
    nothing = holdfast("products", "set", "PROD-NONE")
    assert nothing.exit_code == 2
    assert "nothing to set" in nothing.stderr
    unknown = holdfast("products", "show", "PROD-NONE")
    assert unknown.exit_code == 1
    assert "unknown-sku" in unknown.stderr


def test_a_list_is_paged_by_itself(holdfast: Holdfast) -> None:
    for number in range(5):
        holdfast.done("products", "set", f"PAGE-{number}", "--name", "Paged", "-c", "paged")
    few = holdfast("products", "list", "-c", "paged", "--limit", 2)
    assert [line.split()[0] for line in few.stdout.splitlines()] == ["sku", "PAGE-0", "PAGE-1"]
    assert "only the first 2" in few.stderr
    everything = holdfast("products", "list", "-c", "paged", "--all")
    assert [line.split()[0] for line in everything.stdout.splitlines()[1:]] == [f"PAGE-{number}" for number in range(5)]
    assert everything.stderr == ""
    exact = holdfast("products", "list", "-c", "paged", "--limit", 5)
    assert exact.stderr == ""
    document = holdfast.json("products", "list", "-c", "paged", "--limit", 3)
    assert [one["sku"] for one in document["items"]] == ["PAGE-0", "PAGE-1", "PAGE-2"]
    assert document["more"] is True
    assert holdfast.json("products", "list", "--search", "page-4")["items"][0]["sku"] == "PAGE-4"
    empty = holdfast("products", "list", "-c", "no such")
    assert (empty.exit_code, empty.stdout) == (0, "")
    assert "no product is like that" in empty.stderr


def test_who_did_what(holdfast: Holdfast) -> None:
    sku = holdfast.sku(5)
    holdfast.done("adjust", "receive", sku, 1, "-r", "delivery")
    assert holdfast("adjust", "remove", sku, 100, "-r", "too much").exit_code == 1
    found = holdfast.json("admin-audit", "--by", "operator", "--from", "1h", "--all", key="auditor")["items"]
    mine = [(one["action"], one["status"], one["code"]) for one in found if one["target"] == sku]
    assert mine == [("adjust", 409, "insufficient-stock"), ("adjust", 201, None), ("put_product", 201, None)]
    assert sku in holdfast.done("admin-audit", "--action", "adjust", "--limit", 2, key="auditor")
    assert holdfast("admin-audit", key="storefront").exit_code == 1


def test_counters_and_ledger(holdfast: Holdfast, service: RunningService, wait_until: Callable[..., None]) -> None:
    sku = holdfast.sku(5)
    found = holdfast.json("reconciliation", key="auditor")
    assert (found["status"], found["drift"]) == ("ok", [])
    assert "ok: " in holdfast.done("reconciliation", key="auditor")
    with redis.Redis.from_url(service.redis_url) as client:
        before = client.hget("{h00}:stock", sku)
        assert isinstance(before, bytes)
        client.hset("{h00}:stock", sku, b"4" + before[1:])
        try:
            # Who asks within a second of somebody else gets the same answer.
            wait_until(lambda: holdfast("reconciliation", key="auditor").exit_code == 1, 30, "it is seen")
            result = holdfast("reconciliation", key="auditor")
            told = holdfast("reconciliation", "--json", key="auditor")
        finally:
            client.hset("{h00}:stock", sku, before)
    assert result.exit_code == told.exit_code == 1
    assert f"{sku}: on_hand 4, expected 5" in result.stdout
    assert json.loads(told.stdout)["drift_found"] == 1


def test_stock_live_low_and_out(holdfast: Holdfast) -> None:
    plenty, low, out = holdfast.sku(100), holdfast.sku(3, low_stock_threshold=5), holdfast.sku(0)
    holdfast.done("reserve", f"{plenty}=40", "--customer", "ann", key="storefront")
    shown = holdfast.done("stock", plenty, low, out)
    rows = {line.split()[0]: line.split() for line in shown.splitlines()[1:]}
    assert rows[plenty][1:5] == ["100", "40", "60", "IN_STOCK"]
    assert rows[low][1:5] == ["3", "0", "3", "LOW_STOCK"]
    assert rows[out][1:5] == ["0", "0", "0", "OUT_OF_STOCK"]
    assert low in {one["sku"] for one in holdfast.json("stock", "--low")["items"]}
    sold_out = {one["sku"] for one in holdfast.json("stock", "--out", "--all")["items"]}
    assert out in sold_out
    assert low not in sold_out
    levels = {one["sku"]: one for one in holdfast.json("stock", "--all")["items"]}
    assert levels[low]["on_hand"] == 3
    assert holdfast("stock", plenty, "--low").exit_code == 2
    assert holdfast("stock", plenty, "NO-SUCH-SKU").exit_code == 1
