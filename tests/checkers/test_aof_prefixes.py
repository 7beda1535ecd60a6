"""The append-only file cut at each end of a transaction, one byte before and one behind: boot, and look at everything.

What a crash can leave is a prefix of the file. Each one must boot into the state after its last whole transaction, hold
the invariants, take the next reservation, and be recognised as forgetful when the ledger has seen more.

`HOLDFAST_AOF_BATCHES=n` cuts a longer file (three prefixes a batch that changed something), `HOLDFAST_AOF_SEED=n`
writes the same one again.
"""

from __future__ import annotations

import os
import random
import shutil
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import redis

from engine.bootstrap import open_partition
from engine.commands import Adjust, Amend, Command, Confirm, Expire, Release, Reserve, parse_lines
from engine.errors import NotReady
from engine.events import Confirmed, Entry, Expired, Released, decode_entry
from engine.keys import partition_keys
from engine.results import Record
from runtime.embedded_redis import EmbeddedRedis
from tests.checkers.aof import Transaction, crashed_at, increment_file, transactions
from tests.model.journal_replay import JournalReplay
from tests.scripts.machine import DETAILS, Machine
from tests.waiting import wait_until

BATCHES = int(os.environ.get("HOLDFAST_AOF_BATCHES", "110"))
SEED = int(os.environ.get("HOLDFAST_AOF_SEED", str(random.randrange(10**9))))
PARTS = 2
AHEAD = 5
"""Servers that are starting while one is looked at."""
SKUS = ("A", "B", "C d")
KEYS = partition_keys(0)
ENDED = {Confirmed: "COMPLETED", Released: "CANCELLED", Expired: "EXPIRED"}
_record = msgspec.msgpack.Decoder(Record).decode


class Written:
    """A data folder with a journal of many batches, and what its file says about each."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = increment_file(folder).read_bytes()
        self.transactions = transactions(self.data)
        self.entries = [entry_in(one) for one in self.transactions]

    def offsets(self) -> list[int]:
        """Each end, and a byte to either side; the file's own end has nothing behind it."""
        around = [one.end + off for one in self.transactions for off in (-1, 0, 1)]
        return [offset for offset in around if offset <= len(self.data)]

    def whole(self, offset: int) -> int:
        """How many transactions are whole in the first `offset` bytes."""
        return sum(one.end <= offset for one in self.transactions)


def entry_in(transaction: Transaction) -> Entry | None:
    """The journal entry that a transaction appends, if it is a batch's."""
    for command in transaction.commands:
        if command[0].upper() == b"XADD" and command[1] == KEYS.journal.encode():
            return decode_entry(command[command.index(b"b") + 1])
    return None


def batch(machine: Machine, dice: random.Random, held: list[Any]) -> list[Command]:
    """One to six commands on what there is."""
    commands: list[Command] = []
    for _ in range(dice.randint(1, 6)):
        verb = dice.choice(["reserve", "reserve", "reserve", "confirm", "release", "amend", "expire", "adjust"])
        if verb == "reserve":
            lines = dice.choice(["A=1", "B=2", "C d=1", "A=1,B=1", "A=2,C d=1"])
            commands.append(machine.reserving(lines, ttl_ms=dice.choice([1_000, 3_600_000]), fingerprint="f" * 16))
        elif verb == "adjust":
            lines_ = ((dice.choice(SKUS), "add", dice.randint(1, 3)),)
            commands.append(Adjust(machine.base(), lines_, "IN", "count", "", "", "admin", "f" * 16))  # type: ignore[arg-type]
        elif held:
            one = held.pop(dice.randrange(len(held)))
            base, created = one.id[:24], one.created_ms
            lines_text = ",".join(f"{sku}={units}" for sku, units in one.lines)
            commands.append(
                {
                    "confirm": Confirm(((base, created),), "order-1"),
                    "release": Release(base, created),
                    "amend": Amend(base, created, "A=1,B=1", 0),
                    "expire": Expire(base, f"{one.id} {lines_text}"),
                }[verb]
            )
    return commands


