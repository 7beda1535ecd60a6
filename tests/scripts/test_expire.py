"""lua/commands/expire.lua: every status in precedence order, what it writes, and holds whose record is gone."""

from __future__ import annotations

import pytest

from engine.commands import Expire
from engine.events import Expired
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


@pytest.mark.parametrize(
    "damage",
    [
        lambda base, text: (base, ""),
        lambda base, text: (base, text[:36]),
        lambda base, text: (base, text[:37]),
        lambda base, text: (base, text + ","),
        lambda base, text: ("f" * 24, text),
        lambda base, text: (base, text.replace("0", "z")),
        lambda base, text: (base, "x" + text),
    ],
)
def test_malformed(shop: Machine, held: Result, damage: object) -> None:
    shop.later(MINUTE_MS)
    before = shop.dump()

    assert shop.one(Expire(*damage(address(held)[0], member(held)))).status == "malformed"  # type: ignore[operator]
    assert shop.dump() == before


def test_a_base_that_is_not_declared_is_malformed(shop: Machine, held: Result) -> None:
    shop.later(MINUTE_MS)

    assert shop.wild(["expire", address(held)[0], member(held)], bases=[]) == ["malformed"]


def test_a_member_nobody_ever_wrote_is_unknown(shop: Machine) -> None:
    base = shop.base()
    before = shop.dump()

    assert shop.one(Expire(base, f"{base}{START_MS:012x} A=3")).status == "unknown_reservation"
    assert shop.dump() == before


@pytest.mark.parametrize("ending", ["confirm", "release"])
def test_an_ended_hold_is_not_active(shop: Machine, held: Result, ending: str) -> None:
    getattr(shop, ending)(held)
    shop.later(MINUTE_MS)
    before = shop.dump()

    assert shop.expire(held).status == "not_active"
    assert shop.dump() == before


@pytest.mark.parametrize(("off_ms", "status"), [(-1, "not_due"), (0, "ok"), (1, "ok")])
def test_around_the_deadline(shop: Machine, held: Result, off_ms: int, status: str) -> None:
    before = shop.dump()
    shop.later(MINUTE_MS + off_ms)

    assert shop.expire(held).status == status
    assert (shop.dump() == before) == (status == "not_due")


def test_again_changes_nothing(shop: Machine, held: Result) -> None:
    shop.later(MINUTE_MS)
    shop.expire(held)
    before = shop.dump()

    assert shop.expire(held).status == "not_active"
    assert shop.dump() == before


# -- what it writes


def test_what_an_expiry_writes(shop: Machine, held: Result) -> None:
    shop.later(MINUTE_MS + 3)

    assert shop.expire(held).status == "ok"

    assert [shop.counters(sku) for sku in "AB"] == [(10, 0), (5, 0)]
    record = shop.record(held)
    assert record is not None
    assert (record.status, record.updated_ms) == ("EXPIRED", START_MS + MINUTE_MS + 3)
    assert shop.deadlines() == {}
    assert shop.last_event() == Expired(held.reservations[0].id, "A=3=10=0,B=1=5=0")
    assert shop.retention_ms - 2_000 < shop.ttl_ms(held) <= shop.retention_ms


def test_an_amended_hold_gives_back_what_it_holds_whichever_member_is_named(shop: Machine, held: Result) -> None:
    """The sweeper may have read the member of the lines before."""
    shop.stock("C", 5)
    amended = shop.amend(held, "C=4")
    shop.later(MINUTE_MS)

    assert shop.one(Expire(address(held)[0], member(held))).status == "ok"

    assert [shop.counters(sku) for sku in "ABC"] == [(10, 0), (5, 0), (5, 0)]
    assert shop.deadlines() == {}
    assert shop.last_event() == Expired(amended.reservations[0].id, "C=4=5=0")


# -- a hold whose record is gone


def test_an_aged_out_hold_gives_its_units_back(shop: Machine, held: Result) -> None:
    shop.client.delete(shop.record_key(held))
    shop.later(MINUTE_MS)

    assert shop.expire(held).status == "ok"

    assert [shop.counters(sku) for sku in "AB"] == [(10, 0), (5, 0)]
    assert shop.last_event() == Expired(held.reservations[0].id, "A=3=10=0,B=1=5=0")
    assert shop.record(held) is None
    before = shop.dump()
    assert shop.expire(held).status == "unknown_reservation"
    assert shop.dump() == before


def test_an_aged_out_hold_is_given_back_once_in_a_batch(shop: Machine, held: Result) -> None:
    shop.client.delete(shop.record_key(held))
    shop.later(MINUTE_MS)

    results = shop.run(shop.expiring(held), shop.expiring(held))

    assert [result.status for result in results] == ["ok", "unknown_reservation"]
    assert shop.counters("A") == (10, 0)


@pytest.mark.parametrize(("off_ms", "status"), [(-1, "not_due"), (0, "ok")])
def test_an_aged_out_hold_has_its_deadline_too(shop: Machine, held: Result, off_ms: int, status: str) -> None:
    shop.client.delete(shop.record_key(held))
    shop.later(MINUTE_MS + off_ms)

    assert shop.expire(held).status == status


def test_an_aged_out_hold_survives_a_later_use_of_its_key(shop: Machine, held: Result) -> None:
    base, _ = address(held)
    shop.client.delete(shop.record_key(held))
    shop.later(MINUTE_MS)
    newer = shop.reserve("A=2", base=base)

    assert shop.expire(held).status == "ok"

    assert shop.counters("A") == (10, 2)
    record = shop.record(newer)
    assert record is not None
    assert record.status == "ACTIVE"
    assert shop.deadlines() == {member(newer): START_MS + 2 * MINUTE_MS}
