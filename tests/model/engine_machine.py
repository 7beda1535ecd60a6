"""The engine and the model, given the same commands by Hypothesis, compared after every step.

A step is a batch of commands. While holds are due a step's commands go one by one: ending them takes a round of its
own, after which the rest of a batch would be decided in another order.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, ClassVar

import msgspec
import redis
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from engine import Engine
from engine.bootstrap import open_partition
from engine.commands import (
    Adjust,
    Amend,
    Availability,
    Command,
    Configure,
    Confirm,
    Expire,
    Read,
    Release,
    Reserve,
    parse_lines,
)
from engine.events import decode_entry
from engine.keys import partition_keys
from engine.results import Record, Result
from tests.model.journal_replay import JournalReplay
from tests.model.model import Hold, Lines, Model, Outcome, Seen

START_MS = 1_800_000_000_000
SKUS = ("A", "B", "C d", "E")
UNKNOWN = "nope"
DETAILS = '{"c":"ann"}'
OWNERS = ("ann", "bob")
KEEPS = ("", "", "s", "t", "a", "sta")

_record = msgspec.msgpack.Decoder(Record)

# -- what may be asked: plain tuples, made into commands against what exists at that moment

skus = st.sampled_from([*SKUS[:-1] * 6, *SKUS, UNKNOWN])
units = st.integers(1, 6)
lines = st.dictionaries(skus, units, min_size=1, max_size=3).map(lambda chosen: tuple(chosen.items()))
which = st.integers(0, 30)
ttl = st.sampled_from([1_000, 5_000, 60_000, 3_600_000])
owner = st.sampled_from(["", "", "", "ann", "bob"])
order = st.sampled_from(["", "o-1", "o-1", "o-2"])

intents = st.one_of(
    st.tuples(st.just("reserve"), lines, ttl, st.booleans(), st.sampled_from(OWNERS)),
    st.tuples(st.just("reserve"), lines, ttl, st.booleans(), st.sampled_from(OWNERS)),
    st.tuples(st.just("reserve"), lines, ttl, st.booleans(), st.sampled_from(OWNERS)),
    st.tuples(st.just("keyed"), st.integers(0, 12), st.integers(0, 3), ttl, st.booleans()),
    st.tuples(st.just("amend"), which, st.one_of(st.just(()), lines), st.one_of(st.just(0), ttl), owner),
    st.tuples(st.just("confirm"), st.lists(which, min_size=1, max_size=3), order, owner, st.booleans()),
    st.tuples(st.just("release"), which, owner),
    st.tuples(st.just("expire"), which),
    st.tuples(st.just("read"), which, owner, st.sampled_from([0, 0, 0, 1])),
    st.tuples(st.just("availability"), st.lists(skus, min_size=1, max_size=3, unique=True)),
    st.tuples(
        st.just("adjust"),
        st.dictionaries(skus, st.tuples(st.sampled_from(["add", "remove", "set"]), st.integers(1, 9)), min_size=1),
        st.sampled_from([-1, -1, 0, 1, 2]),
        st.sampled_from([0, 0, 4, 12]),
        st.sampled_from([None, None, 0, 1]),
    ),
    st.tuples(
        st.just("configure"),
        skus.filter(lambda sku: sku != UNKNOWN),
        st.integers(0, 3),
        st.integers(0, 9),
        st.sampled_from(KEEPS),
    ),
)


def view(result: Result) -> Outcome:
    """An answer of the engine in the model's terms."""
    return Outcome(
        status=result.status,
        reservations=tuple(
            Seen(r.id, r.status, r.owner, r.order_id, r.lines, r.created_ms, r.updated_ms, r.deadline_ms)
            for r in result.reservations
        ),
        shortages=tuple((s.sku, s.requested, s.available) for s in result.shortages),
        skus=result.skus,
        levels=tuple(
            (x.sku, x.on_hand, x.reserved, x.safety_stock, x.low_stock_threshold, x.active) for x in result.levels
        ),
        movements=tuple((m.sku, m.quantity, m.on_hand, m.reserved) for m in result.movements),
        created=result.created,
        units_moved=result.units_moved,
    )


