"""lua/commands/confirm.lua: every status in precedence order, and what it writes."""

from __future__ import annotations

import pytest

from engine.commands import Confirm
from engine.events import Confirmed, Expired
from engine.results import Result
from tests.scripts.machine import MINUTE_MS, START_MS, Machine, address, member


@pytest.fixture
def shop(machine: Machine) -> Machine:
    machine.stock("A", 10)
    machine.stock("B", 5)
    return machine


@pytest.fixture
def held(shop: Machine) -> Result:
    return shop.reserve("A=3,B=1")


# -- statuses, in precedence order


def test_malformed_wins_over_unknown(shop: Machine, held: Result) -> None:
    base, created = address(held)
    before = shop.dump()

    same_twice = Confirm(((base, created), (base, created)), "o", "other")
    assert shop.one(same_twice).status == "malformed"
    assert shop.one(Confirm((), "o")).status == "malformed"
    assert shop.dump() == before


def test_unknown_wins_over_expired(shop: Machine, held: Result) -> None:
    shop.later(MINUTE_MS)
    before = shop.dump()

    assert shop.confirm(held, owner="other").status == "unknown_reservation"
    assert shop.dump() == before


@pytest.mark.parametrize("off", [-1, 1])
def test_an_id_of_another_time_is_unknown(shop: Machine, held: Result, off: int) -> None:
    base, created = address(held)

    assert shop.one(Confirm(((base, created + off),), "o")).status == "unknown_reservation"


@pytest.mark.parametrize(("off_ms", "status"), [(-1, "ok"), (0, "expired"), (1, "expired")])
def test_around_the_deadline(shop: Machine, held: Result, off_ms: int, status: str) -> None:
    shop.later(MINUTE_MS + off_ms)

    result = shop.confirm(held)

    assert result.status == status
    assert result.reservations[0].status == ("COMPLETED" if status == "ok" else "EXPIRED")
    assert shop.counters("A") == ((7, 0) if status == "ok" else (10, 0))
    assert isinstance(shop.last_event(), Confirmed if status == "ok" else Expired)


def test_a_released_hold_is_not_active(shop: Machine, held: Result) -> None:
    shop.release(held)
    before = shop.dump()

    result = shop.confirm(held)

    assert (result.status, result.reservations[0].status) == ("not_active", "CANCELLED")
    assert shop.dump() == before


def test_sold_to_another_order_is_not_active(shop: Machine, held: Result) -> None:
    shop.confirm(held, order_id="order-1")
    before = shop.dump()

    result = shop.confirm(held, order_id="order-2")

    assert (result.status, result.reservations[0].order_id) == ("not_active", "order-1")
    assert shop.dump() == before


@pytest.mark.parametrize("order_id", ["order-1", ""])
def test_again_is_the_same_answer_and_changes_nothing(shop: Machine, held: Result, order_id: str) -> None:
    first = shop.confirm(held)
    before = shop.dump()
    shop.later(2 * MINUTE_MS)

    again = shop.confirm(held, order_id=order_id)

    assert again.status == "replayed"
    assert again.reservations == first.reservations
    assert shop.dump() == before


# -- what it writes


def test_what_a_sale_writes(shop: Machine, held: Result) -> None:
    shop.later(7)

    result = shop.confirm(held)

    assert result.status == "ok"
    assert [shop.counters(sku) for sku in "AB"] == [(7, 0), (4, 0)]
    (sale,) = result.reservations
    assert (sale.status, sale.order_id, sale.updated_ms) == ("COMPLETED", "order-1", START_MS + 7)
    assert shop.deadlines() == {}
    assert shop.last_event() == Confirmed(sale.id, "A=3=7=0,B=1=4=0", "order-1", "shop", False)
    assert shop.retention_ms - 2_000 < shop.ttl_ms(held) <= shop.retention_ms


def test_a_sale_needs_no_order(shop: Machine, held: Result) -> None:
    assert shop.confirm(held, order_id="").reservations[0].order_id is None


# -- several reservations


def test_several_are_sold_together_an_event_each(shop: Machine, held: Result) -> None:
    other = shop.reserve("A=2")

    result = shop.confirm(held, other)

    assert [one.status for one in result.reservations] == ["COMPLETED", "COMPLETED"]
    assert shop.counters("A") == (5, 0)
    assert [event.lines for event in shop.entries()[-1].events] == ["A=3=7=2,B=1=4=0", "A=2=5=0"]  # type: ignore[union-attr]


