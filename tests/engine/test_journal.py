"""engine/journal.py: reading from a position, waiting, trimming; over both protocols of redis-py."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import msgspec
import pytest
import redis

from engine.events import decode_entry
from engine.journal import JournalReader, stream_position
from engine.keys import partition_keys
from runtime.embedded_redis import EmbeddedRedis
from tests.scripts.machine import Machine

KEY = partition_keys(0).journal


@pytest.fixture(params=[2, 3], ids=["RESP2", "RESP3"])
def reader(request: pytest.FixtureRequest, redis_server: EmbeddedRedis, redis_url: str) -> Iterator[JournalReader]:
    with redis.Redis.from_url(redis_url, protocol=request.param) as client:
        yield JournalReader(client, 0)


@pytest.fixture
def machine(redis_client: redis.Redis) -> Machine:
    """Ten entries of an event each, after the one that made the SKU."""
    machine = Machine(redis_client)
    machine.stock("A", 100)
    for _ in range(10):
        machine.reserve("A=1")
    return machine


def test_entries_come_in_order_after_a_position(machine: Machine, reader: JournalReader) -> None:
    first = reader.read("0", count=4, block_ms=0)
    rest = reader.read(first[-1][0], count=100, block_ms=0)

    seqs = [decode_entry(raw).first_seq for _, raw in first + rest]
    assert seqs == [1, *range(3, 13)]
    assert len(first) == 4
    positions = [stream_position(stream_id) for stream_id, _ in first + rest]
    assert positions == sorted(positions)
    assert reader.read(rest[-1][0], count=100, block_ms=0) == []


def test_no_journal(reader: JournalReader) -> None:
    assert reader.read("0", count=10, block_ms=0) == []
    assert reader.read("0", count=10, block_ms=1) == []
    assert reader.written() == (0, 0)
    assert reader.oldest_after("0") is None
    assert reader.extent().length == 0


def test_a_read_waits_for_the_next_entry(machine: Machine, reader: JournalReader, redis_server: EmbeddedRedis) -> None:
    last = reader.read("0", count=100, block_ms=0)[-1][0]
    got: list[tuple[str, bytes]] = []
    waiting = threading.Thread(target=lambda: got.extend(reader.read(last, count=10, block_ms=8_000)))
    waiting.start()

    machine.reserve("A=1")
    waiting.join()

    # One that had waited for its time to be over would have come back with nothing.
    assert [decode_entry(raw).first_seq for _, raw in got] == [13]


def test_trimming_takes_exactly_what_is_older(machine: Machine, reader: JournalReader) -> None:
    entries = reader.read("0", count=100, block_ms=0)

    assert reader.trim(entries[4][0]) == 4
    assert reader.read("0", count=100, block_ms=0) == entries[4:]
    assert reader.trim(entries[4][0]) == 0


def test_how_far_the_state_machine_has_written(machine: Machine, reader: JournalReader) -> None:
    assert reader.written() == (1, 12)


def test_the_extent(machine: Machine, reader: JournalReader) -> None:
    entries = reader.read("0", count=100, block_ms=0)
    extent = reader.extent()

    assert extent.length == len(entries)
    assert extent.first_id == entries[0][0]
    assert extent.memory_bytes > 0
    assert abs(extent.server_now_ms - reader.server_now_ms()) < 60_000
    assert reader.oldest_after(entries[0][0]) == int(entries[1][0].split("-")[0])
    assert reader.oldest_after(entries[-1][0]) is None


@pytest.mark.parametrize("fields", [{"x": "1"}, {"b": "1", "c": "2"}])
def test_an_entry_that_is_not_ours_is_no_batch(
    reader: JournalReader, redis_client: redis.Redis, fields: dict[str, str]
) -> None:
    redis_client.xadd(KEY, fields)  # type: ignore[arg-type]

    ((_, raw),) = reader.read("0", count=10, block_ms=0)

    with pytest.raises(msgspec.MsgspecError):
        decode_entry(raw)
