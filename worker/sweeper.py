"""The sweeper: ends holds whose deadline has passed, so that everybody sees their units free within moments.

Owns the looking; never decides that a hold has ended. The state machine does, on its own clock, and gives due holds
back to whoever needs the units even when no sweeper runs; so a dead sweeper loses nothing and five of them do no harm.

It pauses when the server's clock and the monotonic clock of this process have parted by more than 5 s since the last
look: a clock that jumped ahead would end every hold at once. It goes on when the clocks agree again, or when the new
time has lasted so long that it must be the right one.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import structlog
from msgspec import Struct
from redis.asyncio import Redis
from redis.exceptions import RedisError

from engine.commands import Expire
from engine.engine import Engine
from engine.errors import InvalidCommand, Unavailable
from engine.identity import BASE_LENGTH
from engine.keys import partition_keys
from engine.results import Status
from engine.stored_numbers import whole


class SweeperSettings(Struct, frozen=True):
    """Every limit of the sweeper. Times in milliseconds."""

    partition: int = 0
    interval_ms: int = 100
    """Between two looks. A hold is seen to be over one interval and one batch after its deadline at the latest."""
    chunk: int = 200
    """Holds ended by one call of the engine; callers in between are served."""
    clock_tolerance_ms: int = 5_000
    """How far the clocks may part between two looks."""
    settle_ms: int = 60_000
    """How long a new time must last, by the monotonic clock, until it is taken for the right one."""
    last_back_off_ms: int = 2_000


class SweeperStatus(Struct):
    """What the sweeper knows of itself. Mutable: it is the sweeper's own counter sheet."""

    looks: int = 0
    expired: int = 0
    stuck: int = 0
    """Due holds at the last look that the state machine would not end; more than 0 means damage."""
    lag_ms: int = 0
    """How long the oldest due hold had been due at the last look."""
    paused: bool = False
    waiting: bool = False
    """True while Redis gives no answer."""


class Sweeper:
    """Use `run` in a task, or `sweep` for a single look."""

    def __init__(
        self,
        engine: Engine,
        redis: Redis,
        settings: SweeperSettings | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._engine = engine
        self._redis = redis
        self._settings = settings or SweeperSettings()
        self._monotonic = monotonic
        self._keys = partition_keys(self._settings.partition)
        self._log = structlog.get_logger("worker.sweeper").bind(partition=self._settings.partition)
        self._offset_ms: float | None = None
        """Server clock less monotonic clock, as last believed."""
        self._new_offset_ms = 0.0
        self._new_since_ms = 0.0
        self.status = SweeperStatus()

    async def run(self, stop: asyncio.Event) -> None:
        """Look again and again until `stop`. Survives Redis going away."""
        back_off_ms = 0
        while not stop.is_set():
            try:
                await self.sweep()
            except (RedisError, Unavailable, OSError) as error:
                if not self.status.waiting:
                    self._log.error("sweeper waits for Redis", reason=f"{type(error).__name__}: {error}")
                self.status.waiting = True
                back_off_ms = min(max(self._settings.interval_ms, back_off_ms * 2), self._settings.last_back_off_ms)
            else:
                if self.status.waiting:
                    self._log.info("sweeper goes on")
                self.status.waiting = False
                back_off_ms = 0
            await _pause(stop, (back_off_ms or self._settings.interval_ms) / 1000)

    async def sweep(self) -> int:
        """One look: end every hold that is due now, and give how many. Raises RedisError, Unavailable."""
        server_ms, last_now_ms = await self._clock()
        self.status.looks += 1
        if not self._clocks_agree(server_ms):
            return 0
        # The state machine's clock never goes back, so what was due by its last time still is.
        now_ms = max(server_ms, last_now_ms)
        ended = 0
        left_behind = 0
        self.status.lag_ms = 0
        while True:
            due: Any = await self._redis.zrangebyscore(
                self._keys.deadlines,
                "-inf",
                now_ms,
                start=left_behind,
                num=self._settings.chunk,
                withscores=True,
            )
            if due:
                self.status.lag_ms = max(self.status.lag_ms, now_ms - whole(due[0][1]))
                by_us, still_there = await self._expire([member for member, _ in due])
                ended += by_us
                left_behind += still_there
            if len(due) < self._settings.chunk:
                break
        if left_behind > self.status.stuck:
            self._log.error("due holds could not be ended", holds=left_behind)
        self.status.stuck = left_behind
        self.status.expired += ended
        return ended

    async def _expire(self, members: list[bytes]) -> tuple[int, int]:
        """End these holds; gives how many this sweeper ended, and how many are in the deadline set all the same."""
        # What is no UTF-8 is no hold: the engine refuses to send it, and it counts as left behind.
        texts = [member.decode(errors="surrogateescape") for member in members]
        commands = [Expire(text[:BASE_LENGTH], text) for text in texts]
        try:
            results = await self._engine.apply(commands)
        except InvalidCommand:
            # One member that is no hold at all must not keep the others from ending.
            results = [result for command in commands for result in await self._expire_alone(command)]
        by_us = sum(result.status == Status.OK for result in results)
        if by_us == len(members):
            return by_us, 0
        # What another sweeper, or the state machine for somebody in need, ended first is gone as well.
        names: list[Any] = list(members)  # redis-py's stubs know text only
        scores = await self._redis.zmscore(self._keys.deadlines, names)
        return by_us, sum(score is not None for score in scores)

    async def _expire_alone(self, command: Expire) -> list[Any]:
        try:
            return [await self._engine.execute(command)]
        except InvalidCommand:
            return []

    async def _clock(self) -> tuple[int, int]:
        async with self._redis.pipeline(transaction=False) as pipe:
            pipe.time()
            pipe.hget(self._keys.meta, "last_now_ms")
            (seconds, micros), last_now_ms = await pipe.execute()
        return seconds * 1000 + micros // 1000, whole(last_now_ms)

    def _clocks_agree(self, server_ms: int) -> bool:
        """False while the server's clock is not to be believed."""
        own_ms = self._monotonic() * 1000
        offset_ms = server_ms - own_ms
        tolerance_ms = self._settings.clock_tolerance_ms
        if self._offset_ms is None or abs(offset_ms - self._offset_ms) <= tolerance_ms:
            if self.status.paused:
                self._log.warning("the clocks agree again; sweeping")
            self._offset_ms = offset_ms
            self.status.paused = False
            return True
        if not self.status.paused or abs(offset_ms - self._new_offset_ms) > tolerance_ms:
            self._log.error("server clock jumped; sweeping pauses", by_ms=round(offset_ms - self._offset_ms))
            self.status.paused = True
            self._new_since_ms = own_ms
        elif own_ms - self._new_since_ms >= self._settings.settle_ms:
            self._log.warning("the new server time has lasted; sweeping by it")
            self._offset_ms = offset_ms
            self.status.paused = False
            return True
        self._new_offset_ms = offset_ms
        return False


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    """Wait for `seconds`, or less when `stop` comes."""
    waiting = asyncio.get_running_loop().create_task(stop.wait())
    await asyncio.wait([waiting], timeout=seconds)
    waiting.cancel()
