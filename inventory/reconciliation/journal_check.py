"""The journal against itself: over all that the stream still holds, sequence numbers are dense.

Owns that walk; never looks at what the events did.
"""

from __future__ import annotations

from typing import Final

from engine.store_reader import StoreReader
from inventory.reconciliation.findings import Drift, Findings
from persistence.journal_entries import JournalEntry, read_entry

CHUNK: Final = 64


async def check_journal(reader: StoreReader) -> Findings:
    """Walk the stream from its oldest entry to where it ends now. Raises Disconnected."""
    check = Findings("5", "journal numbers are dense")
    moment = await reader.moment()
    after, expected, epoch = "0-0", 0, 0
    while expected <= moment.seq:
        found = await reader.journal(after, CHUNK)
        if not found:
            break
        for stream_id, raw in found:
            entry = read_entry(stream_id, raw)
            if not isinstance(entry, JournalEntry):
                continue
            if entry.epoch == epoch and entry.first_seq > expected and not await _trimmed(reader, after):
                check.add(
                    Drift(
                        counter="journal",
                        expected=expected,
                        actual=entry.first_seq,
                        detail=f"entry {stream_id} begins with event {entry.first_seq} after event {expected - 1}",
                    )
                )
            if entry.epoch != epoch or entry.last_seq >= expected:
                epoch, expected = entry.epoch, entry.last_seq + 1
            check.looked_at += len(entry.events)
            after = stream_id
        after = found[-1][0]
    if epoch and expected <= moment.seq:
        check.add(
            Drift(
                counter="journal",
                expected=moment.seq,
                actual=expected - 1,
                detail=f"the last entry ends with event {expected - 1}, meta says {moment.seq}",
            )
        )
    return check


async def _trimmed(reader: StoreReader, stream_id: str) -> bool:
    """True if the flusher has trimmed past this entry meanwhile: what comes next then need not follow it."""
    oldest = await reader.journal("0-0", 1)
    return bool(oldest) and _position(oldest[0][0]) > _position(stream_id)


def _position(stream_id: str) -> tuple[int, int]:
    milliseconds, _, number = stream_id.partition("-")
    return int(milliseconds), int(number or 0)