@pytest.mark.parametrize("ending", ["confirm", "release", "unknown", "expired"])
def test_one_in_the_way_and_none_is_sold(shop: Machine, held: Result, ending: str) -> None:
    other = shop.reserve("A=2", ttl_ms=1_000)
    if ending == "confirm":
        shop.confirm(other, order_id="another")
    elif ending == "release":
        shop.release(other)
    elif ending == "expired":
        shop.later(1_000)
        shop.expire(other)
    before = shop.dump()

    named = (address(held), (shop.base(), 5) if ending == "unknown" else address(other))
    result = shop.one(Confirm(named, "order-1", "shop", "shop"))

    expected = {
        "confirm": "not_active",
        "release": "not_active",
        "unknown": "unknown_reservation",
        "expired": "expired",
    }
    assert result.status == expected[ending]
    assert [one.id for one in result.reservations] == ([] if ending == "unknown" else [other.reservations[0].id])
    assert shop.dump() == before


def test_one_sold_before_does_not_stand_in_the_way(shop: Machine, held: Result) -> None:
    other = shop.reserve("A=2")
    shop.confirm(other)

    result = shop.confirm(held, other)

    assert result.status == "ok"
    assert [one.status for one in result.reservations] == ["COMPLETED", "COMPLETED"]
    assert shop.counters("A") == (5, 0)


# -- late


def test_a_late_confirm_takes_the_stock_again(shop: Machine, held: Result) -> None:
    shop.later(MINUTE_MS)

    result = shop.confirm(held, late=True)

    assert (result.status, result.reservations[0].status) == ("ok", "COMPLETED")
    assert [shop.counters(sku) for sku in "AB"] == [(7, 0), (4, 0)]
    assert shop.entries()[-1].events == (
        Expired(held.reservations[0].id, "A=3=10=0,B=1=5=0"),
        Confirmed(held.reservations[0].id, "A=3=7=0,B=1=4=0", "order-1", "shop", True),
    )


def test_a_late_confirm_never_takes_what_somebody_else_holds(shop: Machine, held: Result) -> None:
    shop.later(MINUTE_MS)
    shop.expire(held)
    shop.reserve("A=8")

    result = shop.confirm(held, late=True)

    assert result.status == "expired"
    assert shop.counters("A") == (10, 8)


def test_a_late_confirm_of_too_little_waits_for_due_holds(shop: Machine, held: Result) -> None:
    other = shop.reserve("A=7", ttl_ms=2 * MINUTE_MS)
    shop.later(MINUTE_MS)
    shop.expire(held)
    third = shop.reserve("A=3", ttl_ms=MINUTE_MS)
    shop.later(MINUTE_MS)

    assert shop.confirm(held, late=True).status == "due_holds"
    assert shop.due == sorted([member(other), member(third)])
    shop.expire(other)
    shop.expire(third)
    assert shop.confirm(held, late=True).status == "ok"
    assert shop.counters("A") == (7, 0)


def test_a_late_confirm_leaves_safety_stock_alone(shop: Machine) -> None:
    shop.stock("S", 5)
    held = shop.reserve("S=5")
    shop.stock("S", 0, safety=1)
    shop.later(MINUTE_MS)

    assert shop.confirm(held, late=True).status == "expired"
    assert shop.counters("S") == (5, 0)


def test_a_released_hold_is_not_confirmed_late(shop: Machine, held: Result) -> None:
    shop.release(held)

    assert shop.confirm(held, late=True).status == "not_active"


def test_late_reservations_that_do_not_fit_together_are_not_sold(shop: Machine) -> None:
    first, second = shop.reserve("A=6", ttl_ms=1_000), shop.reserve("A=4", ttl_ms=1_000)
    shop.later(1_000)
    shop.expire(first)
    shop.expire(second)
    shop.reserve("A=1")
    before = shop.dump()

    result = shop.confirm(first, second, late=True)

    assert (result.status, result.reservations[0].id) == ("expired", first.reservations[0].id)
    assert shop.dump() == before
