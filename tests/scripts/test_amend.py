"""lua/commands/amend.lua: every status in precedence order, and what it writes."""

from __future__ import annotations

import pytest

from engine.commands import Configure
from engine.events import Amended
from engine.results import Result, Shortage
from tests.scripts.machine import MINUTE_MS, START_MS, Machine, address, member

PRINT = "a" * 16


@pytest.fixture
def shop(machine: Machine) -> Machine:
    machine.stock("A", 10)
    machine.stock("B", 5)
    machine.stock("C", 5)
    return machine


@pytest.fixture
def held(shop: Machine) -> Result:
    return shop.reserve("A=3,B=1")


def unchanged(
    shop: Machine, held: Result, status: str, lines: str = "", *, ttl_ms: int = 0, owner: str = "shop"
) -> Result:
    before = shop.dump()
    result = shop.amend(held, lines, ttl_ms, owner)
    assert result.status == status
    assert shop.dump() == before
    return result


# -- statuses, in precedence order


@pytest.mark.parametrize(
    ("lines", "ttl_ms"), [("", 0), ("A=0", 0), ("A=1,A=1", 5_000), ("A=1", 999), ("A=1", 86_400_001), ("", -1)]
)
def test_malformed_wins_over_unknown(shop: Machine, held: Result, lines: str, ttl_ms: int) -> None:
    unchanged(shop, held, "malformed", lines, ttl_ms=ttl_ms, owner="other")


def test_unknown_wins_over_expired(shop: Machine, held: Result) -> None:
    shop.later(MINUTE_MS)

    unchanged(shop, held, "unknown_reservation", "A=1", owner="other")


@pytest.mark.parametrize(("off_ms", "status"), [(-1, "ok"), (0, "expired"), (1, "expired")])
def test_around_the_deadline(shop: Machine, held: Result, off_ms: int, status: str) -> None:
    shop.later(MINUTE_MS + off_ms)

    result = shop.amend(held, "A=4", ttl_ms=5_000)

    assert result.status == status
    assert result.reservations[0].status == ("ACTIVE" if status == "ok" else "EXPIRED")
    assert shop.counters("A") == (10, 4 if status == "ok" else 0)


def test_expired_wins_over_unknown_sku(shop: Machine, held: Result) -> None:
    shop.later(MINUTE_MS)

    assert shop.amend(held, "NOPE=1").status == "expired"


@pytest.mark.parametrize("ending", ["confirm", "release"])
def test_not_active_wins_over_unknown_sku(shop: Machine, held: Result, ending: str) -> None:
    getattr(shop, ending)(held)

    result = unchanged(shop, held, "not_active", "NOPE=1")

    assert result.reservations[0].status == {"confirm": "COMPLETED", "release": "CANCELLED"}[ending]


def test_unknown_sku_wins_over_inactive_and_names_every_one(shop: Machine, held: Result) -> None:
    shop.one(Configure("C", 0, 0, False, 0, "admin"))

    assert unchanged(shop, held, "unknown_sku", "X=1,C=1,Y=1").skus == ("X", "Y")


def test_product_inactive_wins_over_a_shortage(shop: Machine, held: Result) -> None:
    shop.one(Configure("C", 0, 0, False, 0, "admin"))

    assert unchanged(shop, held, "product_inactive", "C=1,A=99").skus == ("C",)


def test_what_is_held_of_an_inactive_product_can_be_kept_and_shrunk(shop: Machine, held: Result) -> None:
    shop.one(Configure("A", 0, 0, False, 0, "admin"))

    assert shop.amend(held, "A=3,B=2").status == "ok"
    assert shop.amend(held, "A=2,B=2").status == "ok"
    unchanged(shop, held, "product_inactive", "A=3,B=2")


def test_due_holds_win_over_a_shortage(shop: Machine, held: Result) -> None:
    shop.amend(held, ttl_ms=2 * MINUTE_MS)
    other = shop.reserve("A=7")
    shop.later(MINUTE_MS)

    unchanged(shop, held, "due_holds", "A=5")
    shop.expire(other)
    assert shop.amend(held, "A=10").status == "ok"


