"""lua/commands/adjust.lua: every status in precedence order, and what it writes."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from engine.events import Adjusted
from engine.results import Movement, Result, Shortage
from tests.scripts.machine import MINUTE_MS, START_MS, Machine, member

PRINT = "a" * 16


@pytest.fixture
def shop(machine: Machine) -> Machine:
    machine.stock("A", 10)
    machine.stock("B", 5)
    machine.stock("OFF", 5, active=False)
    return machine


def unchanged(shop: Machine, status: str, *lines: tuple[str, Any, int], **more: Any) -> Result:
    before = shop.dump()
    result = shop.adjust(*lines, **more)
    assert result.status == status
    assert shop.dump() == before
    return result


# -- statuses, in precedence order


@pytest.mark.parametrize("line", [("A", "add", 0), ("A", "remove", 0), ("A", "set", -1), ("A", "take", 1)])
def test_malformed_wins_over_a_reused_key(shop: Machine, line: tuple[str, Any, int]) -> None:
    base = shop.base()
    shop.adjust(("A", "add", 1), base=base, fingerprint=PRINT)

    unchanged(shop, "malformed", line, base=base, fingerprint="b" * 16)


def test_key_reused_wins_over_unknown_sku(shop: Machine) -> None:
    base = shop.base()
    shop.adjust(("A", "add", 1), base=base, fingerprint=PRINT)

    unchanged(shop, "key_reused", ("X", "add", 1), base=base, fingerprint="b" * 16)
    unchanged(shop, "key_reused", ("A", "add", 1), base=base)


def test_a_reservations_key_is_not_an_adjustment(shop: Machine) -> None:
    base = shop.base()
    shop.reserve("A=1", base=base, fingerprint=PRINT)

    unchanged(shop, "key_reused", ("A", "add", 1), base=base, fingerprint=PRINT)


def test_replayed_gives_the_movements_as_first_applied(shop: Machine) -> None:
    base = shop.base()
    lines = (("A", "remove", 10), ("B", "set", 7))
    first = shop.adjust(*lines, base=base, fingerprint=PRINT)
    shop.later(50)
    shop.adjust(("B", "add", 100))

    again = unchanged(shop, "replayed", *lines, base=base, fingerprint=PRINT)

    assert again.movements == first.movements == (Movement("A", -10, 0, 0), Movement("B", 2, 7, 0))
    assert (again.adjustment_id, again.first_seq) == (first.adjustment_id, first.first_seq)


def test_unknown_sku_wins_over_everything_later_and_names_every_one(shop: Machine) -> None:
    result = unchanged(shop, "unknown_sku", ("X", "add", 1), ("A", "remove", 99), ("Y", "set", 0))

    assert result.skus == ("X", "Y")


def test_unknown_sku_wins_over_a_level_that_moved(shop: Machine) -> None:
    unchanged(shop, "unknown_sku", ("A", "set", 1), ("X", "set", 1), expected=(9, 0))


def test_a_level_that_moved_wins_over_the_stock_limit_and_names_every_one(shop: Machine) -> None:
    shop.adjust(("B", "set", 10**12))

    result = unchanged(shop, "stock_moved", ("A", "set", 1), ("B", "add", 1), ("OFF", "set", 0), expected=(9, 5, 5))

    assert result.skus == ("A", "B")


def test_nothing_is_an_expectation_too(shop: Machine) -> None:
    assert unchanged(shop, "stock_moved", ("A", "set", 1), expected=(0,)).skus == ("A",)


def test_a_level_as_expected_is_set(shop: Machine) -> None:
    result = shop.adjust(("A", "set", 7), ("B", "add", 1), expected=(10, -1))

    assert result.status == "ok"
    assert (shop.counters("A"), shop.counters("B")) == ((7, 0), (6, 0))


@pytest.mark.parametrize("expected", [(10,), (10, 5, 5), (10, -2), (10, 10**12 + 1), (10, 0.5)])
def test_expectations_that_cannot_be_are_malformed(shop: Machine, expected: tuple[Any, ...]) -> None:
    unchanged(shop, "malformed", ("A", "add", 1), ("B", "add", 1), expected=expected)


@pytest.mark.parametrize(
    ("lines", "moved"),
    [
        ([("A", "add", 8)], 8),
        ([("A", "remove", 8)], 8),
        ([("A", "set", 2)], 8),
        ([("A", "set", 18)], 8),
        ([("A", "remove", 4), ("B", "add", 4)], 8),
    ],
)
def test_a_change_of_more_units_than_allowed(shop: Machine, lines: list[Any], moved: int) -> None:
    refused = unchanged(shop, "change_too_large", *lines, max_change=moved - 1)

    assert refused.units_moved == moved
    assert shop.adjust(*lines, max_change=moved).status == "ok"


def test_a_shortage_wins_over_a_change_that_is_too_large(shop: Machine) -> None:
    unchanged(shop, "insufficient_stock", ("A", "remove", 11), max_change=1)


@pytest.mark.parametrize("max_change", [-1, 0.5, 2**53 + 2, float("nan"), float("inf"), "1", None])
def test_a_limit_that_is_none_is_malformed(shop: Machine, max_change: Any) -> None:
    unchanged(shop, "malformed", ("A", "add", 1), max_change=max_change)


def test_stock_limit_wins_over_a_shortage(shop: Machine) -> None:
    shop.adjust(("B", "set", 10**12))

    unchanged(shop, "stock_limit", ("A", "remove", 99), ("B", "add", 1))


def test_due_holds_win_over_a_shortage(shop: Machine) -> None:
    held = shop.reserve("A=8")
    shop.later(MINUTE_MS)

    unchanged(shop, "due_holds", ("A", "remove", 3))
    assert shop.due == [member(held)]


@pytest.mark.parametrize("line", [("A", "remove", 3), ("A", "set", 7)])
def test_what_is_held_cannot_be_taken(shop: Machine, line: tuple[str, Any, int]) -> None:
    shop.reserve("A=8")

    result = unchanged(shop, "insufficient_stock", ("B", "remove", 1), line)

    assert result.shortages == (Shortage("A", 3, 2, START_MS + MINUTE_MS),)


@pytest.mark.parametrize("line", [("A", "remove", 2), ("A", "set", 8)])
def test_what_is_free_of_holds_can(shop: Machine, line: tuple[str, Any, int]) -> None:
    shop.reserve("A=8")

    assert shop.adjust(line).status == "ok"
    assert shop.counters("A") == (8, 8)


def test_safety_stock_may_be_taken_by_the_shop_itself(shop: Machine) -> None:
    shop.stock("S", 4, safety=4)

    assert shop.adjust(("S", "remove", 4), kind="DAMAGE").status == "ok"
    assert shop.counters("S") == (0, 0)


def test_an_inactive_product_is_adjusted_like_any(shop: Machine) -> None:
    assert shop.adjust(("OFF", "add", 1)).status == "ok"


# -- what it writes


@pytest.mark.parametrize("kind", ["IN", "OUT", "ADJUSTMENT", "RETURN", "DAMAGE"])
def test_what_an_adjustment_writes(shop: Machine, kind: str) -> None:
    shop.reserve("A=1")
    before = shop.client.dbsize()

    result = shop.adjust(("A", "add", 5), ("B", "remove", 2), ("OFF", "set", 5), kind=kind)

    assert result.status == "ok"
    assert result.movements == (Movement("A", 5, 15, 1), Movement("B", -2, 3, 0), Movement("OFF", 0, 5, 0))
    assert [shop.counters(sku) for sku in ("A", "B", "OFF")] == [(15, 1), (3, 0), (5, 0)]
    assert shop.last_event() == Adjusted(
        result.adjustment_id, "A=5=15=1,B=-2=3=0,OFF=0=5=0", kind, "stock count", "Delivery", "d-1", "admin"
    )
    assert result.first_seq == result.seq == int(shop.meta()["seq"])
    assert shop.client.dbsize() == before, "without a key there is no record to keep"


def test_a_keyed_adjustment_is_remembered_for_the_window(shop: Machine) -> None:
    base = shop.base()

    result = shop.adjust(("A", "add", 1), base=base, fingerprint=PRINT)

    assert result.adjustment_id == base + format(START_MS, "012x")
    ttl = shop.client.pttl(shop.keys.record(base))
    assert shop.window_ms - 2_000 < ttl <= shop.window_ms  # type: ignore[operator]


def test_first_seq_is_its_own_event_in_a_batch_of_many(shop: Machine) -> None:
    from engine.commands import Adjust

    commands = [Adjust(shop.base(), (("A", "add", 1),), "IN", "reason", "", "", "admin") for _ in range(3)]

    results = shop.run(*commands)

    assert [result.first_seq for result in results] == [results[0].seq - 2, results[0].seq - 1, results[0].seq]


def test_two_thousand_lines(shop: Machine) -> None:
    skus = [f"S{n}" for n in range(2_000)]
    shop.wild(*(["configure", sku, 0, 0, True, 0, "admin"] for sku in skus))

    result = shop.adjust(*((sku, "add", 2) for sku in skus))

    assert len(result.movements) == 2_000
    assert shop.counters("S1999") == (2, 0)


def test_asked_again_in_a_later_epoch_it_names_the_event_of_the_first(machine: Machine) -> None:
    machine.stock("A", 10)
    base = machine.base()
    first = machine.adjust(("A", "add", 5), base=base, fingerprint="f" * 16)
    # As a Redis that was restarted is taken over: the same state, and numbers that begin anew.
    machine.client.hset(machine.keys.meta, mapping={"epoch": 2, "seq": 0})
    machine.epoch = 2

    again = machine.adjust(("A", "add", 5), base=base, fingerprint="f" * 16)

    assert (again.status, again.first_epoch, again.first_seq) == ("replayed", 1, first.first_seq)
    assert again.movements == first.movements


def test_what_a_rebuild_remembers_of_it_answers_any_request_under_the_key_and_none_without(shop: Machine) -> None:
    base = shop.base()
    shop.client.set(
        shop.keys.record(base), msgspec.msgpack.encode(("ADJUSTED", START_MS - 5, "*", 3, "A=5=15=0", 1)), px=60_000
    )

    again = unchanged(shop, "replayed", ("A", "add", 5), base=base, fingerprint=PRINT)

    assert (again.adjustment_id, again.first_epoch, again.first_seq) == (f"{base}{START_MS - 5:012x}", 1, 3)
    unchanged(shop, "key_reused", ("A", "add", 5), base=base, fingerprint="")
