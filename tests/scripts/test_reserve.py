"""lua/commands/reserve.lua: every status in precedence order, and what it writes."""

from __future__ import annotations

import msgspec
import pytest

from engine.commands import Configure
from engine.events import Reserved
from engine.results import Record, Result, Shortage
from tests.scripts.machine import DETAILS, MINUTE_MS, START_MS, Machine, address, member

PRINT = "aaaaaaaaaaaaaaaa"


@pytest.fixture
def shop(machine: Machine) -> Machine:
    machine.stock("A", 10)
    machine.stock("B", 5)
    machine.stock("OFF", 5, active=False)
    return machine


def unchanged(shop: Machine, status: str, lines: str, **more: object) -> Result:
    before = shop.dump()
    result = shop.reserve(lines, **more)
    assert result.status == status
    assert shop.dump() == before
    return result


# -- statuses, in precedence order


def test_malformed_wins_over_a_reused_key(shop: Machine) -> None:
    base = shop.base()
    shop.reserve("A=1", base=base, fingerprint=PRINT)

    unchanged(shop, "malformed", "A=1,A=1", base=base, fingerprint="b" * 16)


@pytest.mark.parametrize("ttl_ms", [0, 999, 86_400_001])
def test_a_ttl_out_of_bounds_is_malformed(shop: Machine, ttl_ms: int) -> None:
    unchanged(shop, "malformed", "A=1", ttl_ms=ttl_ms)


@pytest.mark.parametrize("ttl_ms", [1_000, 86_400_000])
def test_the_shortest_and_the_longest_ttl(shop: Machine, ttl_ms: int) -> None:
    assert shop.reserve("A=1", ttl_ms=ttl_ms).reservations[0].deadline_ms == START_MS + ttl_ms


def test_key_reused_wins_over_unknown_sku(shop: Machine) -> None:
    base = shop.base()
    shop.reserve("A=1", base=base, fingerprint=PRINT)

    unchanged(shop, "key_reused", "NOPE=1", base=base, fingerprint="b" * 16)


def test_a_base_without_a_key_is_never_replayed(shop: Machine) -> None:
    base = shop.base()
    shop.reserve("A=1", base=base)

    unchanged(shop, "key_reused", "A=1", base=base)


def test_an_adjustments_key_is_not_a_reservation(shop: Machine) -> None:
    base = shop.base()
    shop.adjust(("A", "add", 1), base=base, fingerprint=PRINT)

    unchanged(shop, "key_reused", "A=1", base=base, fingerprint=PRINT)


def test_replayed_wins_over_a_shortage(shop: Machine) -> None:
    base = shop.base()
    first = shop.reserve("A=10", base=base, fingerprint=PRINT)
    shop.later(10)

    again = unchanged(shop, "replayed", "A=10", base=base, fingerprint=PRINT)

    assert again.reservations == first.reservations


def test_a_replay_shows_what_became_of_it(shop: Machine) -> None:
    base = shop.base()
    held = shop.reserve("A=1", base=base, fingerprint=PRINT)
    shop.confirm(held)

    again = unchanged(shop, "replayed", "A=1", base=base, fingerprint=PRINT)

    assert again.reservations[0].status == "COMPLETED"


def test_unknown_sku_wins_over_an_inactive_one_and_names_every_one(shop: Machine) -> None:
    result = unchanged(shop, "unknown_sku", "X=1,OFF=1,A=99,Y=1")

    assert result.skus == ("X", "Y")


def test_product_inactive_wins_over_a_shortage_and_names_every_one(shop: Machine) -> None:
    shop.stock("OFF2", 5, active=False)

    result = unchanged(shop, "product_inactive", "OFF2=1,A=99,OFF=1")

    assert result.skus == ("OFF2", "OFF")


def test_one_line_is_refused_as_many_are(shop: Machine) -> None:
    """A reservation of one line takes a shorter way through the script."""
    assert unchanged(shop, "unknown_sku", "X=1").skus == ("X",)
    assert unchanged(shop, "product_inactive", "OFF=1").skus == ("OFF",)
    assert unchanged(shop, "product_inactive", "OFF=99").skus == ("OFF",)
    assert unchanged(shop, "insufficient_stock", "A=11").shortages == (Shortage("A", 11, 10, 0),)