def test_on_shortage_the_old_hold_stays_whole_and_every_short_line_is_reported(shop: Machine, held: Result) -> None:
    shop.reserve("A=6", ttl_ms=5_000)

    result = unchanged(shop, held, "insufficient_stock", "A=5,C=6,B=5")

    # What the hold has already counts as available to it.
    assert result.shortages == (Shortage("A", 5, 4, START_MS + 5_000), Shortage("C", 6, 5, 0))


def test_its_own_units_count(shop: Machine, held: Result) -> None:
    assert shop.amend(held, "A=10,B=5").status == "ok"
    assert [shop.counters(sku) for sku in "AB"] == [(10, 10), (5, 5)]


# -- what it writes


def test_what_new_lines_write(shop: Machine, held: Result) -> None:
    shop.later(7)

    result = shop.amend(held, "C=2,A=1")

    assert [shop.counters(sku) for sku in "ABC"] == [(10, 1), (5, 0), (5, 2)]
    (reservation,) = result.reservations
    assert reservation.id == held.reservations[0].id
    assert reservation.lines == (("C", 2), ("A", 1))
    assert (reservation.updated_ms, reservation.deadline_ms) == (START_MS + 7, START_MS + MINUTE_MS)
    assert shop.deadlines() == {member(result): START_MS + MINUTE_MS}
    assert shop.last_event() == Amended(reservation.id, "C=2=5=2,A=1=10=1,B=0=5=0", START_MS + MINUTE_MS, "shop")


def test_a_new_ttl_counts_from_now(shop: Machine, held: Result) -> None:
    shop.later(7)

    result = shop.amend(held, ttl_ms=5_000)

    assert result.reservations[0].lines == held.reservations[0].lines
    assert result.reservations[0].deadline_ms == START_MS + 5_007
    assert shop.deadlines() == {member(held): START_MS + 5_007}
    assert shop.ttl_ms(held) <= 5_000 + shop.retention_ms
    assert shop.last_event() == Amended(held.reservations[0].id, "A=3=10=3,B=1=5=1", START_MS + 5_007, "shop")


def test_the_new_deadline_is_the_one_that_counts(shop: Machine, held: Result) -> None:
    shop.amend(held, ttl_ms=2 * MINUTE_MS)
    shop.later(MINUTE_MS)

    assert shop.expire(held).status == "not_due"
    assert shop.read(held).reservations[0].status == "ACTIVE"


def test_first_lines_are_kept_for_a_keyed_reservation(shop: Machine) -> None:
    held = shop.reserve("A=3", fingerprint=PRINT)

    for lines in ("A=2", "A=1,B=1"):
        shop.amend(held, lines)

    record = shop.record(held)
    assert record is not None
    assert (record.lines, record.first_lines, record.fingerprint) == ("A=1,B=1", "A=3", PRINT)


def test_first_lines_are_not_kept_while_the_lines_are_the_same(shop: Machine) -> None:
    held = shop.reserve("A=3", fingerprint=PRINT)

    shop.amend(held, ttl_ms=5_000)
    shop.amend(held, "A=3", ttl_ms=6_000)

    record = shop.record(held)
    assert record is not None
    assert (record.lines, record.first_lines) == ("A=3", "")


def test_first_lines_are_not_kept_where_nobody_can_ask_again(shop: Machine, held: Result) -> None:
    shop.amend(held, "A=2")

    record = shop.record(held)
    assert record is not None
    assert (record.lines, record.first_lines) == ("A=2", "")


def test_the_same_lines_again_change_no_counter(shop: Machine, held: Result) -> None:
    shop.amend(held, "A=3,B=1")

    assert [shop.counters(sku) for sku in "AB"] == [(10, 3), (5, 1)]
    record = shop.record(held)
    assert record is not None
    assert record.first_lines == ""


def test_an_amended_hold_gives_back_what_it_holds_now(shop: Machine, held: Result) -> None:
    amended = shop.amend(held, "C=4")

    shop.release(amended)

    assert [shop.counters(sku) for sku in "ABC"] == [(10, 0), (5, 0), (5, 0)]
    assert shop.deadlines() == {}
    assert address(amended) == address(held)
