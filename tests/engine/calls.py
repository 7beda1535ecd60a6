"""What the batcher tests send, and how they collect what `submit` hands back."""

from __future__ import annotations

import asyncio
from typing import Any

from engine import Configure, Engine, Reserve
from engine.identity import random_base
from engine.keys import partition_keys

KEYS = partition_keys(0)
DETAILS = '{"c":"ann"}'


def holding(lines: str = "A=1", ttl_ms: int = 60_000) -> Reserve:
    return Reserve(random_base(), lines, ttl_ms, details=DETAILS)


async def stock(engine: Engine, sku: str = "A", units: int = 10_000) -> None:
    assert (await engine.execute(Configure(sku, 0, 0, True, units, "admin"))).status == "ok"


class Answers:
    """Collects what `submit` hands back."""

    def __init__(self, expected: int) -> None:
        self.got: list[Any] = []
        self._expected = expected
        self._done = asyncio.Event()

    def __call__(self, _: Any, reply: Any) -> None:
        self.got.append(reply)
        if len(self.got) == self._expected:
            self._done.set()

    async def all(self) -> list[Any]:
        await asyncio.wait_for(self._done.wait(), 20)
        return self.got
