"""Every order of small programs: three clients of three steps each, all 1,680 orders, on the real script and the model.

Some orders are sent step by step, the others cut into batches at random. After each: every answer, the counters, the
deadlines and the journal are what the model says. `HOLDFAST_INTERLEAVINGS_CUTS=20` sends each order so many times, cut
in other places; `HOLDFAST_INTERLEAVINGS_SEED=n` makes the same cuts again.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import redis

from engine.commands import (
    Adjust,
    Amend,
    Availability,
    Command,
    Confirm,
    Expire,
    Read,
    Release,
    Reserve,
    bases_of,
    encode_batch,
)
from engine.events import decode_entry
from engine.keys import partition_keys
from engine.results import Reply, decode_reply
from engine.scripts import compose
from runtime.embedded_redis import EmbeddedRedis
from tests.checkers.written import lines_of
from tests.model.engine_machine import DETAILS, view
from tests.model.journal_replay import JournalReplay
from tests.model.model import Hold, Model, Outcome

START_MS = 1_800_000_000_000
SEED = int(os.environ.get("HOLDFAST_INTERLEAVINGS_SEED", str(random.randrange(10**9))))
CUTS = int(os.environ.get("HOLDFAST_INTERLEAVINGS_CUTS", "1"))
CHUNK = 40
"""Runs that travel in one round trip: each begins by removing what the one before left."""
KEYS = partition_keys(0)
_answer = msgspec.msgpack.Decoder(tuple[int, int, list[tuple[Any, ...]], list[str]]).decode

Step = tuple[str, ...]
Program = tuple[tuple[Step, Step, Step], ...]

STOCK = {"A": 2, "B": 1}
BASES = {name: f"{place:024x}" for place, name in enumerate("xyzuvwpq", start=1)}

PROGRAMS: dict[str, Program] = {
    "the last units": (
        (("reserve", "x", "A=1"), ("confirm", "x", "o1"), ("reserve", "u", "A=1")),
        (("reserve", "y", "A=2"), ("release", "y"), ("reserve", "v", "A=2")),
        (("reserve", "z", "A=1"), ("amend", "z", "A=2"), ("confirm", "z", "o3")),
    ),
    "one hold, ended by everybody": (
        (("reserve", "x", "A=2"), ("confirm", "x", "o1"), ("read", "x")),
        (("release", "x"), ("amend", "x", "A=1"), ("confirm", "x", "o2")),
        (("expire", "x"), ("release", "x"), ("reserve", "y", "A=1")),
    ),
    "one key, sent by three": (
        (("reserve", "x", "A=1"), ("reserve", "x", "A=1"), ("confirm", "x", "o1")),
        (("reserve", "x", "A=1"), ("release", "x"), ("reserve", "x", "A=1")),
        (("reserve", "x", "A=2"), ("amend", "x", "A=2"), ("reserve", "x", "A=2")),
    ),
    "two SKUs, all or nothing": (
        (("reserve", "x", "A=1,B=1"), ("amend", "x", "A=2"), ("release", "x")),
        (("reserve", "y", "B=1"), ("confirm", "y", "o2"), ("availability", "A=1,B=1")),
        (("reserve", "z", "A=2,B=1"), ("amend", "z", "B=1"), ("confirm", "z", "o3")),
    ),
    "the shop takes stock meanwhile": (
        (("adjust", "p", "A=1", "remove"), ("adjust", "q", "A=4", "set"), ("adjust", "p", "A=1", "remove")),
        (("reserve", "x", "A=2"), ("confirm", "x", "o1"), ("reserve", "y", "A=2")),
        (("reserve", "z", "A=1"), ("release", "z"), ("availability", "A=1")),
    ),
    "as much as there is": (
        (("partial", "x", "A=2,B=2"), ("amend", "x", "A=1"), ("release", "x")),
        (("partial", "y", "A=2,B=1"), ("confirm", "y", "o2"), ("partial", "y", "A=2,B=1")),
        (("adjust", "p", "B=1", "add"), ("partial", "z", "B=3"), ("read", "z")),
    ),
    "around a deadline": (
        (("brief", "x", "A=2"), ("confirm", "x", "o1"), ("read", "x")),
        (("reserve", "y", "A=1"), ("wait", "1000"), ("reserve", "z", "A=2")),
        (("expire", "x"), ("amend", "x", "A=1"), ("availability", "A=1")),
    ),
}


def orders() -> Iterator[tuple[int, ...]]:
    """All ways to shuffle three times three steps that keep each client's own order: 9! / (3! 3! 3!) = 1,680."""

    def grow(done: tuple[int, ...], left: tuple[int, int, int]) -> Iterator[tuple[int, ...]]:
        if not any(left):
            yield done
        for client in range(3):
            if left[client]:
                rest = tuple(count - (place == client) for place, count in enumerate(left))
                yield from grow((*done, client), rest)  # type: ignore[arg-type]

    yield from grow((), (3, 3, 3))


