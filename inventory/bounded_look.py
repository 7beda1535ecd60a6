"""A question to a server, asked by many and waited for by none for longer than a moment.

Owns the patience and the sharing of one answer; never knows what is asked.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final, Generic, TypeVar

T = TypeVar("T")

PATIENCE_S: Final = 1.5
"""How long a look waits for a server."""
ABANDON_S: Final = 4.0
"""A look that has waited this long is given up, and the next one begins anew."""


class NoAnswer(Exception):
    """A server did not answer in time."""


class BoundedLook(Generic[T]):
    """One question to one server: whoever asks while it is under way gets its answer, nobody waits longer than allowed.

    A hanging question is not waited for to be cancelled: that may take longer than the patience (psycopg asks the
    server that hangs to cancel).
    """

    def __init__(self, ask: Callable[[], Awaitable[T]]) -> None:
        self._ask = ask
        self._task: asyncio.Task[T] | None = None
        self._began = 0.0
        self._silent_since = 0.0
        self._given_up: set[asyncio.Task[T]] = set()

    async def answer(self) -> T:
        """The answer. Raises NoAnswer after PATIENCE_S, else what asking raised."""
        now = time.monotonic()
        task = self._task
        if task is not None and not task.done() and now - self._began > ABANDON_S:
            self._given_up.add(task)
            task.cancel()
            task = None
        if task is None or task.done():
            task = self._task = asyncio.get_running_loop().create_task(self._run())
            # Whoever asked may have gone without an answer by the time it fails.
            task.add_done_callback(self._ended)
            self._began = now
        done, _ = await asyncio.wait({task}, timeout=PATIENCE_S)
        if not done and time.monotonic() - now > 1.2 * PATIENCE_S:
            # We were kept waiting ourselves: what the server has answered meanwhile is yet to be read.
            done, _ = await asyncio.wait({task}, timeout=PATIENCE_S)
        if not done:
            self._silent_since = self._silent_since or now
            raise NoAnswer(f"no answer for {time.monotonic() - self._silent_since:.0f} s")
        self._silent_since = 0.0
        return task.result()

    async def _run(self) -> T:
        return await self._ask()

    def _ended(self, task: asyncio.Task[T]) -> None:
        self._given_up.discard(task)
        if not task.cancelled():
            task.exception()  # looked at, so that nobody is told of it at the end
