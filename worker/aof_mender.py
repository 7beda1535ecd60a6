"""The mender of the append-only file: once a write to it has failed, it has the server write the file anew.

Owns when BGREWRITEAOF is asked for; never reads a file and never stops anything. Redis and Valkey cut a half written
command off again, but since the file of a rewrite is not opened for appending, the next write leaves a hole of zeros
behind that cut: all looks well again, and the server that restarts cannot read its own file (seen with Valkey 9.1 and
Redis 7.0). Only what is in memory is whole then, so the file is made from that.
"""

from __future__ import annotations

import time
from typing import Final

import structlog
from redis import Redis
from redis.exceptions import ResponseError

AGAIN_AFTER_S: Final = 5.0
"""Between two attempts: a disk that is nearly full takes no second file."""


class AofMender:
    """`look` now and then, a few times a second. Not thread-safe."""

    def __init__(self, redis_client: Redis) -> None:
        self._redis = redis_client
        self._log = structlog.get_logger("worker.aof")
        self._failed = False
        """A write has failed and the file was not made anew since."""
        self._asked = False
        self._next_at = 0.0
        self.mended = 0
        """Files made anew."""

    def look(self) -> None:
        """See how the latest write went, and do the next thing that is needed. Never waits for a rewrite.

        Raises redis.exceptions.RedisError when Redis gives no answer.
        """
        info = self._redis.info("persistence")
        if info.get("aof_last_write_status", "ok") != "ok":
            if not self._failed:
                self._log.error("Redis cannot write its append-only file: make room on its disk")
            self._failed, self._asked = True, False
            return
        if not self._failed or info.get("aof_rewrite_in_progress") or info.get("aof_rewrite_scheduled"):
            return
        if self._asked and info.get("aof_last_bgrewrite_status") == "ok":
            self._failed = self._asked = False
            self.mended += 1
            self._log.info("the append-only file of Redis is made anew and whole")
        elif time.monotonic() >= self._next_at:
            self._next_at = time.monotonic() + AGAIN_AFTER_S
            self._ask()

    def _ask(self) -> None:
        try:
            self._redis.bgrewriteaof()
        except ResponseError as error:
            if "in progress" in str(error):
                # Another worker was quicker; whether that one began behind the failure is not known, so ask again.
                return
            # No right to do so, or no such command: somebody else's server.
            self._failed = False
            self._log.error("the append-only file may have a hole: have Redis write it anew", reason=str(error))
        else:
            self._asked = True
            self._log.warning("Redis writes again; its append-only file may have a hole and is made anew")
