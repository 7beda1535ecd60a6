"""What a reconciliation tells: checks, where one does not hold, and the moment all of it belongs to.

Owns the shape of the answer; never looks at a store.
"""

from __future__ import annotations

from typing import Final, Literal

from msgspec import Struct

Counter = Literal[
    "on_hand",
    "reserved",
    "hold",
    "deadline",
    "record",
    "counter",
    "ledger_balance",
    "ledger_sum",
    "ledger_chain",
    "ledger_reserved",
    "journal",
    "quarantine",
    "repair",
]

MOST_SHOWN: Final = 1_000
"""Differences of one check that are kept; the rest is counted."""


class Drift(Struct, frozen=True, kw_only=True):
    """One difference."""

    counter: Counter
    """What differs. `on_hand`, `reserved`: a counter in Redis, units. `hold`: units that a reservation holds in Redis.
    `deadline`: when it ends, Unix ms. `record`: units of a reservation's record. `counter`: a field that is missing or
    cannot be read. `ledger_...`: Postgres against itself. `journal`, `quarantine`: events.
    `repair`: one that was begun and not finished, units of on_hand."""
    sku: str = ""
    expected: int
    actual: int
    reservation_id: str = ""
    detail: str = ""


class Check(Struct, frozen=True):
    """One statement that must be true, what was looked at, and where it is not."""

    invariant: str
    """Its number in docs/architecture.md."""
    statement: str
    looked_at: int
    found: int
    """How many differences there are."""
    drift: tuple[Drift, ...]
    """The first MOST_SHOWN of them."""


class Reconciliation(Struct, frozen=True, kw_only=True):
    """The outcome of one run."""

    epoch: int
    seq: int
    """The last event that the run has seen; every difference was one at its own event up to here."""
    as_of_ms: int
    """Server clock at the end of the run, Unix ms."""
    took_ms: int
    journal_lag_events: int
    """Events that were not in the ledger when the run began."""
    checked_skus: int
    checked_holds: int
    deep: bool
    checks: tuple[Check, ...]

    @property
    def found(self) -> int:
        """Differences in all."""
        return sum(check.found for check in self.checks)

    @property
    def drift(self) -> tuple[Drift, ...]:
        """The differences that are shown, check after check."""
        return tuple(drift for check in self.checks for drift in check.drift)


class Findings:
    """A check while it runs: counts everything, keeps the first MOST_SHOWN."""

    def __init__(self, invariant: str, statement: str) -> None:
        self.invariant = invariant
        self.statement = statement
        self.looked_at = 0
        self.found = 0
        self.drift: list[Drift] = []

    def add(self, drift: Drift) -> None:
        """Note a difference."""
        self.found += 1
        if len(self.drift) < MOST_SHOWN:
            self.drift.append(drift)

    def check(self) -> Check:
        """As it stands."""
        return Check(self.invariant, self.statement, self.looked_at, self.found, tuple(self.drift))
