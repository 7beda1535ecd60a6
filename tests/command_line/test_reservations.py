"""`holdfast reserve`, `reservations` and `orders`: a hold from the command line, to its end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.command_line.conftest import Holdfast, one_line


def level(ask: Callable[..., Any], sku: str) -> tuple[int, int]:
    status = ask("GET", f"/inventory/products/{sku}/status")
    return status["on_hand"], status["reserved"]


def test_a_hold_is_made_amended_confirmed_and_its_order_cancelled(holdfast: Holdfast, ask: Callable[..., Any]) -> None:
    mug, pot = holdfast.sku(10), holdfast.sku(10)
    hold = holdfast.json("reserve", f"{mug}=2", pot, "--customer", "ann", "--ttl", 600, key="storefront")
    assert hold["status"] == "ACTIVE"
    assert {line["sku"]: line["quantity"] for line in hold["lines"]} == {mug: 2, pot: 1}
    assert 0 < hold["expires_in_seconds"] <= 600
    amended = holdfast.json("reservations", "amend", hold["id"], f"{mug}=3", "--ttl", 900, key="storefront")
    assert amended["lines"] == [{"sku": mug, "quantity": 3}]
    assert (level(ask, mug), level(ask, pot)) == ((10, 3), (10, 0))
    assert f"{mug}=3" in holdfast.done("reservations", "show", hold["id"])
    sold = holdfast.json("reservations", "confirm", hold["id"], "--order", f"O-{mug}", key="storefront")
    assert (sold["status"], sold["order_id"]) == ("COMPLETED", f"O-{mug}")
    assert level(ask, mug) == (7, 0)
    cancelled = holdfast.json("orders", "cancel", f"O-{mug}", "--reason", "paid twice", "--yes", key="storefront")
    assert cancelled["status"] == "CANCELLED"
    assert level(ask, mug) == (10, 0)
    assert holdfast("reservations", "confirm", hold["id"], "--order", "other", key="storefront").exit_code == 1


def test_holds_are_released_only_when_somebody_agrees(holdfast: Holdfast, ask: Callable[..., Any]) -> None:
    sku = holdfast.sku(10)
    holds = [holdfast.json("reserve", sku, "--customer", "ann", key="storefront")["id"] for _ in range(2)]
    refused = holdfast("reservations", "release", *holds, key="storefront")
    assert refused.exit_code == 2
    assert "give --yes" in refused.stderr
    assert level(ask, sku) == (10, 2)
    released = holdfast.json("reservations", "release", *holds, "--yes", key="storefront")
    assert [one["status"] for one in released["items"]] == ["CANCELLED", "CANCELLED"]
    assert level(ask, sku) == (10, 0)


def test_a_shortage_names_what_is_there(holdfast: Holdfast) -> None:
    sku = holdfast.sku(2)
    result = holdfast("reserve", f"{sku}=5", "--customer", "ann", key="storefront")
    assert result.exit_code == 1
    assert f"{sku} 5 2" in one_line(result.stderr)
    assert "insufficient-stock" in result.stderr
    partial = holdfast.done("reserve", f"{sku}=5", "--customer", "ann", "--partial", key="storefront")
    assert "5 asked for, 2 held" in partial


def test_a_reserve_repeated_with_its_key_holds_once(holdfast: Holdfast, ask: Callable[..., Any]) -> None:
    sku = holdfast.sku(10)
    words = ("reserve", f"{sku}=2", "--customer", "ann", "--idempotency-key", f"key-{sku}")
    first, second = holdfast.json(*words, key="storefront"), holdfast.json(*words, key="storefront")
    assert first["id"] == second["id"]
    assert level(ask, sku) == (10, 2)


def test_they_are_found(holdfast: Holdfast, eventually_listed: Callable[..., list[dict[str, Any]]]) -> None:
    sku = holdfast.sku(10)
    hold = holdfast.json("reserve", sku, "--customer", f"customer-{sku}", key="storefront")
    for words in (("--sku", sku), ("--customer", f"customer-{sku}", "--status", "active")):
        assert eventually_listed("reservations", "list", *words)[0]["id"] == hold["id"]
    shown = holdfast.done("reservations", "list", "--sku", sku)
    assert hold["id"] in shown
    assert "ACTIVE" in shown


@pytest.mark.parametrize("word", ["=2", "SKU=", "SKU=x", "SKU=-1", "SKU=1.5", "SKU=٣"])
def test_lines_that_cannot_be_meant(holdfast: Holdfast, word: str) -> None:
    result = holdfast("reserve", word, "--customer", "ann", key="storefront")
    assert result.exit_code == 2
    assert "is not SKU=UNITS" in result.stderr


@pytest.fixture
def eventually_listed(holdfast: Holdfast, wait_until: Callable[..., Any]) -> Callable[..., list[dict[str, Any]]]:
    """The items of a list that comes from the ledger, once it has any."""

    def listed(*words: object) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []

        def there() -> bool:
            found[:] = holdfast.json(*words)["items"]
            return bool(found)

        wait_until(there, 30, "the ledger has it")
        return found

    return listed
