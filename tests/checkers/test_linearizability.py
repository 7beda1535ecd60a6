"""Histories written by hand: each rule as one that must pass and the same with one thing wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.checkers.history import (
    History,
)
from tests.checkers.linearizability import check
from tests.checkers.written import Written

# -- known good, and the same with one thing wrong. Each pair is one rule.


def sold_out(last: str) -> History:
    """One unit, two buyers one after the other."""
    run = Written(A=1)
    run.op(0, 1, "reserve", "r1", "A=1", held="A=1")
    run.op(2, 3, "reserve", "r2", "A=1", status=last)
    return run.history()


def side_by_side(winners: int) -> History:
    """One unit, two buyers at once: either may win, not both, not none."""
    run = Written(A=1)
    for place in range(2):
        status = "ok" if place < winners else "insufficient_stock"
        run.op(place, 10 + place, "reserve", f"r{place}", "A=1", status=status)
    return run.history()


def seen_before_it_was_done(read_at: int) -> History:
    """A look between the answer of a reserve and the end must see it."""
    run = Written(A=5)
    run.op(0, 10, "reserve", "r1", "A=2")
    run.op(read_at, read_at + 1, "availability", lines="A=1", available="A=5")
    return run.history()


def seen_then_unseen(second: int) -> History:
    """Of two looks during one reserve the first sees it: then the second one must."""
    run = Written(A=5)
    run.op(0, 100, "reserve", "r1", "A=2")
    run.op(10, 20, "availability", lines="A=1", available="A=3")
    run.op(30, 40, "availability", lines="A=1", available=f"A={second}")
    return run.history()


def ended_twice(second: str) -> History:
    run = Written(A=5)
    run.op(0, 1, "reserve", "r1", "A=2")
    run.op(2, 9, "confirm", "r1", order_id="o", state="COMPLETED")
    run.op(3, 8, "release", "r1", status=second)
    return run.history()


def sold_after_its_deadline(sold_at: int) -> History:
    """A hold of one second that began between 0 and 5 ms."""
    run = Written(A=5)
    run.op(0, 5, "reserve", "r1", "A=2", ttl_ms=1_000)
    run.op(sold_at, sold_at + 2, "confirm", "r1", order_id="o")
    return run.history()


def expired_before_its_deadline(at: int) -> History:
    run = Written(A=5)
    run.op(0, 5, "reserve", "r1", "A=2", ttl_ms=1_000)
    run.op(at, at + 2, "confirm", "r1", order_id="o", status="expired")
    return run.history()


def deadline_moved_by_an_amend(sold_at: int) -> History:
    run = Written(A=5)
    run.op(0, 5, "reserve", "r1", "A=2", ttl_ms=1_000)
    run.op(500, 505, "amend", "r1", ttl_ms=1_000, held="A=2")
    run.op(sold_at, sold_at + 2, "confirm", "r1", order_id="o")
    return run.history()


def units_of_an_expired_hold(at: int) -> History:
    """Nobody sweeps: what it held is sellable from its deadline on, and not before."""
    run = Written(A=2)
    run.op(0, 5, "reserve", "r1", "A=2", ttl_ms=1_000)
    run.op(at, at + 2, "reserve", "r2", "A=1")
    return run.history()


def told_expired_twice(second: str) -> History:
    run = Written(A=2)
    run.op(0, 5, "reserve", "r1", "A=2", ttl_ms=1_000)
    run.op(1_100, 1_101, "expire", "r1")
    run.op(1_200, 1_201, "expire", "r1", status=second)
    return run.history()


def key_again(held: str, state: str = "ACTIVE") -> History:
    run = Written(A=5)
    run.op(0, 1, "reserve", "r1", "A=2", held="A=2")
    run.op(2, 3, "amend", "r1", "A=3", held="A=3")
    run.op(4, 5, "reserve", "r1", "A=2", status="replayed", held=held, state=state)
    return run.history()


def other_request_under_a_key(status: str) -> History:
    run = Written(A=5)
    run.op(0, 1, "reserve", "r1", "A=2")
    run.op(2, 3, "reserve", "r1", "A=3", status=status)
    return run.history()


def reserve_lost_and_asked_again(second: str) -> History:
    """The first may have happened or not: both `ok` and `replayed` are right, a refusal is not."""
    run = Written(A=2)
    run.unknown(0, 5, "reserve", "r1", "A=2")
    run.op(6, 7, "reserve", "r1", "A=2", status=second)
    run.op(8, 9, "availability", lines="A=1", available="A=0")
    return run.history()


def late_effect(available: int) -> History:
    """What has no answer may happen long after; once, not twice."""
    run = Written(A=5)
    run.unknown(0, 5, "reserve", "r1", "A=2")
    run.op(100, 101, "availability", lines="A=1", available="A=5")
    run.op(200, 201, "availability", lines="A=1", available="A=3")
    run.op(300, 301, "availability", lines="A=1", available=f"A={available}")
    return run.history()


def before_it_was_sent(seen_at: int) -> History:
    run = Written(A=5)
    run.op(seen_at, seen_at + 1, "availability", lines="A=1", available="A=3")
    run.unknown(50, 60, "reserve", "r1", "A=2")
    return run.history()


def both_or_none(available: str) -> History:
    """A hold on two SKUs joins them into one group."""
    run = Written(A=5, B=5)
    run.op(0, 10, "reserve", "r1", "A=1,B=2")
    run.op(2, 3, "availability", lines="A=1,B=1", available=available)
    return run.history()


def as_much_as_there_is(held: str) -> History:
    run = Written(A=2, B=5)
    run.op(0, 1, "reserve", "r1", "A=3,B=1", partial=True, held=held)
    return run.history()


def shortage_says(available: int) -> History:
    run = Written(A=3)
    run.op(0, 1, "reserve", "r1", "A=2")
    run.op(2, 3, "reserve", "r2", "A=2", status="insufficient_stock", short=f"A={available}")
    return run.history()


def held_stock_taken(status: str) -> History:
    run = Written(A=3)
    run.op(0, 1, "reserve", "r1", "A=2")
    run.op(2, 3, "adjust", "d1", "A=2", operation="remove", status=status)
    return run.history()


def counted(on_hand: int) -> History:
    run = Written(A=3)
    run.op(0, 1, "adjust", "d1", "A=4", operation="add", levels=(("A", 7, 0),))
    run.op(2, 3, "adjust", "d2", "A=5", operation="set", levels=(("A", on_hand, 0),))
    run.op(4, 5, "adjust", "d1", "A=4", operation="add", status="replayed", levels=(("A", 7, 0),))
    return run.history()


def amended_beyond(status: str) -> History:
    """Its own two and the one that is free."""
    run = Written(A=4)
    run.op(0, 1, "reserve", "r1", "A=2")
    run.op(2, 3, "reserve", "r2", "A=1")
    run.op(4, 5, "amend", "r1", "A=4", status=status)
    return run.history()


def bought_by_two_orders(status: str) -> History:
    run = Written(A=4)
    run.op(0, 1, "reserve", "r1", "A=2")
    run.op(2, 3, "confirm", "r1", order_id="o1")
    run.op(4, 5, "confirm", "r1", order_id="o2", status=status)
    return run.history()


def read_as(state: str) -> History:
    run = Written(A=4)
    run.op(0, 1, "reserve", "r1", "A=2")
    run.op(2, 3, "release", "r1")
    run.op(4, 5, "read", "r1", state=state, held="A=2")
    return run.history()


def nobodys(status: str) -> History:
    run = Written(A=4)
    run.op(0, 1, "read", "r9", status=status)
    return run.history()


PAIRS: list[tuple[Callable[[Any], History], list[Any], list[Any]]] = [
    (sold_out, ["insufficient_stock"], ["ok"]),
    (side_by_side, [1], [2, 0]),
    (seen_before_it_was_done, [3], [11]),
    (seen_then_unseen, [3], [5]),
    (ended_twice, ["not_active"], ["ok", "replayed", "expired"]),
    (sold_after_its_deadline, [900, 1_004, 1_024], [1_026, 5_000]),
    (expired_before_its_deadline, [979, 1_100], [500, 977]),
    (deadline_moved_by_an_amend, [1_400, 1_520], [1_600]),
    (units_of_an_expired_hold, [1_000, 2_000], [900]),
    (told_expired_twice, ["not_active"], ["ok", "not_due"]),
    (key_again, ["A=3"], ["A=2", "A=4"]),
    (other_request_under_a_key, ["key_reused"], ["replayed", "ok"]),
    (reserve_lost_and_asked_again, ["ok", "replayed"], ["insufficient_stock", "key_reused"]),
    (late_effect, [3], [1, 5]),
    (before_it_was_sent, [50], [10]),
    (both_or_none, ["A=5,B=5", "A=4,B=3"], ["A=4,B=5", "A=5,B=3"]),
    (as_much_as_there_is, ["A=2,B=1"], ["A=3,B=1", "A=1,B=1", "B=1"]),
    (shortage_says, [1], [0, 2]),
    (held_stock_taken, ["insufficient_stock"], ["ok"]),
    (counted, [5], [12]),
    (amended_beyond, ["insufficient_stock"], ["ok"]),
    (bought_by_two_orders, ["not_active"], ["ok", "replayed"]),
    (read_as, ["CANCELLED"], ["ACTIVE", "EXPIRED"]),
    (nobodys, ["unknown_reservation"], ["ok"]),
]
GOOD = [(write, value) for write, good, _ in PAIRS for value in good]
BAD = [(write, value) for write, _, bad in PAIRS for value in bad]


def names(cases: list[tuple[Callable[[Any], History], Any]]) -> list[str]:
    return [f"{write.__name__}-{value}" for write, value in cases]


@pytest.mark.parametrize(("write", "value"), GOOD, ids=names(GOOD))
def test_good(write: Callable[[Any], History], value: Any) -> None:
    assert check(write(value), tolerance_ms=20).reason == ""


@pytest.mark.parametrize(("write", "value"), BAD, ids=names(BAD))
def test_bad(write: Callable[[Any], History], value: Any) -> None:
    verdict = check(write(value), tolerance_ms=20)

    assert not verdict.ok
    assert "no order" in verdict.reason


def test_the_first_answer_again_need_not_tell_how_it_stands_now() -> None:
    """Over HTTP a repeated reserve is answered as the first time."""
    assert check(key_again("A=2", state="")).ok
    assert not check(key_again("A=3", state="")).ok


def test_clocks_that_jump_leave_a_deadline_free() -> None:
    history = expired_before_its_deadline(500)

    assert not check(history).ok
    assert check(history, tolerance_ms=None).ok


def test_a_search_that_gives_up_does_not_pass() -> None:
    run = Written(A=30)
    for place in range(14):
        run.op(0, 100, "reserve", f"r{place}", f"A={place % 3 + 1}")
    run.op(200, 201, "availability", lines="A=1", available="A=9")  # 27 units are held: 3 are left
    verdict = check(run.history(), max_steps=200)

    assert not verdict.ok
    assert "undecided" in verdict.reason
