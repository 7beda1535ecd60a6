"""The last value that is allowed and the first that is not; what a batch does to what it has just made."""

from __future__ import annotations

from typing import Any

import pytest

from engine.commands import Adjust, Amend, Configure, Confirm, Read, Release, Repair, Reserve
from tests.scripts.machine import DETAILS, MINUTE_MS, START_MS, Machine, address, member


@pytest.fixture
def shop(machine: Machine) -> Machine:
    machine.stock("A", 10)
    machine.stock("B", 5)
    return machine


# -- how many


@pytest.mark.parametrize("verb", ["reserve", "adjust", "repair"])
@pytest.mark.parametrize(("count", "status"), [(2_000, "ok"), (2_001, "malformed")])
def test_the_most_lines(machine: Machine, verb: str, count: int, status: str) -> None:
    skus = [f"S{n}" for n in range(count)]
    machine.run(*(Configure(sku, 0, 0, True, 5, "admin") for sku in skus))
    base = machine.base()
    commands: dict[str, Any] = {
        "reserve": Reserve(base, ",".join(f"{sku}=1" for sku in skus), MINUTE_MS, details=DETAILS),
        "adjust": Adjust(base, tuple((sku, "add", 1) for sku in skus), "IN", "why", "", "", "admin"),
        "repair": Repair(base, tuple((sku, 1, 0) for sku in skus), "why", "drift-1", "admin"),
    }
    before = machine.dump()

    assert machine.one(commands[verb]).status == status

    assert (machine.dump() == before) == (status != "ok")
    if status == "ok":
        assert machine.counters(skus[-1]) == ((5, 1) if verb == "reserve" else (6, 0))


def test_the_most_reservations_of_one_confirm(machine: Machine) -> None:
    machine.stock("A", 1_000)
    held = machine.run(*(machine.reserving("A=1") for _ in range(1_000)))

    assert machine.one(Confirm(tuple(address(one) for one in held), "order-1", "shop", "shop")).status == "ok"
    assert machine.counters("A") == (0, 0)


@pytest.mark.parametrize(
    ("ttl_ms", "status"), [(999, "malformed"), (1_000, "ok"), (86_400_000, "ok"), (86_400_001, "malformed")]
)
def test_the_shortest_and_the_longest_hold(shop: Machine, ttl_ms: int, status: str) -> None:
    assert shop.wild(["reserve", shop.base(), "A=1", ttl_ms, False, "", "", "{}"], bases=[f"{1:024x}"]) == [status]
    held = shop.reserve("A=1")
    base, created = address(held)
    assert shop.wild(["amend", base, created, "", ttl_ms, "shop", "shop"], bases=[base]) == [status]


@pytest.mark.parametrize(
    ("most", "status"), [(0, "ok"), (1, "change_too_large"), (4, "change_too_large"), (5, "ok"), (2**53, "ok")]
)
def test_the_most_units_of_a_change(shop: Machine, most: int, status: str) -> None:
    result = shop.adjust(("A", "add", 2), ("B", "remove", 3), max_change=most)
    assert result.status == status
    assert shop.counters("A") == ((12, 0) if status == "ok" else (10, 0))


def test_one_unit_is_a_change(shop: Machine) -> None:
    assert shop.adjust(("A", "add", 1), max_change=1).status == "ok"


@pytest.mark.parametrize(
    ("sku", "status"), [("S" * 64, "ok"), ("S" * 65, "malformed"), ("S", "ok"), ("a b", "ok"), ("a ", "malformed")]
)
def test_the_longest_sku(machine: Machine, sku: str, status: str) -> None:
    assert machine.wild(["configure", sku, 0, 0, True, 0, "admin"]) == [status]


@pytest.mark.parametrize("number", [0, 10**9])
def test_the_largest_settings(machine: Machine, number: int) -> None:
    assert machine.wild(["configure", "A", number, number, True, 10**12, "admin"]) == ["ok"]
    level = machine.level("A")
    assert (level.safety_stock, level.low_stock_threshold, level.on_hand) == (number, number, 10**12)