@pytest.mark.parametrize("lines", ["A=3", "A=3,B=1"])
def test_one_line_and_many_write_the_same_shape(shop: Machine, lines: str) -> None:
    held = shop.reserve(lines, fingerprint=PRINT, owner="o" * 40, details='{"c":"' + "c" * 300 + '"}')

    record = shop.record(held)
    event = shop.last_event()
    assert record is not None
    assert isinstance(event, Reserved)
    assert (record.lines, record.owner, record.fingerprint, len(record.details)) == (lines, "o" * 40, PRINT, 308)
    assert (event.owner, event.fingerprint, event.details) == (record.owner, PRINT, record.details)
    assert shop.deadlines() == {member(held): record.deadline_ms}


@pytest.mark.parametrize("length", [0, 1, 31, 32, 255, 256, 65_535, 65_536])
def test_texts_of_every_length_arrive_whole(shop: Machine, length: int) -> None:
    """The script joins records and events by hand; msgpack writes the length of a text in four ways."""
    sku = "S" * 60
    shop.stock(sku, 10)
    details = '{"c":"' + "c" * max(0, length - 8) + '"}'
    text = "o" * length
    for lines in ("A=1", f"{sku}=1", f"{sku}=1,A=1"):
        held = shop.reserve(lines, owner=text, fingerprint=text, details=details)

        record, event = shop.record(held), shop.last_event()
        assert record is not None
        assert isinstance(event, Reserved)
        assert (record.owner, record.fingerprint, record.details, record.lines) == (text, text, details, lines)
        assert (event.owner, event.fingerprint, event.details, event.id) == (
            text,
            text,
            details,
            held.reservations[0].id,
        )


@pytest.mark.parametrize("length", [0, 31, 32, 255])
def test_a_text_of_up_to_255_bytes_takes_no_more_than_msgpack_needs(shop: Machine, length: int) -> None:
    """What a hold costs in memory is told in bytes."""
    held = shop.reserve("A=1", owner="o" * length, fingerprint="f" * length)

    raw = shop.client.get(shop.record_key(held))
    assert raw == msgspec.msgpack.encode(shop.record(held))


def test_due_holds_win_over_insufficient_stock(shop: Machine) -> None:
    held = shop.reserve("A=8")
    shop.later(MINUTE_MS)

    unchanged(shop, "due_holds", "A=3")

    assert shop.due == [member(held)]


def test_every_short_line_is_reported_and_none_is_held(shop: Machine) -> None:
    shop.reserve("A=9", ttl_ms=5_000)
    shop.reserve("B=1", ttl_ms=9_000)

    result = unchanged(shop, "insufficient_stock", "A=2,B=5,C=1".replace(",C=1", ""))

    assert result.shortages == (Shortage("A", 2, 1, START_MS + 5_000), Shortage("B", 5, 4, START_MS + 9_000))


def test_a_shortage_without_a_hold_has_no_next_release(shop: Machine) -> None:
    result = unchanged(shop, "insufficient_stock", "A=11")

    assert result.shortages == (Shortage("A", 11, 10, 0),)


def test_the_next_release_is_this_skus_and_the_nearest(shop: Machine) -> None:
    shop.stock("AA", 10)
    shop.reserve("AA=1", ttl_ms=2_000)
    shop.reserve("B=1,A=1", ttl_ms=4_000)
    shop.reserve("A=9", ttl_ms=3_000)

    assert unchanged(shop, "insufficient_stock", "A=1").shortages[0].next_release_ms == START_MS + 3_000


def test_safety_stock_is_not_for_sale(shop: Machine) -> None:
    shop.stock("S", 10, safety=4)

    assert shop.reserve("S=6").status == "ok"
    assert unchanged(shop, "insufficient_stock", "S=1").shortages == (Shortage("S", 1, 0, START_MS + MINUTE_MS),)


def test_available_is_never_shown_below_zero(shop: Machine) -> None:
    shop.one(Configure("A", 99, 0, True, 0, "admin"))

    assert unchanged(shop, "insufficient_stock", "A=1").shortages[0].available == 0


