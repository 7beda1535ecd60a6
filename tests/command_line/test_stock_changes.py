"""`holdfast adjust`, `transactions` and `approvals`: what is typed reaches the ledger once, and never in silence."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.command_line.conftest import Holdfast, one_line


def test_every_change_is_a_row_of_the_ledger(holdfast: Holdfast, ask: Callable[..., Any]) -> None:
    sku = holdfast.sku(10)
    received = holdfast.json("adjust", "receive", sku, 5, "--reason", "delivery", "--reference", "DN-1")
    assert (received["quantity"], received["new_stock"], received["reference_id"]) == (5, 15, "DN-1")
    assert holdfast.json("adjust", "remove", sku, 3, "-r", "samples")["new_stock"] == 12
    assert holdfast.json("adjust", "damage", sku, 2, "-r", "dropped")["transaction_type"] == "DAMAGE"
    assert holdfast.json("adjust", "count", sku, 20, "-r", "counted")["quantity"] == 10
    rows = ask("GET", f"/inventory/transactions/{sku}")["items"]
    assert [row["quantity"] for row in rows] == [10, -2, -3, 5, 10]
    assert {row["created_by"] for row in rows} == {"operator"}
    listed = holdfast.json("transactions", sku)
    assert [row["id"] for row in listed["items"]] == [row["id"] for row in rows]
    assert listed["more"] is False
    assert [row["quantity"] for row in holdfast.json("transactions", sku, "--type", "damage")["items"]] == [-2]
    assert holdfast.json("transactions", sku, "--from", "1h", "--limit", 2)["more"] is True
    assert holdfast.json("transactions", sku, "--to", "1h")["items"] == []
    shown = holdfast.done("adjust", "receive", sku, 1, "-r", "one more")
    assert "20 -> 21" in shown
    assert "idempotency key" not in shown


def test_units_come_back_from_an_order(holdfast: Holdfast) -> None:
    sku = holdfast.sku(10)
    hold = holdfast.json("reserve", f"{sku}=4", "--customer", "ann", key="storefront")
    holdfast.done("reservations", "confirm", hold["id"], "--order", f"order-{sku}", key="admin")
    back = holdfast.json("adjust", "return", f"order-{sku}", f"{sku}=3", "-r", "wrong colour")
    assert [row["transaction_type"] for row in back["transactions"]] == ["RETURN"]
    result = holdfast("adjust", "return", f"order-{sku}", f"{sku}=2", "-r", "wrong colour")
    assert result.exit_code == 1
    assert "return-exceeds-order" in result.stderr


def test_the_same_key_changes_nothing_again(holdfast: Holdfast, ask: Callable[..., Any]) -> None:
    sku = holdfast.sku(10)
    first = holdfast("adjust", "receive", sku, 5, "-r", "delivery")
    key = first.stderr.split("idempotency key ")[1].split()[0]
    again = holdfast("adjust", "receive", sku, 5, "-r", "delivery", "--idempotency-key", key)
    assert again.exit_code == 0
    assert again.stdout == first.stdout
    assert ask("GET", f"/inventory/products/{sku}/status")["on_hand"] == 15
    other = holdfast("adjust", "receive", sku, 6, "-r", "delivery", "--idempotency-key", key)
    assert other.exit_code == 1
    assert "Leave --idempotency-key out" in other.stderr
    assert ask("GET", f"/inventory/products/{sku}/status")["on_hand"] == 15


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("receive", "SKU", 5), 2, "--reason"),
        (("receive", "SKU", 0, "-r", "why not"), 2, "greater than or equal to 1"),
        (("receive", "SKU", 5, "-r", "no"), 1, "validation-error"),
        (("receive", "NO-SUCH-SKU", 5, "-r", "delivery"), 1, "holdfast products list --search"),
        (("remove", "SKU", 11, "-r", "samples"), 1, "insufficient-stock"),
    ],
    ids=["no reason", "nothing", "short reason", "unknown", "too much"],
)
def test_what_is_refused_changes_nothing(
    holdfast: Holdfast, ask: Callable[..., Any], words: tuple[object, ...], code: int, says: str
) -> None:
    sku = holdfast.sku(10)
    result = holdfast("adjust", *(sku if word == "SKU" else word for word in words))
    assert result.exit_code == code
    assert says in one_line(result.output)
    assert result.stdout == ""
    assert ask("GET", f"/inventory/products/{sku}/status")["on_hand"] == 10


def test_a_large_change_waits_for_another_person(holdfast: Holdfast, ask: Callable[..., Any]) -> None:
    sku = holdfast.sku(10)
    waiting = holdfast("adjust", "receive", sku, 1001, "-r", "container", key="manager")
    assert waiting.exit_code == 0
    assert "nothing has moved" in waiting.stderr
    approval = holdfast.json("approvals", "list", "--status", "pending")["items"][0]["id"]
    assert approval in waiting.stdout
    assert "approval" in holdfast.json("adjust", "receive", sku, 1002, "-r", "container", key="manager")
    mine = holdfast("approvals", "approve", approval, "--yes", key="manager")
    assert mine.exit_code == 1
    assert "self-approval" in mine.stderr
    assert holdfast("approvals", "approve", approval, "--yes", key="operator").exit_code == 1
    unasked = holdfast("approvals", "approve", approval, key="admin")
    assert unasked.exit_code == 2
    assert "--yes" in unasked.stderr
    assert ask("GET", f"/inventory/products/{sku}/status")["on_hand"] == 10
    decided = holdfast.done("approvals", "approve", approval, "--yes", "--reason", "counted it", key="admin")
    assert "APPROVED" in decided
    assert "10 -> 1,011" in decided
    assert ask("GET", f"/inventory/products/{sku}/status")["on_hand"] == 1011
    assert "counted it" in holdfast.done("approvals", "show", approval)
    again = holdfast("approvals", "reject", approval, "--yes", key="admin")
    assert again.exit_code == 1
    assert "approval-decided" in again.stderr