def test_a_repair_up_to_the_most_and_down_to_nothing(machine: Machine) -> None:
    machine.stock("A", 1)
    assert machine.repair(("A", 10**12 - 1, 0)).status == "ok"
    assert machine.repair(("A", 1, 0)).status == "inconsistent"
    assert machine.repair(("A", -(10**12), 0)).status == "ok"
    assert machine.counters("A") == (0, 0)
    assert machine.repair(("A", 10**12, 10**12)).status == "ok"
    assert machine.repair(("A", 0, 1)).status == "inconsistent"
    assert machine.repair(("A", 0, -(10**12) + 1)).status == "ok"
    assert machine.repair(("A", 0, -2)).status == "inconsistent"
    assert machine.repair(("A", 0, -1)).status == "ok"
    assert machine.counters("A") == (10**12, 0)


# -- exactly what is there


def test_a_late_sale_of_exactly_what_is_left(shop: Machine) -> None:
    held = shop.reserve("A=4")
    shop.later(MINUTE_MS)
    shop.expire(held)
    shop.reserve("A=6")

    assert shop.confirm(held, late=True).status == "ok"
    assert shop.counters("A") == (6, 6)


def test_a_late_sale_of_one_more_than_is_left(shop: Machine) -> None:
    held = shop.reserve("A=4")
    shop.later(MINUTE_MS)
    shop.expire(held)
    shop.reserve("A=7")

    assert shop.confirm(held, late=True).status == "expired"
    assert shop.counters("A") == (10, 7)


def test_late_sales_together_take_no_more_than_there_is(shop: Machine) -> None:
    first, second = shop.reserve("A=4"), shop.reserve("A=4")
    shop.later(MINUTE_MS)
    shop.run(shop.expiring(first), shop.expiring(second))
    shop.reserve("A=3")

    result = shop.confirm(first, second, late=True)

    assert result.status == "expired"
    assert shop.counters("A") == (10, 3)


@pytest.mark.parametrize(
    ("on_hand", "reserved", "status"), [(3, 3, "ok"), (2, 3, "inconsistent"), (3, 2, "inconsistent")]
)
def test_counters_that_just_cover_a_sale(shop: Machine, on_hand: int, reserved: int, status: str) -> None:
    held = shop.reserve("A=3")
    shop.damage("A", on_hand, reserved)

    assert shop.confirm(held).status == status
    assert shop.counters("A") == ((0, 0) if status == "ok" else (on_hand, reserved))


@pytest.mark.parametrize("verb", ["release", "expire", "amend"])
@pytest.mark.parametrize(("reserved", "status"), [(3, "ok"), (2, "inconsistent")])
def test_counters_that_just_cover_an_end(shop: Machine, verb: str, reserved: int, status: str) -> None:
    held = shop.reserve("A=3")
    shop.damage("A", 10, reserved)
    if verb == "expire":
        shop.later(MINUTE_MS)

    result = shop.amend(held, "A=1") if verb == "amend" else getattr(shop, verb)(held)

    assert result.status == status
    assert shop.counters("A") == (10, {"ok": 1 if verb == "amend" else 0, "inconsistent": reserved}[status])


# -- what comes free next


def test_the_next_release_of_any_line_and_of_no_other_sku(shop: Machine) -> None:
    shop.stock("AB", 5)
    shop.stock("B.", 5)
    shop.reserve("AB=1,B.=1", ttl_ms=MINUTE_MS)
    assert shop.availability("B=6").levels[0].next_release_ms == 0

    shop.reserve("A=1,B=1", ttl_ms=2 * MINUTE_MS)
    shop.reserve("B=1", ttl_ms=3 * MINUTE_MS)

    levels = shop.availability("B=6,A=99,AB=4").levels
    assert [level.next_release_ms for level in levels] == [START_MS + 2 * MINUTE_MS, START_MS + 2 * MINUTE_MS, 0]


