"""`holdfast audit`: counters, deadlines, records, journal and ledger held against each other at a quiet moment.

Owns the invariants as checks over what was read; never changes anything.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from itertools import pairwise
from typing import Any, Final, cast

import msgspec
import redis
from msgspec import Struct

from engine.commands import parse_lines
from engine.engine import level_of
from engine.events import decode_entry
from engine.identity import BASE_LENGTH
from engine.keys import PartitionKeys, partition_keys
from engine.results import Record, StockLevel
from persistence.ledger_sums import LedgerSums, read_ledger_sums

QUIET_WITHIN_S: Final = 30.0
"""How long an audit waits for the flusher to catch up and for a moment in which nothing changes."""
SHOWN: Final = 20
"""Differences of one check that are shown; the rest is counted."""

_decode_record = msgspec.msgpack.Decoder(Record).decode


class NotQuiet(RuntimeError):
    """The store kept changing, or the ledger did not catch up; an audit then would accuse the innocent."""


class Check(Struct, frozen=True):
    """One invariant, what it looked at, and where it does not hold."""

    number: str
    """Of docs/architecture.md's invariants."""
    statement: str
    looked_at: int
    differences: tuple[str, ...]


class RedisPicture(Struct, frozen=True):
    """What Redis held at one moment."""

    epoch: int
    seq: int
    levels: dict[str, StockLevel]
    holds: dict[str, str]
    """Reservation id -> lines, from the deadline set."""
    active_records: dict[str, str]
    """Base -> lines of every record that says ACTIVE."""
    stray_records: int
    """Records that could not be read."""
    journal_gaps: tuple[str, ...]


def take_pictures(client: redis.Redis, database_url: str) -> tuple[RedisPicture, LedgerSums]:
    """Redis and ledger at one moment in which both stood at the same event. Raises NotQuiet, redis.RedisError."""
    keys = partition_keys(0)
    deadline = time.monotonic() + QUIET_WITHIN_S
    while True:
        before = _seq(client, keys)
        picture = _read_redis(client, keys)
        ledger = read_ledger_sums(database_url)
        if before == _seq(client, keys) == (picture.epoch, picture.seq) == (ledger.epoch, ledger.seq):
            return picture, ledger
        if time.monotonic() > deadline:
            raise NotQuiet(
                f"Redis stands at event {picture.seq}, the ledger at {ledger.seq}: the store kept changing for "
                f"{QUIET_WITHIN_S:g} s, or no worker is flushing"
            )
        time.sleep(0.2)


def run_checks(picture: RedisPicture, ledger: LedgerSums) -> list[Check]:
    """Invariants 1, 2, 3, 5 and 6, and that Postgres keeps the same levels and holds as Redis."""
    levels = picture.levels
    held: Counter[str] = Counter()
    for lines in picture.holds.values():
        for sku, quantity in parse_lines(lines):
            held[sku] += quantity
    return [
        _check(
            "1",
            "0 <= reserved <= on_hand for every SKU",
            len(levels),
            (
                f"{level.sku}: on_hand {level.on_hand}, reserved {level.reserved}"
                for level in levels.values()
                if not 0 <= level.reserved <= level.on_hand
            ),
        ),
        _check(
            "2",
            "ACTIVE lines of a SKU add up to its reserved",
            len(picture.holds),
            _differences(held, {sku: level.reserved for sku, level in levels.items()}, "held", "reserved"),
        ),
        _check(
            "2",
            "every ACTIVE record has its deadline, with the same lines",
            len(picture.active_records),
            _records_without_deadline(picture),
        ),
        _check(
            "3",
            "ledger quantities of a SKU add up to its on_hand",
            ledger.rows,
            _differences(ledger.quantities, {s: v.on_hand for s, v in levels.items()}, "ledger", "on_hand"),
        ),
        _check(
            "3",
            "levels in Postgres are the counters in Redis",
            len(ledger.levels),
            _differences(
                ledger.levels,
                {sku: (level.on_hand, level.reserved) for sku, level in levels.items()},
                "Postgres",
                "Redis",
            ),
        ),
        _check(
            "3",
            "reservations ACTIVE in Postgres are the holds in Redis",
            len(ledger.active_reservations),
            [
                *(f"{hold}: only in Postgres" for hold in sorted(ledger.active_reservations - picture.holds.keys())),
                *(f"{hold}: only in Redis" for hold in sorted(picture.holds.keys() - ledger.active_reservations)),
            ],
        ),
        _check("5", "journal numbers are dense", picture.seq, picture.journal_gaps),
        _check(
            "5",
            "no event is in quarantine",
            ledger.quarantined,
            [f"{ledger.quarantined} quarantined events"] if ledger.quarantined else [],
        ),
        _check(
            "6",
            "each ledger row begins where the SKU's row before it ended",
            ledger.rows,
            ledger.broken_chains,
        ),
    ]