@pytest.fixture(scope="module")
def written(session_folder: Path) -> Any:
    print(f"HOLDFAST_AOF_SEED={SEED}")
    folder = session_folder / "aof-written"
    server = EmbeddedRedis(folder)
    server.start()
    dice = random.Random(SEED)
    with server.client() as client:
        machine = Machine(client)
        # The real clock: a server that boots drops records whose TTL is over.
        machine.clock_ms = server_ms(client)
        for sku in SKUS:
            machine.stock(sku, 60)
        held: list[Any] = []
        for _ in range(BATCHES):
            commands = batch(machine, dice, held)
            machine.clock_ms += dice.choice([0, 1, 400])
            for command, result in zip(commands, machine.run(*commands) if commands else (), strict=True):
                if isinstance(command, Reserve) and result.status == "ok":
                    held += result.reservations
    server.stop()
    yield Written(folder)
    shutil.rmtree(folder)


def server_ms(client: redis.Redis) -> int:
    seconds, micros = client.time()  # type: ignore[misc]
    return seconds * 1000 + micros // 1000


def hold(client: redis.Redis, written: Written, whole: int) -> None:
    """Everything in Redis is what the journal of the first `whole` transactions says."""
    expected = [entry for entry in written.entries[:whole] if entry is not None]
    replay, ended = JournalReplay(), {}
    for entry in expected:
        replay.feed(entry)
        for event in entry.events:
            if type(event) in ENDED:
                ended[event.id] = ENDED[type(event)]  # type: ignore[union-attr]
    with client.pipeline(transaction=False) as pipe:
        pipe.xrange(KEYS.journal)
        pipe.hgetall(KEYS.stock)
        pipe.zrange(KEYS.deadlines, 0, -1)
        pipe.hmget(KEYS.meta, "epoch", "seq", "last_now_ms")
        entries, stock, deadlines, meta = pipe.execute()
    assert [decode_entry(fields[b"b"]) for _, fields in entries] == expected
    counters = {sku.decode(): tuple(map(int, value.split(b" ")[:2])) for sku, value in stock.items()}
    assert counters == replay.counters
    held: dict[str, int] = dict.fromkeys(counters, 0)
    active = {}
    for member in deadlines:
        lines = parse_lines(member.decode()[37:])
        active[member.decode()[:36]] = dict(lines)
        for sku, units in lines:
            held[sku] += units
    assert active == replay.active
    assert held == {sku: reserved for sku, (_, reserved) in counters.items()}
    assert all(0 <= reserved <= on_hand for on_hand, reserved in counters.values())
    if whole:
        assert [int(number) for number in meta] == [1, replay.next_seq - 1, replay.last_ms]
    else:
        assert meta == [None, None, None]
    ids = [*active, *ended]
    for one, raw in zip(ids, client.mget([KEYS.record(one[:24]) for one in ids]) if ids else (), strict=True):  # type: ignore[arg-type]
        assert raw is not None, f"{one} has no record"
        record = _record(raw)
        assert record.status == ended.get(one, "ACTIVE")
        if one in active:
            assert dict(parse_lines(record.lines)) == active[one]


def hold_on(client: redis.Redis, whole: int, seq: int, last_seq: int) -> None:
    """A ledger that has seen more is recognised; the next reservation goes on where the state stands."""
    if seq < last_seq:
        with pytest.raises(NotReady):
            open_partition(client, epoch=1, ledger_seq=last_seq)
    if whole == 0:
        return
    open_partition(client, epoch=1, ledger_seq=seq)
    machine = Machine(client)
    machine.clock_ms = None
    made = machine.stock("NEW", 3)
    result = machine.one(Reserve("a" * 24, "NEW=3", 60_000, details=DETAILS))
    assert (made.status, result.status) == ("ok", "ok")
    assert result.seq == seq + 3
    assert machine.counters("NEW") == (3, 3)


