"""The state machine alone: `lua/apply.lua` on a real server, called directly, with a clock the test sets.

Owns how a test talks to the script and looks at what it left; never uses the batcher, whose part is tested elsewhere.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import msgspec
import redis

from engine.bootstrap import open_partition
from engine.commands import (
    Adjust,
    Amend,
    Announce,
    Availability,
    Command,
    Configure,
    Confirm,
    Expire,
    Read,
    Release,
    Repair,
    Reserve,
    bases_of,
    encode_batch,
)
from engine.events import Entry, Event, decode_entry
from engine.keys import partition_keys
from engine.results import Record, Reply, Result, StockLevel, decode_reply
from engine.scripts import Script, compose

START_MS = 1_800_000_000_000
"""Where a test's clock begins, Unix ms."""

MINUTE_MS = 60_000
DETAILS = '{"c":"ann"}'

_answer = msgspec.msgpack.Decoder(tuple[int, int, list[tuple[Any, ...]], list[str]])
_record = msgspec.msgpack.Decoder(Record)


class Fenced(Exception):
    """The script answered false: no usable `meta`."""


class Machine:
    """One partition on one server. `clock_ms` None means the server's own clock."""

    def __init__(
        self,
        client: redis.Redis,
        script: Script | None = None,
        *,
        epoch: int = 1,
        retention_ms: int = 3_600_000,
        window_ms: int = 86_400_000,
    ) -> None:
        self.client = client
        self.keys = partition_keys(0)
        self.script = script or compose()
        self.epoch = epoch
        self.retention_ms = retention_ms
        self.window_ms = window_ms
        self.clock_ms: int | None = START_MS
        self.damaged: list[str] = []
        self.due: list[str] = []
        self._bases = itertools.count(1)
        open_partition(client, epoch=epoch, ledger_seq=0)

    # -- sending

    def send(self, commands: bytes, bases: Sequence[str]) -> bytes | None:
        """The script's bare answer. Raises redis.ResponseError as the server does."""
        keys = [self.keys.stock, self.keys.deadlines, self.keys.journal, self.keys.meta]
        keys += [self.keys.record(base) for base in bases]
        arguments = [
            commands,
            "" if self.clock_ms is None else str(self.clock_ms),
            self.keys.record_prefix,
            str(self.retention_ms),
            str(self.window_ms),
            str(self.epoch),
            msgspec.msgpack.encode(self.damaged) if self.damaged else b"",
        ]
        return self.client.eval(self.script.source, len(keys), *keys, *arguments)  # type: ignore[return-value]

    def replies(self, commands: bytes, bases: Sequence[str]) -> list[Reply]:
        answer = self.send(commands, bases)
        if answer is None:
            raise Fenced
        now_ms, seq, results, self.due = _answer.decode(answer)
        return [Reply(result[0], result[1:], now_ms, seq, self.epoch) for result in results]

    def run(self, *commands: Command) -> list[Result]:
        """One batch."""
        bases = [base for command in commands for base in bases_of(command)]
        replies = self.replies(encode_batch(list(commands)), bases)
        return [decode_reply(command, reply) for command, reply in zip(commands, replies, strict=True)]

    def one(self, command: Command) -> Result:
        return self.run(command)[0]

    def wild(self, *commands: Any, bases: Sequence[str] = ()) -> list[str]:
        """Statuses of commands that no struct would let pass."""
        return [reply.status for reply in self.replies(msgspec.msgpack.encode(list(commands)), bases)]

    # -- making commands

    def base(self) -> str:
        return f"{next(self._bases):024x}"

    def stock(self, sku: str, on_hand: int, *, safety: int = 0, threshold: int = 0, active: bool = True) -> Result:
        return self.one(Configure(sku, safety, threshold, active, on_hand, "admin"))

    def reserve(self, lines: str, *, ttl_ms: int = MINUTE_MS, base: str = "", **more: Any) -> Result:
        return self.one(self.reserving(lines, ttl_ms=ttl_ms, base=base, **more))

    def reserving(self, lines: str, *, ttl_ms: int = MINUTE_MS, base: str = "", **more: Any) -> Reserve:
        return Reserve(base or self.base(), lines, ttl_ms, **{"owner": "shop", "details": DETAILS, **more})

    def amend(self, held: Result, lines: str = "", ttl_ms: int = 0, owner: str = "shop") -> Result:
        return self.one(Amend(*address(held), lines, ttl_ms, owner, "shop"))

    def confirm(self, *held: Result, order_id: str = "order-1", owner: str = "shop", late: bool = False) -> Result:
        return self.one(Confirm(tuple(address(one) for one in held), order_id, owner, "shop", late))

    def release(self, held: Result, owner: str = "shop") -> Result:
        return self.one(Release(*address(held), owner, "shop"))

    def read(self, held: Result, owner: str = "shop") -> Result:
        return self.one(Read(*address(held), owner))

    def expire(self, held: Result) -> Result:
        return self.one(self.expiring(held))

    def expiring(self, held: Result) -> Expire:
        return Expire(address(held)[0], member(held))

    def availability(self, lines: str) -> Result:
        return self.one(Availability(lines))

    def adjust(
        self, *lines: tuple[str, Any, int], base: str = "", fingerprint: str = "", kind: Any = "IN", **more: Any
    ) -> Result:
        chosen = base or self.base()
        return self.one(Adjust(chosen, lines, kind, "stock count", "Delivery", "d-1", "admin", fingerprint, **more))

    def announce(self, event_type: str, data: str = "{}", *, base: str = "") -> Result:
        return self.one(Announce(base or self.base(), event_type, data, "worker"))

    def repair(self, *lines: tuple[str, int, int], base: str = "", epoch: int = 0) -> Result:
        return self.one(Repair(base or self.base(), lines, "drift found", "drift-1", "admin", epoch))

    def begin_epoch(self, epoch: int) -> None:
        """What a recovery does that finds everything in order."""
        self.epoch = epoch
        self.client.hset(self.keys.meta, mapping={"epoch": epoch, "seq": 0})

    def later(self, ms: int) -> None:
        assert self.clock_ms is not None
        self.clock_ms += ms

    # -- looking

    def level(self, sku: str) -> StockLevel:
        raw = self.client.hget(self.keys.stock, sku)
        assert raw is not None, f"no counters for {sku}"
        on_hand, reserved, safety, threshold, active = raw.decode().split(" ")  # type: ignore[union-attr]
        return StockLevel(sku, int(on_hand), int(reserved), int(safety), int(threshold), active == "1")

    def counters(self, sku: str) -> tuple[int, int]:
        """(on_hand, reserved)."""
        level = self.level(sku)
        return level.on_hand, level.reserved

    def damage(self, sku: str, on_hand: int, reserved: int) -> None:
        """Set counters from outside, as no command could."""
        self.client.hset(self.keys.stock, sku, f"{on_hand} {reserved} 0 0 1")

    def record(self, held: Result) -> Record | None:
        raw = self.client.get(self.record_key(held))
        return None if raw is None else _record.decode(raw)  # type: ignore[arg-type]

    def record_key(self, held: Result) -> str:
        return self.keys.record(address(held)[0])

    def ttl_ms(self, held: Result) -> int:
        return self.client.pttl(self.record_key(held))  # type: ignore[return-value]

    def deadlines(self) -> dict[str, int]:
        pairs = self.client.zrange(self.keys.deadlines, 0, -1, withscores=True)
        return {name.decode(): int(score) for name, score in pairs}  # type: ignore[union-attr]

    def entries(self) -> list[Entry]:
        return [decode_entry(fields[b"b"]) for _, fields in self.client.xrange(self.keys.journal)]  # type: ignore[union-attr]

    def events(self) -> list[Event]:
        return [event for entry in self.entries() for event in entry.events]

    def last_event(self) -> Event:
        return self.events()[-1]

    def meta(self) -> dict[str, str]:
        return {name.decode(): value.decode() for name, value in self.client.hgetall(self.keys.meta).items()}  # type: ignore[union-attr]

    def dump(self) -> dict[str, Any]:
        """Every key with its whole content: two dumps are equal when nothing changed."""
        return dump(self.client)


def dump(client: redis.Redis) -> dict[str, Any]:
    look = {
        b"string": client.get,
        b"hash": client.hgetall,
        b"stream": client.xrange,
        b"zset": lambda key: client.zrange(key, 0, -1, withscores=True),
        b"list": lambda key: client.lrange(key, 0, -1),
    }
    return {key.decode(): look[client.type(key)](key) for key in sorted(client.keys())}  # type: ignore[index, union-attr, operator]


def address(held: Result) -> tuple[str, int]:
    """(base, created_ms) of the one reservation in a result."""
    (reservation,) = held.reservations
    return reservation.id[:24], int(reservation.id[24:], 16)


def member(held: Result) -> str:
    """The member of the deadline set that stands for a hold."""
    (reservation,) = held.reservations
    return reservation.id + " " + ",".join(f"{sku}={quantity}" for sku, quantity in reservation.lines)
