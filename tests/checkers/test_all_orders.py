"""The search agrees with trying every order on thousands of small histories, and a broken search does not."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest

from tests.checkers import linearizability
from tests.checkers.brute_force import is_linearizable
from tests.checkers.history import (
    Call,
    History,
)
from tests.checkers.linearizability import Search, check
from tests.checkers.specification import Shop
from tests.checkers.written import Written, lines_of

SMALL_HISTORIES = 3_000


def small_history(dice: random.Random) -> History:
    """A run of four to six operations with right answers, half of them then told otherwise."""
    stock = {"A": dice.randint(0, 4), "B": dice.randint(1, 3)}
    run = Written(**stock)
    shop = Shop(tuple(run.events))  # type: ignore[arg-type]
    count = dice.randint(4, 6)
    moments = sorted(dice.sample(range(2_000), count))
    wrong = dice.randrange(count * 2)
    for place, moment in enumerate(moments):
        verb = dice.choice(["reserve", "reserve", "reserve", "amend", "confirm", "release", "adjust", "availability"])
        lines = dice.choice(["A=1", "A=2", "B=1", "A=1,B=1"])
        base = f"{verb[:2]}{dice.randrange(2)}" if verb == "adjust" else f"r{dice.randrange(3)}"
        more: dict[str, Any] = {}
        if verb == "reserve":
            more = {"ttl_ms": dice.choice([0, 400, 800]), "partial": dice.random() < 0.2}
        elif verb == "amend":
            more = {"ttl_ms": dice.choice([0, 300])}
        elif verb == "adjust":
            more = {"operation": dice.choice(["add", "remove", "set"])}
        elif verb == "availability":
            base = ""
        else:
            lines = ""
        call = Call(place + 1, 0, "c", verb, base, lines_of(lines), **more)  # type: ignore[arg-type]
        told = getattr(shop, "_" + verb)(call, place + 1, None)
        answer: dict[str, Any] = {"status": told.status}
        if told.available is not None:
            answer["available"] = told.available
        if told.state and dice.random() < 0.8:
            answer |= {"state": told.state, "held": told.held}
        if told.short:
            answer["short"] = told.short
        if place == wrong:
            answer = mistold(answer, dice)
        called, answered = moment - dice.randrange(500), moment + dice.randrange(500)
        if dice.random() < 0.2:
            run.op(called, None, verb, base, lines, **more)  # type: ignore[arg-type]
        else:
            run.op(called, answered, verb, base, lines, **more, **answer)  # type: ignore[arg-type]
    return run.history()


def mistold(answer: dict[str, Any], dice: random.Random) -> dict[str, Any]:
    if "available" in answer:
        ((sku, units), *rest) = answer["available"]
        return answer | {"available": ((sku, units + dice.choice([-1, 1])), *rest)}
    others = ["ok", "insufficient_stock", "not_active", "expired", "replayed", "unknown_reservation"]
    return {"status": dice.choice([one for one in others if one != answer["status"]])}


def test_it_agrees_with_every_order_tried() -> None:
    seed = random.randrange(10**9)
    print(f"seed {seed}")
    dice = random.Random(seed)
    verdicts: Counter[bool] = Counter()
    unknown = groups = 0
    for number in range(SMALL_HISTORIES):
        history = small_history(dice)
        verdict = check(history, tolerance_ms=0)
        assert verdict.ok == is_linearizable(history), f"seed {seed}, history {number}: {history}"
        verdicts[verdict.ok] += 1
        unknown += history.unknown
        groups += verdict.groups
    print(verdicts, unknown, groups)
    assert min(verdicts.values()) > SMALL_HISTORIES // 10, "both verdicts must be common, or nothing was compared"
    assert unknown > SMALL_HISTORIES // 4


# -- the search broken on purpose: the comparison above must find each


def forget_real_time(patch: pytest.MonkeyPatch) -> None:
    """Candidates from behind the first answer that is still to come."""

    def candidates(self: Search) -> list[int]:
        nodes = [self._call_node[place] for place in range(len(self.todo))]
        return [place for place, node in enumerate(nodes) if self._after[self._before[node]] == node]

    patch.setattr(Search, "_candidates", candidates)


def never_apply_the_unknown(patch: pytest.MonkeyPatch) -> None:
    original = Search._candidates

    def candidates(self: Search) -> list[int]:
        return [place for place in original(self) if self.todo[place].returned_ns is not None]

    patch.setattr(Search, "_candidates", candidates)


def remember_too_little(patch: pytest.MonkeyPatch) -> None:
    """The state alone, not what is already in order."""
    original = Search.__init__

    def init(self: Search, *args: Any) -> None:
        original(self, *args)
        self._marks = [0 for _ in self.todo]

    patch.setattr(Search, "__init__", init)


def forget_the_state(patch: pytest.MonkeyPatch) -> None:
    """What is in order alone, not the state it led to."""
    patch.setattr(Shop, "_toggle", lambda self, key, value: None)


def do_not_undo(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Shop, "undo", lambda self, log: None)


def split_what_belongs_together(patch: pytest.MonkeyPatch) -> None:
    """Each operation in the group of its first SKU alone."""

    def groups(history: History) -> Any:
        for sku in ("A", "B"):
            bases = {one.call.base for one in history.operations if one.call.lines and one.call.lines[0][0] == sku}
            named = [one for one in history.operations if one.call.base in bases]
            if named:
                yield history.stock, named

    patch.setattr(linearizability, "independent_groups", groups)


def never_let_deadlines_pass(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Shop, "_deadline", lambda self, deadline: None)


def stop_at_the_first_dead_end(patch: pytest.MonkeyPatch) -> None:
    original = Search._candidates
    patch.setattr(Search, "_candidates", lambda self: original(self)[:1])


def drop_unknown_too_soon(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Shop, "can_never_matter", lambda self, call: ("hold", call.base) not in self.cells)


FAULTS = [
    forget_real_time,
    never_apply_the_unknown,
    remember_too_little,
    forget_the_state,
    do_not_undo,
    split_what_belongs_together,
    never_let_deadlines_pass,
    stop_at_the_first_dead_end,
    drop_unknown_too_soon,
]


@cache
def judged() -> tuple[list[History], list[bool]]:
    dice = random.Random(7)
    histories = [small_history(dice) for _ in range(600)]
    return histories, [is_linearizable(history) for history in histories]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_broken_search_disagrees(
    fault: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    histories, right = judged()
    fault(monkeypatch)

    def verdict(history: History) -> Any:
        try:
            return check(history, tolerance_ms=0).ok
        except (KeyError, IndexError, TypeError) as error:
            return type(error)

    assert [verdict(history) for history in histories] != right
