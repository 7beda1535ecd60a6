"""The journal as Postgres keeps it: entries after a position, how far back it goes, and forgetting what is old.

Owns reads and deletes; the flusher writes (ledger_writer.py). What stands here is committed in the ledger, so it can no
longer be undone by anything that happens to Redis.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

import msgspec
from msgspec import Struct, structs
from sqlalchemy import ColumnElement, and_, delete, or_, select, true, tuple_

from persistence.database import Database, Transaction
from persistence.journal_entries import BadEvent, JournalEntry, read_entry
from persistence.tables import follower_cursors, journal_archive, journal_cursors, journal_quarantine

_ROW = journal_archive.c
_CURSOR = journal_cursors.c
_FOLLOWER = follower_cursors.c
_SET_ASIDE = journal_quarantine.c
_KEY: Final = (_ROW.partition, _ROW.epoch, _ROW.last_seq)


class Position(Struct, frozen=True, order=True):
    """A place in a partition's journal: everything up to and with event `seq` of `epoch` lies before it."""

    epoch: int
    seq: int


class ArchiveExtent(Struct, frozen=True):
    """What can be read at one moment."""

    oldest: Position
    """Reading on from here gives the oldest entry there is."""
    newest: Position
    """Where the ledger stands; nothing beyond can be read yet."""


async def extent(source: Database | Transaction, partition: int = 0) -> ArchiveExtent:
    """How far back and how far on the archive reaches. Raises DatabaseUnavailable."""
    first = (
        select(_ROW.epoch, _ROW.first_seq)
        .where(_ROW.partition == partition)
        .order_by(_ROW.epoch, _ROW.last_seq)
        .limit(1)
        .subquery()
    )
    statement = (
        select(_CURSOR.epoch, _CURSOR.seq, first.c.epoch.label("first_epoch"), first.c.first_seq)
        .select_from(journal_cursors.outerjoin(first, _CURSOR.partition == partition))
        .where(_CURSOR.partition == partition)
    )
    (row,) = await _rows(source, statement)
    newest = Position(row.epoch, row.seq)
    oldest = newest if row.first_seq is None else Position(row.first_epoch, row.first_seq - 1)
    return ArchiveExtent(oldest, newest)


async def read_after(
    source: Database | Transaction, position: Position, most: int, partition: int = 0
) -> list[JournalEntry]:
    """Up to `most` entries that hold something after `position`, in order, whole.

    The first one may begin before the position. An event that the ledger set aside stands as BadEvent, whatever it
    says: nobody should act on what did not happen to the stock. Raises DatabaseUnavailable.
    """
    after = (partition, position.epoch, position.seq)
    found = (
        select(_ROW.epoch, _ROW.first_seq, _ROW.last_seq, _ROW.stream_id, _ROW.body)
        .where(_ROW.partition == partition, tuple_(*_KEY) > after)
        .order_by(*_KEY)
        .limit(most)
    )
    rows = await _rows(source, found)
    if not rows:
        return []
    entries = [read_entry(row.stream_id, row.body) for row in rows]
    # Hardly ever any, and so few that all of these entries' are asked for at once.
    refused = select(_SET_ASIDE.epoch, _SET_ASIDE.seq, _SET_ASIDE.stream_id, _SET_ASIDE.error).where(
        _SET_ASIDE.partition == partition,
        tuple_(_SET_ASIDE.epoch, _SET_ASIDE.seq).between(
            (rows[0].epoch, rows[0].first_seq), (rows[-1].epoch, rows[-1].last_seq)
        ),
        _SET_ASIDE.applied == "nothing",
    )
    set_aside = {(row.epoch, row.seq, row.stream_id): row.error for row in await _rows(source, refused)}
    # Only what could be read is archived, and it is as readable now; the type says so.
    return [_without(entry, set_aside) for entry in entries if isinstance(entry, JournalEntry)]


def _without(entry: JournalEntry, set_aside: dict[tuple[int, int, str], str]) -> JournalEntry:
    """The entry, with BadEvent in place of what the ledger set aside of it."""
    if not set_aside:
        return entry
    events = list(entry.events)
    for place, event in enumerate(events):
        error = set_aside.get((entry.epoch, entry.first_seq + place, entry.stream_id))
        if error is not None and not isinstance(event, BadEvent):
            events[place] = BadEvent(msgspec.msgpack.encode(event), error)
    return structs.replace(entry, events=tuple(events))


async def forget(database: Database, before: datetime, followed_before: datetime, most: int, partition: int = 0) -> int:
    """Delete up to `most` of the oldest entries; how many went. Raises DatabaseUnavailable.

    Those written before `before` go once every follower has taken them, those before `followed_before` in any case.
    Always from the oldest on, without a hole: what is missing elsewhere was never readable.
    """
    slowest = (
        select(_FOLLOWER.epoch, _FOLLOWER.seq)
        .where(_FOLLOWER.partition == partition)
        .order_by(_FOLLOWER.epoch, _FOLLOWER.seq)
        .limit(1)
    )
    behind = await database.fetch(slowest)
    # Only the oldest are looked at: a condition on the time alone would read the whole archive to find no more.
    oldest = select(*_KEY, _ROW.at).where(_ROW.partition == partition).order_by(*_KEY).limit(most).subquery()
    taken: ColumnElement[bool] = true()
    if behind:
        taken = tuple_(oldest.c.epoch, oldest.c.last_seq) <= (behind[0].epoch, behind[0].seq)
    old = select(oldest.c.partition, oldest.c.epoch, oldest.c.last_seq).where(
        or_(and_(oldest.c.at < before, taken), oldest.c.at < followed_before)
    )
    return len(await database.write(delete(journal_archive).where(tuple_(*_KEY).in_(old)).returning(_ROW.last_seq)))


async def _rows(source: Database | Transaction, statement: Any) -> Any:
    if isinstance(source, Database):
        return await source.fetch(statement)
    return (await source.execute(statement)).all()
