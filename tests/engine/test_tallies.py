"""What a batcher counts of its batches is what went through it."""

from __future__ import annotations

import asyncio

import pytest

from engine import Configure, Engine, Rejected
from engine.tallies import SIZE_BOUNDS


async def test_every_answer_is_counted_once_by_command_and_status(engine: Engine) -> None:
    await engine.execute(Configure("CUP", 0, 0, True, 5, "tests"))
    held = await asyncio.gather(*(engine.reserve([("CUP", 1)], customer_id="ann") for _ in range(5)))
    with pytest.raises(Rejected):
        await engine.reserve([("CUP", 1)], customer_id="bob")
    await engine.confirm(held[0].id)
    await engine.confirm(held[0].id)
    await engine.release(held[1].id)
    tally = engine.batcher.tally
    assert {(one.command, one.status): one.count for one in tally.outcomes()} == {
        ("configure", "ok"): 1,
        ("reserve", "ok"): 5,
        ("reserve", "insufficient_stock"): 1,
        ("confirm", "ok"): 1,
        ("confirm", "replayed"): 1,
        ("release", "ok"): 1,
    }
    assert tally.count("confirm", "ok", "replayed") == 2
    assert tally.commands == 10
    assert sum(tally.sizes) == sum(tally.durations) == engine.batcher.batches
    assert tally.seconds > 0
    # The five that came at the same time travelled together.
    assert sum(tally.sizes[SIZE_BOUNDS.index(8) :]) == 1
