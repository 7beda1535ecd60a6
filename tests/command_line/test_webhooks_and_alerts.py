"""`holdfast webhooks` and `alerts`: what administrators look after."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg

from persistence.database_url import psycopg_url
from tests.command_line.conftest import Holdfast
from tests.http.running import RunningService


def test_a_webhook_from_its_making_to_its_end(holdfast: Holdfast, ask: Callable[..., Any]) -> None:
    made = holdfast.json("webhooks", "create", "http://127.0.0.1:8089/hook", "-e", "stock.*", key="admin")
    webhook = made["id"]
    assert made["secret"].startswith("whsec_")
    assert made["secret"] not in holdfast.done("webhooks", "show", webhook, key="admin")
    assert made["secret"] not in holdfast.done("webhooks", "list", "--json", key="admin")
    assert webhook in holdfast.done("webhooks", "list", key="admin")
    assert holdfast.json("webhooks", "disable", webhook, key="admin")["status"] == "disabled"
    refused = holdfast("webhooks", "test", webhook, key="admin")
    assert refused.exit_code == 1
    assert "holdfast webhooks enable" in refused.stderr
    assert holdfast.json("webhooks", "enable", webhook, key="admin")["status"] == "active"
    delivery = holdfast.json("webhooks", "test", webhook, key="admin")
    assert delivery["type"] == "webhook.test"
    listed = holdfast.json("webhooks", "deliveries", webhook, key="admin")["items"]
    assert [one["id"] for one in listed] == [delivery["id"]]
    assert holdfast.json("webhooks", "retry", webhook, delivery["id"], key="admin")["id"] == delivery["id"]
    rotated = holdfast.done("webhooks", "rotate-secret", webhook, "--yes", key="admin")
    assert "whsec_" in rotated
    assert made["secret"] not in rotated
    assert holdfast("webhooks", "delete", webhook, key="admin").exit_code == 2
    assert holdfast.json("webhooks", "delete", webhook, "--yes", key="admin") == {"id": webhook, "deleted": True}
    assert holdfast("webhooks", "show", webhook, key="admin").exit_code == 1


def test_an_operator_makes_no_webhooks(holdfast: Holdfast) -> None:
    result = holdfast("webhooks", "create", "https://shop.example.com/hook")
    assert result.exit_code == 1
    assert "forbidden" in result.stderr
    assert "webhooks admin" in result.stderr


def test_an_alert_is_listed_and_resolved(holdfast: Holdfast, service: RunningService) -> None:
    sku = holdfast.sku(2, low_stock_threshold=5)
    with psycopg.connect(psycopg_url(service.database_url), autocommit=True) as connection:
        # The evaluator is a follower of the worker process, which does not run here.
        (alert_id,) = connection.execute(
            "INSERT INTO alerts (sku, kind, status, episode, available, threshold, raised_at, changed_at, partition,"
            " epoch, seq) VALUES (%s, 'LOW_STOCK', 'PENDING', 'open', 2, 5, now(), now(), 0, 1, 1) RETURNING id",
            (sku,),
        ).fetchone() or (0,)
    (listed,) = holdfast.json("alerts", "list", "--sku", sku)["items"]
    assert (listed["id"], listed["available_now"]) == (alert_id, 2)
    assert sku in holdfast.done("alerts", "list", "--status", "pending")
    assert holdfast.json("alerts", "resolve", alert_id)["resolved_by"] == "operator"
    assert holdfast.json("alerts", "list", "--sku", sku, "--status", "PENDING")["items"] == []
    assert holdfast("alerts", "resolve", 10**6).exit_code == 1


def test_no_order_event_is_waiting(holdfast: Holdfast) -> None:
    assert holdfast.json("orders", "dead-letters") == {"items": [], "more": False}
    assert holdfast("orders", "retry", 17).exit_code == 1
