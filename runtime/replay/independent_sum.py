"""What the stock must be once the file has been played: added up line by line, straight from the file.

Owns the expectation. Never sees the plan, a request or an answer, so that a mistake in how the file was played, or in
the service, cannot also be in here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Final

from msgspec import Struct

from runtime.replay.cleaning import Kind, Line

SIGN: Final = {Kind.SALE: -1, Kind.RETURN: 1, Kind.DAMAGE: -1}
TRANSACTION_TYPE: Final = {Kind.SALE: "OUT", Kind.RETURN: "RETURN", Kind.DAMAGE: "DAMAGE"}
OPENING_TYPE: Final = "IN"


class Expected(Struct, frozen=True):
    """Units by what moved them. Signed as in the ledger: into the shop is positive."""

    opening: dict[str, int]
    """SKU -> units that must be delivered first: all that is sold or lost, so that events can come in any order."""
    by_type: dict[tuple[str, str], int]
    """(SKU, transaction type) -> units."""
    by_document: dict[tuple[str, str, str], int]
    """(type, invoice, SKU) -> units, for what the ledger references by its invoice: sales and returns."""

    @property
    def skus(self) -> tuple[str, ...]:
        """Every SKU of the file, in order of first appearance."""
        return tuple(self.opening)

    def change_of(self, sku: str) -> int:
        """By how much on_hand of a SKU must have changed in all, in units."""
        return sum(self.by_type.get((sku, kind), 0) for kind in (OPENING_TYPE, *TRANSACTION_TYPE.values()))


def add_up(lines: Iterable[Line]) -> Expected:
    """Add the file up."""
    opening: Counter[str] = Counter()
    by_type: Counter[tuple[str, str]] = Counter()
    by_document: Counter[tuple[str, str, str]] = Counter()
    for line in lines:
        kind = TRANSACTION_TYPE[line.kind]
        change = SIGN[line.kind] * line.quantity
        needed = max(0, -change)
        opening[line.sku] += needed
        by_type[line.sku, OPENING_TYPE] += needed
        by_type[line.sku, kind] += change
        if line.kind != Kind.DAMAGE:
            by_document[kind, line.invoice, line.sku] += change
    return Expected(dict(opening), dict(by_type), dict(by_document))
