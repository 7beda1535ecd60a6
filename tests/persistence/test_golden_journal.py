"""Journals as versions in use have written them (golden/): readable for as long as a store may hold them.

A journal outlives a deployment: what the version before has written is flushed by this one. Made by the function
`journal_of_every_verb`. A change of what the state machine writes needs a new schema number and a new file; the old
file stays.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
import redis

from engine import Adjust, Amend, Announce, Configure, Confirm, Engine, Expire, Release, Reserve
from engine.events import SCHEMA
from engine.keys import partition_keys
from persistence.flush_plan import Cursor, FlushPlan
from persistence.journal_entries import JournalEntry, read_entry
from persistence.level_book import LevelBook

GOLDEN = Path(__file__).parent / "golden"


async def journal_of_every_verb(engine: Engine, client: redis.Redis) -> list[tuple[str, bytes]]:
    """One event of each kind and more, from the real script; the entries as they stand in Redis."""

    async def done(*commands: Any) -> None:
        for result in await engine.apply(commands):
            assert result.status == "ok", result

    bases = [f"{number:024x}" for number in range(1, 10)]
    details = '{"c":"ann","k":null,"t":60000}'

    async def hold(base: str, lines: str) -> tuple[str, int]:
        result = await engine.execute(Reserve(base, lines, 60_000, owner="shop", fingerprint="f" * 16, details=details))
        (held,) = result.reservations
        return base, held.created_ms

    await done(Configure("MUG", 1, 5, True, 40, "admin"), Configure("CUP 3:L", 0, 0, True, 7, "admin"))
    sold = await hold(bases[0], "MUG=2,CUP 3:L=1")
    await done(Amend(*sold, "MUG=3", 90_000, "shop", "shop"))
    await done(Confirm((sold,), "order-1", "shop", "shop"))
    gone = await hold(bases[1], "MUG=1")
    await done(Release(*gone, "shop", "shop"))
    late = await hold(bases[2], "MUG=4")
    engine.batcher.clock_ms = late[1] + 60_000
    await done(Expire(bases[2], f"{bases[2]}{late[1]:012x} MUG=4"))
    receive = (("MUG", "add", 10),)
    await done(Adjust(bases[3], receive, "IN", "a delivery", "Adjustment", "DN-1", "admin", fingerprint="a" * 16))
    await done(Announce(bases[4], "approval.requested", '{"id":"a-1"}', "system"))
    entries: Any = client.xrange(partition_keys(0).journal)
    return [(stream_id.decode(), fields[b"b"]) for stream_id, fields in entries]


def tags_and_sizes(body: bytes) -> dict[str, int]:
    """Kind of event -> how many fields it has."""
    return {event[0]: len(event) for event in msgspec.msgpack.decode(body)[4]}


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.json")), ids=lambda path: path.stem)
@pytest.mark.parametrize("schema", [SCHEMA, SCHEMA - 1], ids=["this schema", "the schema before"])
def test_a_golden_journal_is_read_and_planned_as_it_was_meant(path: Path, schema: int) -> None:
    golden = json.loads(path.read_text())
    plan = FlushPlan(0, Cursor(1, 0, "0-0"), LevelBook(lambda _: None))
    for stored in golden["entries"]:
        body = bytes.fromhex(stored["body"])
        # The number stands behind the byte that says "an array of five".
        assert body[:2] == bytes([0x95, SCHEMA])
        entry = read_entry(stored["stream_id"], bytes([0x95, schema]) + body[2:])
        assert isinstance(entry, JournalEntry), entry
        assert json.loads(msgspec.json.encode(entry.events)) == stored["events"]
        plan.add(entry)
    assert plan.quarantine == []
    assert (plan.events, len(plan.ledger)) == (golden["events"], golden["ledger_rows"])


async def test_what_is_written_today_has_the_shape_of_the_golden_journal(
    engine: Engine, redis_client: redis.Redis, known_keys: list[str]
) -> None:
    known_keys.append(".*")
    written: dict[str, int] = {}
    for _, body in await journal_of_every_verb(engine, redis_client):
        written |= tags_and_sizes(body)
    golden = json.loads((GOLDEN / f"schema-{SCHEMA}.json").read_text())
    expected: dict[str, int] = {}
    for stored in golden["entries"]:
        expected |= tags_and_sizes(bytes.fromhex(stored["body"]))
    assert written == expected
    assert len(written) >= 8
