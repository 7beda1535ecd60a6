"""engine/bootstrap.py: a partition is made once, and a state that has forgotten something is never served."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import redis

from engine import NotReady
from engine.bootstrap import open_partition
from engine.keys import partition_keys
from runtime.embedded_redis import EmbeddedRedis
from tests.scripts.machine import dump

KEYS = partition_keys(0)


def test_an_empty_store_gets_its_meta(redis_client: redis.Redis) -> None:
    open_partition(redis_client, epoch=7, ledger_seq=0)

    assert redis_client.hgetall(KEYS.meta) == {
        b"epoch": b"7",
        b"seq": b"0",
        b"last_now_ms": b"0",
        b"schema": b"1",
        b"partitions": b"1",
    }
    assert redis_client.dbsize() == 1


def test_opening_again_changes_nothing(redis_client: redis.Redis) -> None:
    open_partition(redis_client, epoch=1, ledger_seq=0)
    redis_client.hset(KEYS.meta, "seq", "12")
    before = dump(redis_client)

    for ledger_seq in (0, 11, 12):
        open_partition(redis_client, epoch=1, ledger_seq=ledger_seq)

    assert dump(redis_client) == before


@pytest.mark.parametrize(
    ("meta", "epoch", "ledger_seq", "says"),
    [
        ({}, 1, 5, "empty"),
        ({"seq": "4"}, 1, 5, "forgotten"),
        ({"seq": "5"}, 2, 5, "epoch 1"),
        ({"seq": "5", "schema": "2"}, 1, 5, "schema 2"),
        ({"seq": "5", "partitions": "4"}, 1, 5, "4 partitions"),
    ],
    ids=["empty, the ledger is not", "older than the ledger", "another epoch", "another schema", "other partitions"],
)
def test_a_state_that_must_not_be_served(
    redis_client: redis.Redis, meta: dict[str, str], epoch: int, ledger_seq: int, says: str
) -> None:
    if meta:
        open_partition(redis_client, epoch=1, ledger_seq=0)
        redis_client.hset(KEYS.meta, mapping=meta)
    before = dump(redis_client)

    with pytest.raises(NotReady, match=says):
        open_partition(redis_client, epoch=epoch, ledger_seq=ledger_seq)

    assert dump(redis_client) == before


@pytest.mark.parametrize("name", ["stock", "deadlines", "journal"])
def test_part_of_a_state_is_no_fresh_start(redis_client: redis.Redis, name: str) -> None:
    key = getattr(KEYS, name)
    if name == "stock":
        redis_client.hset(key, "A", "1 0 0 0 1")
    elif name == "deadlines":
        redis_client.zadd(key, {"x": 1})
    else:
        redis_client.xadd(key, {"b": "x"})

    with pytest.raises(NotReady, match="no `meta`"):
        open_partition(redis_client, epoch=1, ledger_seq=0)

    assert not redis_client.exists(KEYS.meta)


def test_processes_that_start_together_agree(redis_server: EmbeddedRedis, redis_client: redis.Redis) -> None:
    def start(epoch: int) -> str:
        with redis_server.client() as client:
            try:
                open_partition(client, epoch=epoch, ledger_seq=0)
            except NotReady:
                return "refused"
            return "opened"

    with ThreadPoolExecutor(16) as pool:
        outcomes = list(pool.map(start, range(1, 17)))

    assert sorted(outcomes) == ["opened"] + ["refused"] * 15
    assert redis_client.hget(KEYS.meta, "epoch") == str(outcomes.index("opened") + 1).encode()
