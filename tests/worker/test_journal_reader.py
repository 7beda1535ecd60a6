"""Reading and trimming the stream, over either protocol, whatever a stranger has put into it."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest
from redis import Redis

from engine.journal import JournalReader, stream_position
from engine.keys import partition_keys

KEYS = partition_keys(0)


@pytest.fixture(params=[2, 3])
def client(request: pytest.FixtureRequest, redis_url: str) -> Iterator[Redis]:
    connected = Redis.from_url(redis_url, protocol=request.param)
    yield connected
    connected.close()


@pytest.fixture
def reader(client: Redis) -> JournalReader:
    return JournalReader(client, 0)


def test_entries_come_in_order_after_a_position(client: Redis, reader: JournalReader) -> None:
    for n in range(1, 6):
        client.xadd(KEYS.journal, {"b": b"%d" % n}, id=f"{n}-0")
    assert reader.read("0-0", 10, 0) == [(f"{n}-0", b"%d" % n) for n in range(1, 6)]
    assert reader.read("3-0", 1, 0) == [("4-0", b"4")]
    assert reader.read("5-0", 10, 0) == []
    assert reader.read("5-0", 10, 5) == []
    assert reader.latest_until("4-0", 2) == [("4-0", b"4"), ("3-0", b"3")]


def test_a_stream_that_is_not_there_is_empty(reader: JournalReader) -> None:
    assert reader.read("0-0", 10, 0) == []
    assert reader.written() == (0, 0)
    assert reader.oldest_after("0-0") is None
    extent = reader.extent()
    assert (extent.length, extent.memory_bytes, extent.first_id) == (0, 0, "")


@pytest.mark.parametrize("fields", [{"x": b"1"}, {"b": b"1", "x": b"2"}])
def test_a_strangers_entry_is_handed_on_as_something_no_batch_is(
    client: Redis, reader: JournalReader, fields: dict[str, bytes]
) -> None:
    client.xadd(KEYS.journal, fields, id="1-0")
    ((_, raw),) = reader.read("0-0", 1, 0)
    assert msgspec.msgpack.decode(raw) == {name.encode(): value for name, value in fields.items()}


def test_trimming_is_exact(client: Redis, reader: JournalReader) -> None:
    for n in range(1, 301):
        client.xadd(KEYS.journal, {"b": b"x"}, id=f"{n}-0")
    assert reader.trim("250-0") == 249
    assert reader.read("0-0", 1, 0) == [("250-0", b"x")]
    assert reader.extent().first_id == "250-0"
    assert reader.oldest_after("250-0") == 251


def test_positions_compare_as_numbers() -> None:
    assert stream_position("10-2") > stream_position("9-30") > stream_position("9-4")
    assert stream_position("7") == (7, 0)
