"""engine/awaited.py: whoever waits for the ledger says so, seldom, and the notice goes away by itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import redis

from engine import Engine
from engine.journal import JournalReader
from runtime.embedded_redis import EmbeddedRedis
from tests.engine.calls import KEYS
from tests.engine.conftest import OpenEngine


async def test_a_wait_is_seen_by_the_reader_of_the_journal(
    engine: Engine, redis_client: redis.Redis, eventually: Callable[..., Any]
) -> None:
    reader = JournalReader(redis_client, 0)
    assert not reader.awaited()

    engine.ledger_awaited()

    await eventually(reader.awaited, 30)
    assert redis_client.pttl(KEYS.awaited) > 0
    await eventually(lambda: not reader.awaited(), 30, what="nobody waits any more")
    engine.ledger_awaited()
    await eventually(reader.awaited, 30, what="somebody waits again")


async def test_a_thousand_waits_are_one_notice(
    engine: Engine, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch, eventually: Callable[..., Any]
) -> None:
    monkeypatch.setattr("engine.awaited.RENEWED_AFTER_S", 60.0)
    redis_client.config_resetstat()

    for _ in range(1_000):
        engine.ledger_awaited()

    await eventually(lambda: redis_client.exists(KEYS.awaited), 30)
    assert redis_client.info("commandstats")["cmdstat_set"]["calls"] == 1


async def test_a_redis_that_is_away_or_takes_no_writes_hurts_nobody(
    own_server: EmbeddedRedis, own_client: redis.Redis, open_engine: OpenEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.awaited.RENEWED_AFTER_S", 0.0)
    engine = await open_engine(own_server.url)
    own_client.config_set("maxmemory", "1")
    engine.ledger_awaited()
    await engine.close()
    assert not own_client.exists(KEYS.awaited)

    another = await open_engine(own_server.url)
    own_server.kill()
    another.ledger_awaited()
    await another.close()
