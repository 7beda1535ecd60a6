"""A journal written by hand: a tiny, obviously right stand-in for the state machine that appends entries like it does.

Owns its own counters, from which tests add up what the ledger must say; never uses a script of ours.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from typing import Any

import msgspec
import redis

from engine.events import SCHEMA, Adjusted, Amended, Configured, Confirmed, Expired, Released, Reserved
from engine.keys import partition_keys
from engine.results import Details

KEYS = partition_keys(0)


class HandmadeJournal:
    """Verbs collect events; `flush` appends them as one entry, as a batch does."""

    def __init__(self, client: redis.Redis, epoch: int = 1, at_ms: int = 1_800_000_000_000) -> None:
        self.client = client
        self.epoch = epoch
        self.seq = 0
        self.at_ms = at_ms
        self.on_hand: dict[str, int] = defaultdict(int)
        self.reserved: dict[str, int] = defaultdict(int)
        self.held: dict[str, dict[str, int]] = {}
        self.status: dict[str, str] = {}
        self.ledger: list[tuple[int, int, str, int, int]] = []
        """(seq, line, sku, quantity, new stock) in order: what the ledger must hold."""
        self.pending: list[Any] = []
        self._numbers = itertools.count(1)
        client.hset(KEYS.meta, mapping={"epoch": epoch, "seq": 0, "schema": SCHEMA})

    @property
    def next_seq(self) -> int:
        return self.seq + len(self.pending) + 1

    def new_id(self) -> str:
        return f"{next(self._numbers):024x}{self.at_ms:012x}"

    def _text(self, lines: dict[str, int]) -> str:
        return ",".join(f"{sku}={n}={self.on_hand[sku]}={self.reserved[sku]}" for sku, n in lines.items())

    def adjust(self, changes: dict[str, int], kind: str = "IN", reason: str = "goods in", **fields: str) -> int:
        seq = self.next_seq
        for line, (sku, change) in enumerate(changes.items()):
            self.on_hand[sku] += change
            self.ledger.append((seq, line, sku, change, self.on_hand[sku]))
        self.pending.append(
            Adjusted(
                self.new_id(),
                self._text(changes),
                kind,
                reason,
                fields.get("reference_type", ""),
                fields.get("reference_id", ""),
                fields.get("actor", "admin"),
            )
        )
        return seq

    def reserve(self, lines: dict[str, int], ttl_ms: int = 1_800_000, **details: str) -> str:
        reservation = self.new_id()
        for sku, n in lines.items():
            self.reserved[sku] += n
        self.held[reservation] = dict(lines)
        self.status[reservation] = "ACTIVE"
        body = msgspec.json.encode(Details(**{"customer_id": "c1", **details})).decode()
        self.pending.append(Reserved(reservation, self._text(lines), self.at_ms + ttl_ms, "storefront", "", body))
        return reservation

    def amend(self, reservation: str, lines: dict[str, int], ttl_ms: int = 1_800_000) -> None:
        old = self.held[reservation]
        for sku in {**lines, **old}:
            self.reserved[sku] += lines.get(sku, 0) - old.get(sku, 0)
        self.held[reservation] = dict(lines)
        now_held = {**lines, **{sku: 0 for sku in old if sku not in lines}}
        self.pending.append(Amended(reservation, self._text(now_held), self.at_ms + ttl_ms, "storefront"))

    def confirm(self, reservation: str, order_id: str = "") -> int:
        seq = self.next_seq
        late = self.status[reservation] == "EXPIRED"
        lines = self.held[reservation]
        for line, (sku, n) in enumerate(lines.items()):
            self.on_hand[sku] -= n
            self.reserved[sku] -= 0 if late else n
            self.ledger.append((seq, line, sku, -n, self.on_hand[sku]))
        self.status[reservation] = "COMPLETED"
        self.pending.append(Confirmed(reservation, self._text(lines), order_id, "storefront", late))
        return seq

    def _give_back(self, reservation: str, status: str) -> str:
        lines = self.held[reservation]
        for sku, n in lines.items():
            self.reserved[sku] -= n
        self.status[reservation] = status
        return self._text(lines)

    def release(self, reservation: str) -> None:
        self.pending.append(Released(reservation, self._give_back(reservation, "CANCELLED"), "storefront"))

    def expire(self, reservation: str) -> None:
        self.pending.append(Expired(reservation, self._give_back(reservation, "EXPIRED")))

    def configure(self, sku: str, safety_stock: int = 0, threshold: int = 0, active: bool = True) -> None:
        created = sku not in self.on_hand
        self.pending.append(Configured(self._text({sku: 0}), safety_stock, threshold, active, created, "admin"))

    def packed(self) -> bytes:
        """The pending events as an entry's bytes; they count as written."""
        raw = msgspec.msgpack.encode([SCHEMA, self.epoch, self.seq + 1, self.at_ms, self.pending])
        self.seq += len(self.pending)
        self.pending = []
        return raw

    def append(self, raw: bytes, stream_id: str = "*") -> str:
        """Write an entry, whatever it is, and let `meta` tell the seq: both in one step, as the state machine does."""
        with self.client.pipeline(transaction=True) as pipe:
            pipe.hset(KEYS.meta, "seq", self.seq)
            pipe.xadd(KEYS.journal, {"b": raw}, id=stream_id)
            _, made = pipe.execute()
        return str(made.decode())

    def flush(self) -> str:
        if not self.pending:
            return ""
        self.at_ms += 7
        return self.append(self.packed())
