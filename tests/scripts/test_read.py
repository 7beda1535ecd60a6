"""lua/commands/read.lua: every status in precedence order; it changes nothing but a hold past its deadline."""

from __future__ import annotations

import pytest

from engine.commands import Read
from engine.events import Expired
from engine.results import Result
from tests.scripts.machine import MINUTE_MS, Machine, address


@pytest.fixture
def shop(machine: Machine) -> Machine:
    machine.stock("A", 10)
    return machine


@pytest.fixture
def held(shop: Machine) -> Result:
    return shop.reserve("A=3")


def test_malformed(shop: Machine, held: Result) -> None:
    base, created = address(held)

    assert shop.wild(["read", base, created, None], ["read", 1, created, ""], bases=[base]) == ["malformed"] * 2


def test_unknown(shop: Machine, held: Result) -> None:
    base, created = address(held)

    results = shop.run(Read(base, created + 1), Read(base, created, "other"), Read(shop.base(), created))

    assert [result.status for result in results] == ["unknown_reservation"] * 3


def test_an_adjustment_is_no_reservation(shop: Machine) -> None:
    base = shop.base()
    result = shop.adjust(("A", "add", 1), base=base, fingerprint="a" * 16)

    assert shop.one(Read(base, result.now_ms)).status == "unknown_reservation"


def test_a_read_changes_nothing(shop: Machine, held: Result) -> None:
    before = shop.dump()
    shop.later(MINUTE_MS - 1)

    result = shop.read(held)

    assert result.status == "ok"
    assert result.reservations == held.reservations
    assert shop.dump() == before


@pytest.mark.parametrize("off_ms", [0, 1, 10**9])
def test_from_its_deadline_on_a_hold_reads_expired(shop: Machine, held: Result, off_ms: int) -> None:
    shop.later(MINUTE_MS + off_ms)

    result = shop.read(held)

    assert (result.status, result.reservations[0].status) == ("ok", "EXPIRED")
    assert shop.last_event() == Expired(held.reservations[0].id, "A=3=10=0")
    assert shop.counters("A") == (10, 0)
    before = shop.dump()
    assert shop.read(held).reservations == result.reservations
    assert shop.dump() == before


def test_reading_another_owners_due_hold_does_not_end_it(shop: Machine, held: Result) -> None:
    shop.later(MINUTE_MS)
    before = shop.dump()

    assert shop.read(held, owner="other").status == "unknown_reservation"
    assert shop.dump() == before