class EngineMachine(RuleBasedStateMachine):
    """Bind it to a server with `bound`; `commands` counts what all runs sent."""

    runner: ClassVar[asyncio.Runner]
    engine: ClassVar[Engine]
    client: ClassVar[redis.Redis]
    commands: ClassVar[int] = 0

    def __init__(self) -> None:
        super().__init__()
        self.client.flushall()
        open_partition(self.client, epoch=1, ledger_seq=0)
        self.keys = partition_keys(0)
        self.model = Model(START_MS)
        self.replay = JournalReplay()
        self.journal_position = "-"
        self.bases = 0

    @initialize(stock=st.tuples(*[st.integers(0, 40) for _ in SKUS]))
    def open_shop(self, stock: tuple[int, ...]) -> None:
        """Three of the SKUs with stock; the last one is made later, or never."""
        opening = [("configure", sku, 0, units_, "") for sku, units_ in zip(SKUS[:-1], stock, strict=False)]
        self.step([self.command_of(intent) for intent in opening])

    @rule(intents=st.lists(intents, min_size=4, max_size=14))
    def ask(self, intents: list[tuple[Any, ...]]) -> None:
        if self.model.due():
            for intent in intents:
                self.step([self.command_of(intent)])
        else:
            self.step([self.command_of(intent) for intent in intents])

    @rule(ms=st.sampled_from([1, 999, 1_000, 4_999, 60_000, -3_000]))
    def wait(self, ms: int) -> None:
        self.model.clock_ms += ms

    @rule(nth=st.integers(0, 3), off_ms=st.sampled_from([-1, 0, 1]))
    def wait_for_a_deadline(self, nth: int, off_ms: int) -> None:
        deadlines = sorted({hold.deadline_ms for hold in self.model.active()})
        if deadlines:
            self.model.clock_ms = max(self.model.clock_ms, deadlines[nth % len(deadlines)] + off_ms)

    @rule()
    def sweep(self) -> None:
        for hold in self.model.due():
            self.step([(Expire(hold.base, hold.member), lambda hold=hold: self.model.expire(hold))])

    # -- from an intent to a command, and what the model says to it

    def command_of(self, intent: tuple[Any, ...]) -> tuple[Command, Callable[[], Outcome]]:
        verb, *rest = intent
        pair: tuple[Command, Callable[[], Outcome]] = getattr(self, f"_{verb}")(*rest)
        return pair

    def _reserve(self, asked: Lines, ttl_ms: int, partial: bool, by: str) -> Any:
        self.bases += 1
        base = f"{self.bases:024x}"
        text = ",".join(f"{sku}={quantity}" for sku, quantity in asked)
        return (
            Reserve(base, text, ttl_ms, partial, by, "", DETAILS),
            lambda: self.model.reserve(base, asked, ttl_ms, partial, by, ""),
        )

    def _keyed(self, key: int, variant: int, ttl_ms: int, partial: bool) -> Any:
        """Few keys and few requests, so that the same one comes again, and another one under the same key."""
        base, fingerprint = f"{key:024x}".replace("0", "f", 1), f"{variant // 3}-{ttl_ms}"
        asked: Lines = (("A", 1 + variant // 3), ("B", 1))
        return (
            Reserve(base, f"A={1 + variant // 3},B=1", ttl_ms, partial, "ann", fingerprint, DETAILS),
            lambda: self.model.reserve(base, asked, ttl_ms, partial, "ann", fingerprint),
        )

    def _hold(self, nth: int) -> tuple[str, int]:
        """A reservation among the newest ones, or one that never was."""
        holds = list(self.model.holds.values())[-12:]
        if nth == 30 or not holds:
            return "e" * 24, START_MS
        nth %= len(holds)
        return holds[-1 - nth].base, holds[-1 - nth].created_ms

    def _amend(self, nth: int, asked: Lines, ttl_ms: int, by: str) -> Any:
        base, created = self._hold(nth)
        if not asked and not ttl_ms:
            ttl_ms = 7_000
        text = ",".join(f"{sku}={quantity}" for sku, quantity in asked)
        return (
            Amend(base, created, text, ttl_ms, by, by),
            lambda: self.model.amend(base, created, asked, ttl_ms, by),
        )

    def _confirm(self, nths: list[int], order_id: str, by: str, late: bool) -> Any:
        named = tuple(dict([self._hold(nth) for nth in nths]).items())
        return Confirm(named, order_id, by, by, late), lambda: self.model.confirm(named, order_id, by, late)

    def _release(self, nth: int, by: str) -> Any:
        base, created = self._hold(nth)
        return Release(base, created, by, by), lambda: self.model.release(base, created, by)

    def _expire(self, nth: int) -> Any:
        base, _ = self._hold(nth)
        hold = self.model.holds.get(base, Hold(base, START_MS, 0, 0, "", "", (("A", 1),)))
        if base not in self.model.holds:
            return Expire(base, hold.member), lambda: Outcome("unknown_reservation")
        return Expire(base, hold.member), lambda: self.model.expire(hold)

    def _read(self, nth: int, by: str, off: int) -> Any:
        base, created = self._hold(nth)
        return Read(base, created + off, by), lambda: self.model.read(base, created + off, by)

    def _availability(self, asked: list[str]) -> Any:
        return Availability(",".join(f"{sku}=1" for sku in asked)), lambda: self.model.availability(tuple(asked))

    def _adjust(self, changes: dict[str, tuple[Any, int]], key: int, max_change: int, expected_off: int | None) -> Any:
        """`expected_off`: expect the levels of before this batch, the last one that much higher; None: nothing."""
        asked = tuple((sku, operation, number) for sku, (operation, number) in changes.items())
        self.bases += 1
        base = f"{self.bases:024x}" if key < 0 else f"{key:024x}".replace("0", "d", 1)
        expected: tuple[int, ...] = ()
        if expected_off is not None:
            levels = self.model.skus
            expected = tuple(levels[sku].on_hand if sku in levels else -1 for sku in changes)
            expected = (*expected[:-1], expected[-1] + expected_off)
        fingerprint = "" if key < 0 else str((asked, max_change, expected))
        return (
            Adjust(base, asked, "ADJUSTMENT", "count", "", "", "admin", fingerprint, max_change, expected),
            lambda: self.model.adjust(base, asked, fingerprint, max_change, expected),
        )

    def _configure(self, sku: str, safety: int, initial: int, keeps: str) -> Any:
        active = initial != 9
        return (
            Configure(sku, safety, 2 + initial % 2, active, initial, "admin", keeps),
            lambda: self.model.configure(sku, safety, 2 + initial % 2, active, initial, keeps),
        )

    # -- one step, and what must hold after it

    def step(self, pairs: list[tuple[Command, Callable[[], Outcome]]]) -> None:
        commands = [command for command, _ in pairs]
        self.engine.batcher.clock_ms = self.model.clock_ms
        expected = [answer() for _, answer in pairs]
        results = self.runner.run(self.engine.apply(commands))
        for command, result, outcome in zip(commands, results, expected, strict=True):
            assert view(result) == outcome, f"{command}"
        type(self).commands += len(commands)
        self.check()

    def check(self) -> None:
        model, keys = self.model, self.keys
        with self.client.pipeline(transaction=True) as pipe:
            pipe.hgetall(keys.stock)
            pipe.zrange(keys.deadlines, 0, -1, withscores=True)
            pipe.xrange(keys.journal, self.journal_position)
            pipe.hmget(keys.meta, "seq", "last_now_ms")
            pipe.mget([keys.record(base) for base in model.holds] or ["none"])
            stock, deadlines, entries, meta, records = pipe.execute()

        for stream_id, fields in entries:
            self.replay.feed(decode_entry(fields[b"b"]))
            self.journal_position = f"({stream_id.decode()}"
        levels = {sku.decode(): tuple(map(int, value.split(b" "))) for sku, value in stock.items()}
        assert {sku: (level[0], level[1]) for sku, level in levels.items()} == self.replay.counters
        assert [int(number) for number in meta] == [self.replay.next_seq - 1, self.replay.last_ms]

        held: dict[str, int] = dict.fromkeys(levels, 0)
        for member, _ in deadlines:
            for sku, quantity in parse_lines(member.decode()[37:]):
                held[sku] += quantity
        for sku, (on_hand, reserved, *_) in levels.items():
            assert 0 <= reserved <= on_hand, f"{sku}: reserved {reserved} of {on_hand} on hand"
            assert held[sku] == reserved, f"{sku}: ACTIVE lines {held[sku]}, reserved {reserved}"

        assert levels == {
            sku: (x.on_hand, x.reserved, x.safety, x.threshold, int(x.active)) for sku, x in model.skus.items()
        }
        assert {member.decode(): int(score) for member, score in deadlines} == {
            hold.member: hold.deadline_ms for hold in model.active()
        }
        for hold, raw in zip(model.holds.values(), records, strict=False):
            record = _record.decode(raw)
            assert (record.status, record.deadline_ms, parse_lines(record.lines), record.order_id) == (
                hold.status,
                hold.deadline_ms,
                hold.lines,
                hold.order_id,
            )


def bound(runner: asyncio.Runner, engine: Engine, client: redis.Redis) -> type[EngineMachine]:
    """The machine for one server; a class of its own, so that its count starts at 0."""
    return type("BoundEngineMachine", (EngineMachine,), {"runner": runner, "engine": engine, "client": client})