def _check(number: str, statement: str, looked_at: int, differences: Iterable[str]) -> Check:
    return Check(number, statement, looked_at, tuple(differences))


def _differences(
    first: dict[str, Any] | Counter[str], second: dict[str, Any], first_name: str, second_name: str
) -> list[str]:
    nothing: Any = (0, 0) if any(isinstance(value, tuple) for value in [*first.values(), *second.values()]) else 0
    found = []
    for sku in sorted(first.keys() | second.keys()):
        one, other = first.get(sku, nothing), second.get(sku, nothing)
        if one != other:
            found.append(f"{sku}: {first_name} {one}, {second_name} {other}")
    return found


def _records_without_deadline(picture: RedisPicture) -> list[str]:
    by_base = {hold[:BASE_LENGTH]: lines for hold, lines in picture.holds.items()}
    found = []
    for base, lines in picture.active_records.items():
        if base not in by_base:
            found.append(f"record {base} is ACTIVE without a deadline")
        elif sorted(parse_lines(lines)) != sorted(parse_lines(by_base[base])):
            found.append(f"record {base} holds {lines}, its deadline {by_base[base]}")
    if picture.stray_records:
        found.append(f"{picture.stray_records} records can't be read")
    return found


def _seq(client: redis.Redis, keys: PartitionKeys) -> tuple[int, int]:
    epoch, seq = cast("list[bytes | None]", client.hmget(keys.meta, ["epoch", "seq"]))
    return int(epoch or 0), int(seq or 0)


def _read_redis(client: redis.Redis, keys: PartitionKeys) -> RedisPicture:
    epoch, seq = _seq(client, keys)
    levels = {
        sku.decode(): level_of(sku.decode(), value.decode())
        for sku, value in cast("Iterable[tuple[bytes, bytes]]", client.hscan_iter(keys.stock, count=2000))
    }
    members = cast("Iterable[tuple[bytes, float]]", client.zscan_iter(keys.deadlines, count=2000))
    holds = {}
    for member, _ in members:
        reservation, _, lines = member.decode().partition(" ")
        holds[reservation] = lines
    active, stray = _active_records(client, keys)
    return RedisPicture(epoch, seq, levels, holds, active, stray, tuple(_journal_gaps(client, keys, seq)))


def _active_records(client: redis.Redis, keys: PartitionKeys) -> tuple[dict[str, str], int]:
    active: dict[str, str] = {}
    stray = 0
    names: list[bytes] = []

    def read() -> None:
        nonlocal stray
        for name, raw in zip(names, cast("list[bytes | None]", client.mget(names)), strict=True):
            if raw is None:
                continue
            try:
                record = _decode_record(raw)
            except msgspec.DecodeError:
                # A keyed adjustment leaves a record of another form; it holds no stock.
                stray += not isinstance(msgspec.msgpack.decode(raw), list)
                continue
            if record.status == "ACTIVE":
                active[name.decode().removeprefix(keys.record_prefix)] = record.lines
        names.clear()

    for name in cast("Iterable[bytes]", client.scan_iter(match=_literal(keys.record_prefix) + "*", count=2000)):
        names.append(name)
        if len(names) >= 1000:
            read()
    if names:
        read()
    return active, stray


def _journal_gaps(client: redis.Redis, keys: PartitionKeys, seq: int) -> list[str]:
    """Over what the stream still holds: numbers follow each other, and the last is the one `meta` names."""
    spans = []
    last_id = "-"
    while True:
        chunk = cast("list[tuple[bytes, dict[bytes, bytes]]]", client.xrange(keys.journal, min=last_id, count=1000))
        if not chunk:
            break
        for stream_id, fields in chunk:
            entry = decode_entry(fields[b"b"])
            spans.append((stream_id.decode(), entry.first_seq, entry.last_seq))
        last_id = "(" + chunk[-1][0].decode()
    found = [
        f"entry {later[0]} begins with event {later[1]} after event {earlier[2]}"
        for earlier, later in pairwise(spans)
        if later[1] != earlier[2] + 1
    ]
    if spans and spans[-1][2] != seq:
        found.append(f"the last entry ends with event {spans[-1][2]}, meta says {seq}")
    return found


def _literal(pattern: str) -> str:
    return "".join("\\" + letter if letter in "*?[]\\^" else letter for letter in pattern)