class Run:
    """One order of one program: the model has taken every step; `pairs` holds what the engine must answer."""

    def __init__(self, program: Program, order: tuple[int, ...]) -> None:
        self.model = Model(START_MS)
        for sku, units in STOCK.items():
            self.model.configure(sku, 0, 0, True, units)
        # The stock is put there by hand, not by commands: nothing has been written yet.
        self.model.last_now_ms = 0
        self.pairs: list[tuple[int, Command, Outcome]] = []
        """(clock, command, answer)."""
        taken = [0, 0, 0]
        for client in order:
            step = program[client][taken[client]]
            taken[client] += 1
            if step[0] == "wait":
                self.model.clock_ms += int(step[1])
                continue
            command, outcome = self._take(*step)
            self.pairs.append((self.model.clock_ms, command, outcome))

    def _take(self, verb: str, name: str, text: str = "", more: str = "") -> tuple[Command, Outcome]:  # noqa: PLR0911
        model, base = self.model, BASES.get(name, "")
        hold = model.holds.get(base)
        created = hold.created_ms if hold else START_MS
        if verb in {"reserve", "partial", "brief"}:
            ttl, partial = 1_000 if verb == "brief" else 60_000, verb == "partial"
            outcome = model.reserve(base, lines_of(text), ttl, partial, "", text)
            return Reserve(base, text, ttl, partial, "", text, DETAILS), outcome
        if verb == "confirm":
            named = ((base, created),)
            return Confirm(named, text), model.confirm(named, text, "", False)
        if verb == "release":
            return Release(base, created), model.release(base, created, "")
        if verb == "amend":
            return Amend(base, created, text, 0), model.amend(base, created, lines_of(text), 0, "")
        if verb == "read":
            return Read(base, created), model.read(base, created, "")
        if verb == "availability":
            return Availability(name), model.availability(tuple(sku for sku, _ in lines_of(name)))
        if verb == "adjust":
            lines = tuple((sku, more, units) for sku, units in lines_of(text))
            command = Adjust(base, lines, "ADJUSTMENT", "count", "", "", "admin", more + text)  # type: ignore[arg-type]
            return command, model.adjust(base, lines, more + text)
        assert verb == "expire"
        there = hold or Hold(base, START_MS, 0, 0, "", "", (("A", 1),))
        outcome = model.expire(hold) if hold else Outcome("unknown_reservation")
        return Expire(base, there.member), outcome

    def batches(self, dice: random.Random | None) -> list[list[int]]:
        """Places in `pairs`, cut where the clock moves, and elsewhere at random (no dice: everywhere)."""
        cut: list[list[int]] = [[0]]
        for place in range(1, len(self.pairs)):
            moved = self.pairs[place][0] != self.pairs[place - 1][0]
            if moved or dice is None or dice.random() < 0.4:
                cut.append([])
            cut[-1].append(place)
        return cut


