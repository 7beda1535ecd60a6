"""What an independent auditor sees of a run: requests and answers, in the words of the HTTP contract, nothing else.

Owns what an answer means to whoever asked: done, refused, or not known. Never looks at a store.
"""

from __future__ import annotations

from math import inf
from typing import Any, Literal

import msgspec

from runtime.wire import WireAnswer

Verb = Literal["reserve", "amend", "confirm", "release", "order", "cancel", "adjust"]
Outcome = Literal["done", "refused", "unknown"]

WAIT_FOR_THE_LEDGER = ("order", "cancel", "adjust")
"""They are answered once Postgres has them, whatever the level: no loss of Redis may undo them."""

UNDONE_503 = frozenset({"store-unavailable", "not-ready", "overloaded", "reservation-state-unknown"})
"""503s by which the service says that nothing was changed."""


class Answered(msgspec.Struct):
    """One request that was sent, and what came of it."""

    sent_s: float
    answered_s: float
    status: int
    code: str
    body: Any
    replayed: bool

    @property
    def outcome(self) -> Outcome:
        if 200 <= self.status < 300:
            return "done"
        if self.status in {0, 500} or (self.status == 503 and self.code not in UNDONE_503):
            return "unknown"
        return "refused"


class Call(msgspec.Struct):
    """Something that somebody wanted, and every request that was sent for it. Repeats are of the same wish."""

    number: int
    verb: Verb
    keyed: bool
    """It may be repeated: under its key, or because it names what it is about."""
    lines: dict[str, int] = {}
    """What is held, sold or, signed, adjusted; units a SKU."""
    reservation_ids: tuple[str, ...] = ()
    order_id: str = ""
    tries: list[Answered] = []

    @property
    def done(self) -> Answered | None:
        """The first answer that says so."""
        return next((one for one in self.tries if one.outcome == "done"), None)

    @property
    def may_have_happened(self) -> bool:
        return any(one.outcome != "refused" for one in self.tries)

    @property
    def unknown(self) -> bool:
        """Nobody has said yet whether it happened."""
        return self.done is None and (not self.tries or self.tries[-1].outcome == "unknown")


class Allowed(msgspec.Struct, frozen=True):
    """What a fault may do that would else be an objection."""

    lost_after_s: float | None = None
    """Answers given after this moment (monotonic) may be forgotten; None: none may."""
    lost_until_s: float = inf
    """Those given after this one may not."""
    early_expiry: bool = False
    """The wall clock was moved: a hold may end before those who look at other clocks expect it."""
    quarantined: int = 0
    """Entries that were put into the journal by hand and must be set aside."""

    def forgets(self, call: Call, answer: Answered) -> bool:
        """That this was done need not be true any more."""
        if self.lost_after_s is None or call.verb in WAIT_FOR_THE_LEDGER or answer.outcome != "done":
            return False
        return self.lost_after_s <= answer.answered_s <= self.lost_until_s


def answered(answer: WireAnswer) -> Answered:
    """An answer as it came."""
    body: Any = None
    code = ""
    if answer.status and answer.body:
        body = msgspec.json.decode(answer.body)
        if answer.status >= 400 and isinstance(body, dict):
            code = str(body.get("code", ""))
    return Answered(answer.sent_s, answer.answered_s, answer.status, code, body, answer.replayed)


def lines_of(reservation: Any) -> dict[str, int]:
    """The lines of a reservation as the contract shows it."""
    return {line["sku"]: line["quantity"] for line in reservation["lines"]}
