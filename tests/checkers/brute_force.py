"""Linearizability by trying every order: for histories of a handful of operations, to hold the search against.

Owns nothing but the trying; shares the rules and the steps with linearizability.py, not its list, memory or groups.
"""

from __future__ import annotations

from tests.checkers.history import History
from tests.checkers.linearizability import Step, steps_of
from tests.checkers.specification import Shop


def is_linearizable(history: History, tolerance_ms: int | None = 0) -> bool:
    """True if some order of all operations, each unknown one in it or not, gives the answers that were given."""
    return _continue(Shop(history.stock), steps_of(list(history.operations), tolerance_ms))


def _continue(shop: Shop, left: list[Step]) -> bool:
    if all(one.returned_ns is None for one in left):
        return True
    first_return = min(one.returned_ns for one in left if one.returned_ns is not None)
    for place, one in enumerate(left):
        if one.called_ns > first_return:
            continue
        log = shop.step(one.call, one.answer, one.number)
        if log is None:
            continue
        found = _continue(shop, left[:place] + left[place + 1 :])
        shop.undo(log)
        if found:
            return True
    return False