class Store:
    """The script on a server, many runs a round trip."""

    def __init__(self, client: redis.Redis) -> None:
        self.client = client
        self.sha = client.script_load(compose().source)
        self._all = [KEYS.stock, KEYS.deadlines, KEYS.journal, KEYS.meta, *map(KEYS.record, BASES.values())]

    def begin(self, pipe: Any) -> None:
        pipe.delete(*self._all)
        pipe.hset(KEYS.meta, mapping={"epoch": 1, "seq": 0, "last_now_ms": 0, "schema": 1, "partitions": 1})
        pipe.hset(KEYS.stock, mapping={sku: f"{units} 0 0 0 1" for sku, units in STOCK.items()})

    def send(self, pipe: Any, commands: list[Command], clock_ms: int) -> Any:
        keys = [KEYS.stock, KEYS.deadlines, KEYS.journal, KEYS.meta]
        keys += [KEYS.record(base) for command in commands for base in bases_of(command)]
        arguments = [encode_batch(commands), str(clock_ms), KEYS.record_prefix, "3600000", "86400000", "1", b""]
        return pipe.evalsha(self.sha, len(keys), *keys, *arguments)

    def end(self, pipe: Any) -> None:
        pipe.hgetall(KEYS.stock)
        pipe.zrange(KEYS.deadlines, 0, -1, withscores=True)
        pipe.xrange(KEYS.journal)

    def play(self, runs: list[tuple[Run, list[list[int]]]]) -> None:
        """All runs in one round trip; AssertionError for the first difference."""
        with self.client.pipeline(transaction=False) as pipe:
            for run, batches in runs:
                self.begin(pipe)
                for batch in batches:
                    self.send(pipe, [run.pairs[place][1] for place in batch], run.pairs[batch[0]][0])
                self.end(pipe)
            found = iter(pipe.execute())
        for run, batches in runs:
            for _ in range(3):
                next(found)
            for batch in batches:
                now_ms, seq, results, _ = _answer(next(found))
                for place, result in zip(batch, results, strict=True):
                    self._compare(run, place, Reply(result[0], result[1:], now_ms, seq))
            self._compare_state(run, next(found), next(found), next(found))

    def play_alone(self, run: Run, batches: list[list[int]]) -> None:
        """One run, doing what the engine does when holds are due: end them, and ask again behind them."""
        with self.client.pipeline(transaction=False) as pipe:
            self.begin(pipe)
            pipe.execute()
        for batch in batches:
            clock_ms, left = run.pairs[batch[0]][0], list(batch)
            commands = [run.pairs[place][1] for place in batch]
            while commands:
                now_ms, seq, results, due = _answer(self.send(self.client, commands, clock_ms))
                replies = zip(left, results[len(results) - len(left) :], strict=True)
                again = []
                for place, result in replies:
                    if result[0] == "due_holds":
                        again.append(place)
                    else:
                        self._compare(run, place, Reply(result[0], result[1:], now_ms, seq))
                left = again
                commands = [Expire(member[:24], member) for member in due] if again else []
                commands += [run.pairs[place][1] for place in again]
        with self.client.pipeline(transaction=False) as pipe:
            self.end(pipe)
            self._compare_state(run, *pipe.execute())

    @staticmethod
    def _compare(run: Run, place: int, reply: Reply) -> None:
        _, command, outcome = run.pairs[place]
        assert view(decode_reply(command, reply)) == outcome, f"step {place}, {command}"

    @staticmethod
    def _compare_state(run: Run, stock: Any, deadlines: Any, entries: Any) -> None:
        model = run.model
        levels = {sku.decode(): tuple(map(int, value.split(b" ")[:2])) for sku, value in stock.items()}
        assert levels == {sku: (level.on_hand, level.reserved) for sku, level in model.skus.items()}
        assert {member.decode(): int(score) for member, score in deadlines} == {
            hold.member: hold.deadline_ms for hold in model.active()
        }
        replay = JournalReplay()
        replay.counters = {sku: (units, 0) for sku, units in STOCK.items()}
        for _, fields in entries:
            replay.feed(decode_entry(fields[b"b"]))
        assert replay.counters == levels
        assert set(replay.active) == {hold.id for hold in model.active()}


