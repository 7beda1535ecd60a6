"""Histories written by hand, for the tests of the checkers: one line an operation, times in ms.

Owns the shorthand; judges nothing.
"""

from __future__ import annotations

from typing import Any

from tests.checkers.history import UNKNOWN, Answer, Call, Event, History, Lines, Stock, Verb, history_of


def lines_of(text: str) -> Lines:
    """`A=1,B=2`."""
    pairs = (part.split("=") for part in text.split(",") if part)
    return tuple((sku, int(units)) for sku, units in pairs)


class Written:
    """Collects events; `history()` gives what they make."""

    def __init__(self, **stock: int) -> None:
        self.events: list[Event] = [Stock(sku, units) for sku, units in stock.items()]
        self._number = 0

    def op(
        self, called: float, answered: float | None, verb: Verb, base: str = "", lines: str = "", **more: Any
    ) -> int:
        """One operation from `called` to `answered` (None: no answer). Fields of Answer begin with `status`."""
        self._number += 1
        asked = {name: more.pop(name) for name in ("ttl_ms", "partial", "order_id", "operation") if name in more}
        self.events.append(
            Call(self._number, round(called * 1e6), f"c{self._number}", verb, base, lines_of(lines), **asked)
        )
        if answered is not None:
            told = {
                name: lines_of(value) if isinstance(value, str) and name in {"held", "short", "available"} else value
                for name, value in more.items()
            }
            told.setdefault("status", "ok")
            self.events.append(Answer(self._number, round(answered * 1e6), **told))
        return self._number

    def unknown(self, called: float, answered: float, verb: Verb, base: str = "", lines: str = "", **more: Any) -> int:
        return self.op(called, answered, verb, base, lines, status=UNKNOWN, **more)

    def history(self) -> History:
        return history_of(self.events)