class Booting:
    """Servers on cut files, some of them started ahead: most of a start is waiting."""

    def __init__(self, written: Written, folder: Path, offsets: list[int]) -> None:
        self._written = written
        self._folder = folder
        self._left = deque(offsets)
        self._started: deque[tuple[int, EmbeddedRedis]] = deque()

    def __iter__(self) -> Iterator[tuple[int, EmbeddedRedis]]:
        try:
            while self._left or self._started:
                while self._left and len(self._started) < AHEAD:
                    offset = self._left.popleft()
                    folder = self._folder / f"cut{offset}"
                    crashed_at(self._written.folder, offset, folder)
                    server = EmbeddedRedis(folder)
                    server.launch()
                    self._started.append((offset, server))
                offset, server = self._started[0]
                wait_until(lambda server=server: server.is_ready(), 60, f"the server on {offset} bytes is ready")
                yield offset, server
                self._started.popleft()
                server.kill()
                shutil.rmtree(server.folder)
        finally:
            for _, server in self._started:
                server.kill()


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.timeout(max(300, BATCHES * 5))
def test_every_prefix(written: Written, server_folder: Path, part: int) -> None:
    offsets = written.offsets()[part::PARTS]
    last_seq = max(entry.last_seq for entry in written.entries if entry is not None)
    seen = 0
    for offset, server in Booting(written, server_folder, offsets):
        try:
            with server.client() as client:
                whole = written.whole(offset)
                seq = max((entry.last_seq for entry in written.entries[:whole] if entry is not None), default=0)
                hold(client, written, whole)
                hold_on(client, whole, seq, last_seq)
        except BaseException as error:
            error.add_note(f"cut at {offset} of {len(written.data)} bytes, HOLDFAST_AOF_SEED={SEED}")
            raise
        seen += 1
    print(f"{seen} prefixes of {len(written.data)} bytes")
    assert seen == len(offsets)


def test_there_are_enough(written: Written) -> None:
    assert len(written.offsets()) >= 3 * BATCHES * 9 // 10
    assert len(written.offsets()) >= 300 or BATCHES < 110


def test_each_transaction_is_one_batch(written: Written) -> None:
    """No write of a batch stands outside of its transaction, and none is empty."""
    opening, *batches = written.entries
    assert opening is None, "the first one makes `meta`"
    seqs = [(entry.first_seq, entry.last_seq) for entry in batches if entry is not None]
    assert len(seqs) == len(batches)
    assert [first for first, _ in seqs[1:]] == [last + 1 for _, last in seqs[:-1]]


def test_one_transaction_more_or_less_is_seen(written: Written, server_folder: Path) -> None:
    """What every prefix is held against finds the loss of one batch, and a batch too many."""
    whole = len(written.transactions) - 5
    folder = server_folder / "seen"
    crashed_at(written.folder, written.transactions[whole - 1].end, folder)
    server = EmbeddedRedis(folder)
    server.start()
    with server.client() as client:
        hold(client, written, whole)
        for other in (whole - 1, whole + 1):
            with pytest.raises(AssertionError):
                hold(client, written, other)
    server.kill()


def test_a_cut_in_the_middle_of_the_file_is_not_taken_for_its_end(
    written: Written, make_redis: Callable[..., EmbeddedRedis], server_folder: Path
) -> None:
    """A byte that was lost inside makes the server refuse to start, rather than serve what is before it."""
    from runtime.embedded_redis import RedisStartFailed

    folder = server_folder / "damaged"
    crashed_at(written.folder, len(written.data), folder)
    end = written.transactions[len(written.transactions) // 2].end
    increment_file(folder).write_bytes(written.data[:end] + written.data[end + 1 :])
    server = EmbeddedRedis(folder)
    with pytest.raises(RedisStartFailed, match=r"(?i)bad file format"):
        server.start()
    server.stop()