def test_the_next_release_is_looked_for_among_64(shop: Machine) -> None:
    shop.stock("C", 100)
    for _ in range(63):
        shop.reserve("C=1")
    shop.reserve("A=1", ttl_ms=2 * MINUTE_MS)
    assert shop.availability("A=99").levels[0].next_release_ms == START_MS + 2 * MINUTE_MS

    shop.reserve("C=1")

    assert shop.availability("A=99").levels[0].next_release_ms == 0


# -- what one batch makes and ends


def _made(machine: Machine, base: str, lines: str) -> str:
    return f"{base}{START_MS:012x} {lines}"


def test_made_and_ended_in_one_batch_whatever_else_it_makes(shop: Machine) -> None:
    a, b, c, d = (shop.base() for _ in range(4))
    results = shop.run(
        shop.reserving("A=1", base=a),
        shop.reserving("A=2", base=b),
        shop.reserving("B=1", base=c),
        Release(a, START_MS, "shop", "shop"),
        Confirm(((c, START_MS),), "order-1", "shop", "shop"),
        shop.reserving("A=3", base=d),
        Read(a, START_MS, "shop"),
    )

    assert {result.status for result in results} == {"ok"}
    assert results[-1].reservations[0].status == "CANCELLED"
    assert shop.deadlines() == {
        _made(shop, b, "A=2"): START_MS + MINUTE_MS,
        _made(shop, d, "A=3"): START_MS + MINUTE_MS,
    }
    assert (shop.counters("A"), shop.counters("B")) == ((10, 5), (4, 0))


def test_amended_twice_and_ended_in_one_batch(shop: Machine) -> None:
    held = shop.reserve("A=1")
    where = address(held)
    shop.run(
        Amend(*where, "A=2", 0, "shop", "shop"),
        Amend(*where, "A=1", 2 * MINUTE_MS, "shop", "shop"),
    )
    assert shop.deadlines() == {member(held): START_MS + 2 * MINUTE_MS}

    shop.run(Amend(*where, "B=1", 0, "shop", "shop"), Release(*where, "shop", "shop"))

    assert shop.deadlines() == {}
    assert (shop.counters("A"), shop.counters("B")) == ((10, 0), (5, 0))


def test_a_member_that_is_no_hold_of_its_base(shop: Machine) -> None:
    held = shop.reserve("A=1")
    shop.later(MINUTE_MS)
    base, _ = address(held)
    good = member(held)
    for bad in (
        f"{'e' * 24}{good[24:]}",
        good.replace(" ", "_", 1),
        good[:36] + "0" + good[36:],
        "x" + good[1:],
        f"{base}{'z' * 12} A=1",
    ):
        assert shop.wild(["expire", base, bad], bases=[base]) == ["malformed"], bad
    assert shop.expire(held).status == "ok"


# -- due holds


def test_256_due_holds_are_named_at_a_time_and_those_that_cannot_end_never(shop: Machine) -> None:
    shop.stock("C", 300)
    held = shop.run(*(shop.reserving("C=1") for _ in range(260)))
    shop.later(MINUTE_MS)
    first = [member(one) for one in held]

    assert shop.availability("C=1").status == "due_holds"
    assert len(set(shop.due)) == len(shop.due) == 256

    shop.damaged = sorted(first)[:3]
    assert shop.availability("C=1").status == "due_holds"
    assert len(set(shop.due)) == len(shop.due) == 256
    assert not set(shop.due) & set(shop.damaged)


def test_a_hold_that_this_batch_has_ended_is_no_damage(shop: Machine) -> None:
    held = shop.reserve("A=1")
    shop.later(MINUTE_MS)
    first, again = shop.run(shop.expiring(held), shop.expiring(held))
    assert (first.status, again.status) == ("ok", "not_active")

    other = shop.reserve("A=1")
    ended, late = shop.run(Release(*address(other), "shop", "shop"), shop.expiring(other))
    assert (ended.status, late.status) == ("ok", "not_active")


# -- several lines


