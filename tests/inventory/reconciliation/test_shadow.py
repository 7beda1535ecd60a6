"""inventory/reconciliation/shadow.py: an event that the ledger will set aside moves nothing, and is counted."""

from __future__ import annotations

import pytest

from engine.events import Adjusted, Event, Released, Reserved
from inventory.reconciliation.shadow import Shadow
from persistence.journal_entries import JournalEntry

ID = "a" * 36


@pytest.mark.parametrize(
    "unreadable",
    [
        Reserved(ID, "A=two=10=2", 1_800_000_000_000, "shop", "", '{"c":"ann"}'),
        Released(ID, "A=2=10", "shop"),
        Adjusted(ID, "A", "IN", "goods in", "Reconciliation", "r-1", "admin"),
    ],
    ids=lambda event: type(event).__name__,
)
def test_lines_that_cannot_be_read(unreadable: Event) -> None:
    shadow = Shadow(1, 4)
    shadow.on_hand["A"] = 10
    good = Adjusted(ID, "A=5=15=0", "IN", "goods in", "", "", "admin")

    shadow.apply(JournalEntry("5-0", b"", 1, 5, 1_800_000_000_000, (unreadable, good)))

    assert (shadow.bad_events, shadow.seq, shadow.on_hand) == (1, 6, {"A": 15})
    assert not shadow.holds
    assert not shadow.repairs
