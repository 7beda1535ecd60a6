"""Doing the same thing to many items, some at a time.

Owns the tasks; never knows what is done. The first failure ends all and is raised as itself, not in a group.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

T = TypeVar("T")


async def at_a_time(concurrency: int, items: Sequence[T], do: Callable[[T], Awaitable[None]]) -> None:
    """Await `do(item)` for every item, started in order, at most `concurrency` at once. Raises what `do` raised."""
    waiting = iter(items)

    async def work() -> None:
        for item in waiting:
            await do(item)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(concurrency, len(items))):
                group.create_task(work())
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