def test_several_lines_of_exactly_what_is_there(shop: Machine) -> None:
    assert shop.reserve("A=10,B=6").status == "insufficient_stock"
    assert shop.reserve("A=10,B=5").status == "ok"
    assert (shop.counters("A"), shop.counters("B")) == ((10, 10), (5, 5))


@pytest.mark.parametrize(
    "lines", [[("A", 0, 11), ("B", 1, 0)], [("B", 1, 0), ("A", 0, 11)], [("A", 0, -1), ("B", 1, 0)]]
)
def test_a_repair_of_which_one_line_cannot_be(shop: Machine, lines: list[tuple[str, int, int]]) -> None:
    assert shop.repair(*lines).status == "inconsistent"
    assert (shop.counters("A"), shop.counters("B")) == ((10, 0), (5, 0))


@pytest.mark.parametrize(
    "garbage", ["z" * 36 + " A=1", "e" * 37 + " A=1", "e" * 36 + "_A=1", "e" * 36 + " A=1\n", "e" * 36 + " ", ""]
)
def test_what_names_no_hold_is_never_due(shop: Machine, garbage: str) -> None:
    shop.client.zadd(shop.keys.deadlines, {garbage: START_MS - 1})
    assert shop.availability("A=1").status == "ok"
    held = shop.reserve("A=1", ttl_ms=1_000)
    shop.later(1_000)
    assert shop.availability("A=1").status == "due_holds"
    assert shop.due == [member(held)]


# -- more than one read of Redis takes


def test_more_records_and_skus_than_one_read_takes(machine: Machine) -> None:
    skus = [f"S{n}" for n in range(2_010)]
    machine.run(*(Configure(sku, 0, 0, True, 5, "admin") for sku in skus))
    held = machine.run(*(machine.reserving(f"{sku}=1") for sku in skus))
    assert {one.status for one in held} == {"ok"}

    read = machine.run(*(Read(*address(one), "shop") for one in held))
    assert {one.status for one in read} == {"ok"}

    released = machine.run(*(Release(*address(one), "shop", "shop") for one in held))
    assert {one.status for one in released} == {"ok"}
    assert {machine.counters(sku) for sku in skus} == {(5, 0)}
    assert machine.deadlines() == {}


# -- names that look alike


def test_a_sku_is_no_pattern(shop: Machine) -> None:
    for sku in ("B.", "BC", "A-", "A--"):
        shop.stock(sku, 5)
    shop.reserve("BC=1,A--=1")
    shop.reserve("A--=1,BC=1")

    assert [level.next_release_ms for level in shop.availability("B.=6,A-=6").levels] == [0, 0]


@pytest.mark.parametrize("verb", ["adjust", "announce"])
def test_a_change_is_no_hold(shop: Machine, verb: str) -> None:
    base = shop.base()
    if verb == "adjust":
        shop.adjust(("A", "add", 1), base=base, fingerprint="f")
    else:
        shop.announce("stock.low", base=base)
    statuses = shop.wild(
        ["expire", base, f"{base}{START_MS:012x} A=1"],
        ["read", base, START_MS, ""],
        ["release", base, START_MS, "", ""],
        ["confirm", [[base, START_MS]], "", "", ""],
        ["amend", base, START_MS, "A=1", 0, "", ""],
        bases=[base],
    )
    assert statuses == ["unknown_reservation"] * 5


def test_every_line_of_an_adjustment_that_is_short_is_named(shop: Machine) -> None:
    result = shop.adjust(("A", "remove", 11), ("B", "remove", 6))
    assert [(short.sku, short.requested, short.available) for short in result.shortages] == [("A", 11, 10), ("B", 6, 5)]


@pytest.mark.parametrize("first", ["A", "B"])
def test_an_adjustment_of_which_one_line_is_too_much(shop: Machine, first: str) -> None:
    shop.adjust(("A", "set", 10**12))
    lines = [("A", "add", 1), ("B", "add", 1)]
    assert shop.adjust(*(lines if first == "A" else lines[::-1])).status == "stock_limit"
    assert (shop.counters("A"), shop.counters("B")) == ((10**12, 0), (5, 0))