# -- what it writes


def test_what_a_hold_writes(shop: Machine) -> None:
    before = shop.meta()
    held = shop.reserve("A=3,B=2", fingerprint=PRINT)

    assert held.status == "ok"
    assert shop.counters("A") == (10, 3)
    assert shop.counters("B") == (5, 2)
    deadline = START_MS + MINUTE_MS
    assert shop.record(held) == Record(
        "ACTIVE", START_MS, deadline, START_MS, "shop", PRINT, "A=3,B=2", "", "", DETAILS
    )
    assert shop.deadlines() == {member(held): deadline}
    event = shop.last_event()
    assert event == Reserved(held.reservations[0].id, "A=3=10=3,B=2=5=2", deadline, "shop", PRINT, DETAILS)
    assert shop.meta() == {**before, "seq": str(int(before["seq"]) + 1), "last_now_ms": str(START_MS)}
    assert held.seq == int(shop.meta()["seq"])


def test_the_id_is_base_and_creation_time(shop: Machine) -> None:
    base = shop.base()

    held = shop.reserve("A=1", base=base)

    assert held.reservations[0].id == base + format(START_MS, "012x")
    assert address(held) == (base, START_MS)


@pytest.mark.parametrize(
    ("fingerprint", "window_ms", "lives_ms"),
    [("", 86_400_000, MINUTE_MS + 3_600_000), (PRINT, 86_400_000, 86_400_000), (PRINT, 1_000, MINUTE_MS + 3_600_000)],
    ids=["unkeyed", "keyed: the window", "keyed, a short window: the deadline"],
)
def test_how_long_the_record_lives(shop: Machine, fingerprint: str, window_ms: int, lives_ms: int) -> None:
    shop.window_ms = window_ms

    held = shop.reserve("A=1", fingerprint=fingerprint)

    assert lives_ms - 2_000 < shop.ttl_ms(held) <= lives_ms


def test_the_last_unit_goes_once(shop: Machine) -> None:
    assert shop.reserve("A=10").status == "ok"
    unchanged(shop, "insufficient_stock", "A=1")


def test_all_or_nothing(shop: Machine) -> None:
    unchanged(shop, "insufficient_stock", "A=1,B=6")

    assert shop.counters("A") == (10, 0)


# -- partial


def test_partial_takes_what_there_is_and_reports_the_rest(shop: Machine) -> None:
    shop.stock("NONE", 0)

    held = shop.reserve("A=12,NONE=1,B=2", partial=True)

    assert held.status == "ok"
    assert held.reservations[0].lines == (("A", 10), ("B", 2))
    assert held.shortages == (Shortage("A", 12, 10, 0), Shortage("NONE", 1, 0, 0))
    assert [shop.counters(sku) for sku in ("A", "B", "NONE")] == [(10, 10), (5, 2), (0, 0)]
    assert shop.last_event().lines == "A=10=10=10,B=2=5=2"
    assert shop.deadlines() == {member(held): START_MS + MINUTE_MS}


def test_partial_of_enough_is_the_whole(shop: Machine) -> None:
    held = shop.reserve("A=3", partial=True)

    assert held.shortages == ()
    assert held.reservations[0].lines == (("A", 3),)


def test_partial_of_the_very_last_unit(shop: Machine) -> None:
    shop.reserve("A=9")

    assert shop.reserve("A=3", partial=True).reservations[0].lines == (("A", 1),)
    assert shop.counters("A") == (10, 10)


def test_partial_of_nothing_is_a_shortage(shop: Machine) -> None:
    shop.reserve("A=10")

    assert unchanged(shop, "insufficient_stock", "A=3", partial=True).shortages[0].available == 0


def test_partial_waits_for_due_holds(shop: Machine) -> None:
    held = shop.reserve("A=8")
    shop.later(MINUTE_MS)

    unchanged(shop, "due_holds", "A=3", partial=True)
    assert shop.expire(held).status == "ok"
    assert shop.reserve("A=3", partial=True).reservations[0].lines == (("A", 3),)
