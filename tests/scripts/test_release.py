"""lua/commands/release.lua: every status in precedence order, and what it writes."""

from __future__ import annotations

import pytest

from engine.commands import Release
from engine.events import Expired, Released
from engine.results import Result
from tests.scripts.machine import MINUTE_MS, START_MS, Machine, address


@pytest.fixture
def shop(machine: Machine) -> Machine:
    machine.stock("A", 10)
    machine.stock("B", 5)
    return machine


@pytest.fixture
def held(shop: Machine) -> Result:
    return shop.reserve("A=3,B=1")


def test_malformed(shop: Machine, held: Result) -> None:
    base, created = address(held)

    assert shop.wild(["release", base, created, 7, "shop"], ["release", base, created, "shop"], bases=[base]) == [
        "malformed",
        "malformed",
    ]
    assert shop.counters("A") == (10, 3)


@pytest.mark.parametrize("off", [-1, 1])
def test_an_id_of_another_time_is_unknown(shop: Machine, held: Result, off: int) -> None:
    base, created = address(held)
    before = shop.dump()

    assert shop.one(Release(base, created + off, "shop", "shop")).status == "unknown_reservation"
    assert shop.dump() == before


def test_another_owners_reservation_is_unknown(shop: Machine, held: Result) -> None:
    before = shop.dump()

    assert shop.release(held, owner="other").status == "unknown_reservation"
    assert shop.dump() == before


def test_unknown_wins_over_expired(shop: Machine, held: Result) -> None:
    shop.later(MINUTE_MS)

    assert shop.release(held, owner="other").status == "unknown_reservation"


def test_no_owner_means_anybodys(shop: Machine, held: Result) -> None:
    assert shop.release(held, owner="").status == "ok"


@pytest.mark.parametrize(("off_ms", "status"), [(-1, "ok"), (0, "expired"), (1, "expired")])
def test_around_the_deadline(shop: Machine, held: Result, off_ms: int, status: str) -> None:
    shop.later(MINUTE_MS + off_ms)

    result = shop.release(held)

    assert result.status == status
    assert result.reservations[0].status == ("CANCELLED" if status == "ok" else "EXPIRED")
    assert shop.counters("A") == (10, 0)
    assert isinstance(shop.last_event(), Released if status == "ok" else Expired)
    assert shop.deadlines() == {}


def test_a_sold_hold_is_not_active(shop: Machine, held: Result) -> None:
    shop.confirm(held)
    before = shop.dump()

    result = shop.release(held)

    assert (result.status, result.reservations[0].status) == ("not_active", "COMPLETED")
    assert shop.dump() == before


def test_again_is_the_same_answer_and_changes_nothing(shop: Machine, held: Result) -> None:
    first = shop.release(held)
    before = shop.dump()
    shop.later(5)

    again = shop.release(held)

    assert again.status == "replayed"
    assert again.reservations == first.reservations
    assert shop.dump() == before


def test_what_a_release_writes(shop: Machine, held: Result) -> None:
    shop.later(7)

    result = shop.release(held)

    assert result.status == "ok"
    assert [shop.counters(sku) for sku in "AB"] == [(10, 0), (5, 0)]
    record = shop.record(held)
    assert record is not None
    assert (record.status, record.updated_ms, record.created_ms) == ("CANCELLED", START_MS + 7, START_MS)
    assert shop.deadlines() == {}
    assert shop.last_event() == Released(held.reservations[0].id, "A=3=10=0,B=1=5=0", "shop")
    assert shop.retention_ms - 2_000 < shop.ttl_ms(held) <= shop.retention_ms


def test_a_keyed_record_outlives_its_release_until_the_window_is_over(shop: Machine) -> None:
    held = shop.reserve("A=1", fingerprint="a" * 16)
    shop.later(1_000)

    shop.release(held)

    left = shop.window_ms - 1_000
    assert left - 2_000 < shop.ttl_ms(held) <= left
