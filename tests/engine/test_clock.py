"""Whose clock decides: the server's, never that of the process that asks."""

from __future__ import annotations

import time

import pytest
import redis

from engine import Configure, Engine
from engine.identity import split_id

HOUR_S = 3_600


@pytest.mark.parametrize("off_s", [-HOUR_S, HOUR_S])
async def test_a_caller_with_a_wrong_clock(
    off_s: int, engine: Engine, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    await engine.execute(
        Configure("A", safety_stock=0, low_stock_threshold=0, active=True, initial_stock=5, actor="admin")
    )
    real_time, real_ns = time.time, time.time_ns
    monkeypatch.setattr(time, "time", lambda: real_time() + off_s)
    monkeypatch.setattr(time, "time_ns", lambda: real_ns() + off_s * 1_000_000_000)
    seconds, micros = redis_client.time()  # type: ignore[misc]
    before_ms = seconds * 1000 + micros // 1000

    held = await engine.reserve([("A", 1)], customer_id="ann", ttl_ms=60_000)

    seconds, micros = redis_client.time()  # type: ignore[misc]
    after_ms = seconds * 1000 + micros // 1000
    assert before_ms <= split_id(held.id)[1] <= after_ms
    assert before_ms + 60_000 <= held.deadline_ms <= after_ms + 60_000
    assert (await engine.confirm(held.id)).status == "COMPLETED"