@pytest.fixture(scope="module")
def unwritten_server(session_folder: Path) -> Iterator[EmbeddedRedis]:
    """Nothing of this is ever read from its file again, and writing it takes a sixth of the time."""
    server = EmbeddedRedis(session_folder / "interleavings", extra=["appendonly no"])
    server.start()
    yield server
    server.kill()


@pytest.fixture
def store(unwritten_server: EmbeddedRedis) -> Iterator[Store]:
    with unwritten_server.client() as client:
        yield Store(client)


def test_there_are_1680_orders() -> None:
    assert len(set(orders())) == 1_680


def failing_order(store: Store, run: Run, batches: list[list[int]], order: tuple[int, ...]) -> None:
    """Again, alone, so that the message names the order."""
    try:
        store.play([(run, batches)])
    except AssertionError as error:
        error.add_note(f"order {order}, batches {batches}, HOLDFAST_INTERLEAVINGS_SEED={SEED}")
        raise


@pytest.mark.timeout(max(300, CUTS * 60))
@pytest.mark.parametrize("name", [name for name in PROGRAMS if name != "around a deadline"])
def test_every_order(store: Store, name: str) -> None:
    """1,680 orders of a program."""
    print(f"HOLDFAST_INTERLEAVINGS_SEED={SEED}")
    dice = random.Random(f"{SEED} {name}")
    played, all_orders = 0, list(orders()) * CUTS
    for begin in range(0, len(all_orders), CHUNK):
        chunk = all_orders[begin : begin + CHUNK]
        runs = []
        for order in chunk:
            run = Run(PROGRAMS[name], order)
            runs.append((run, run.batches(dice if dice.random() < 0.7 else None)))
        try:
            store.play(runs)
        except AssertionError:
            for order, (run, batches) in zip(chunk, runs, strict=True):
                failing_order(store, run, batches, order)
            raise
        played += len(runs)
    assert played == 1_680 * CUTS


def test_every_order_around_a_deadline(store: Store) -> None:
    """Time passes between the steps of one client: whoever comes before and behind sees the hold alive and over."""
    name = "around a deadline"
    print(f"HOLDFAST_INTERLEAVINGS_SEED={SEED}")
    ends = set()
    for order in orders():
        run = Run(PROGRAMS[name], order)
        batches = run.batches(None)
        try:
            store.play_alone(run, batches)
        except AssertionError as error:
            error.add_note(f"order {order}")
            raise
        if BASES["x"] in run.model.holds:
            ends.add(run.model.holds[BASES["x"]].status)
    assert {"COMPLETED", "EXPIRED"} <= ends


FAULTS: dict[str, tuple[Callable[[str], str], str]] = {
    "what is reserved is sold again": (
        lambda source: source.replace("quantity <= level[1] - level[2] - level[3]", "quantity <= level[1] - level[3]"),
        "the last units",
    ),
    "a sale leaves the units on hand": (
        lambda source: source.replace("level[1] = level[1] - quantity", "level[1] = level[1] - 0 * quantity"),
        "the last units",
    ),
    "any request replays a key": (
        lambda source: source.replace("unpack_all(raw)[FINGERPRINT] ~= print", "false"),
        "one key, sent by three",
    ),
    "a release of what was sold": (
        lambda source: source.replace('COMPLETED = "not_active"', 'COMPLETED = "replayed"'),
        "one hold, ended by everybody",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_broken_script_is_found(store: Store, fault: str) -> None:
    break_it, name = FAULTS[fault]
    source = compose().source
    broken = break_it(source)
    assert broken != source, "the fault must change the script"
    store.sha = store.client.script_load(broken)

    assert any(differs(store, Run(PROGRAMS[name], order)) for order in orders())


def differs(store: Store, run: Run) -> bool:
    try:
        store.play([(run, run.batches(None))])
    except AssertionError:
        return True
    return False
