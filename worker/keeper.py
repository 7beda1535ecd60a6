"""The keeper: looks again and again whether what Redis holds may be served, and has it recovered when it may not.

Owns the loop and its pace; what is found and done stands in worker/recovery.py and, for the append-only file, in
worker/aof_mender.py. One in every worker: the recovery's own lock lets one of them work at a time.
"""

from __future__ import annotations

import contextlib
import threading
import time

import structlog
from msgspec import Struct
from redis.exceptions import RedisError

from engine.client import open_blocking_client
from engine.fenced import FenceLost
from persistence.ledger_writer import LedgerError
from worker.aof_mender import AofMender
from worker.failpoints import Hook, nothing
from worker.recovery import Recovery, RecoveryRefused, RecoverySettings


class KeeperSettings(Struct, frozen=True):
    """Every limit of the keeper."""

    recovery: RecoverySettings = RecoverySettings()
    interval_ms: int = 250
    """Between two looks: about how long a server that was emptied stays unnoticed. Each is three short questions."""
    first_back_off_ms: int = 100
    last_back_off_ms: int = 2_000


class KeeperStatus(Struct, frozen=True):
    """What the keeper knows of itself."""

    epoch: int = 0
    """Admitted when last seen; 0 before."""
    looks: int = 0
    rebuilds: int = 0
    """Of the store, ever."""
    rebuild_ms: int = 0
    """How long the last one took."""
    reason: str = ""
    """Why nothing is admitted, as far as it knows; empty when all is well."""


class Keeper:
    """Runs in a thread of its own: `run` until `stop` is called from another one."""

    def __init__(
        self, redis_url: str, database_url: str, settings: KeeperSettings | None = None, passed: Hook = nothing
    ) -> None:
        self._settings = settings or KeeperSettings()
        self._urls = (redis_url, database_url)
        self._passed = passed
        self._stop = threading.Event()
        self._log = structlog.get_logger("worker.keeper")
        self._status = KeeperStatus()

    @property
    def status(self) -> KeeperStatus:
        """The latest picture; safe to read from any thread."""
        return self._status

    def stop(self) -> None:
        """Ask `run` to return. A rebuild under way is finished first."""
        self._stop.set()

    def run(self) -> None:
        """Look until stopped. Survives Redis and Postgres going away; raises only for a bug."""
        recovery = Recovery(*self._urls, self._settings.recovery, self._passed)
        # With a connection of its own: the file is mended also while Postgres is away.
        redis = open_blocking_client(self._urls[0], answer_timeout_s=5)
        mender = AofMender(redis)
        back_off_ms = 0
        try:
            while not self._stop.is_set():
                began = time.monotonic()
                try:
                    admitted = recovery.look()
                except (RecoveryRefused, FenceLost, RedisError, LedgerError, OSError) as error:
                    status = self._status
                    self._say(f"{type(error).__name__}: {error}", status.epoch, status.rebuilds, status.rebuild_ms)
                    back_off_ms = min(
                        max(self._settings.first_back_off_ms, back_off_ms * 2), self._settings.last_back_off_ms
                    )
                else:
                    self._say("", admitted.epoch, admitted.rebuilds, admitted.rebuild_ms)
                    back_off_ms = 0
                # A Redis that is away is the recovery's to tell of.
                with contextlib.suppress(RedisError):
                    mender.look()
                spent_ms = (time.monotonic() - began) * 1000
                self._stop.wait((back_off_ms or max(0.0, self._settings.interval_ms - spent_ms)) / 1000)
        finally:
            recovery.close()
            redis.close()

    def _say(self, reason: str, epoch: int, rebuilds: int, rebuild_ms: int) -> None:
        if reason != self._status.reason:
            if reason:
                self._log.error("nothing is admitted for now", reason=reason)
            else:
                self._log.info("all is well again", epoch=epoch)
        self._status = KeeperStatus(
            epoch=epoch,
            looks=self._status.looks + 1,
            rebuilds=rebuilds,
            rebuild_ms=rebuild_ms,
            reason=reason,
        )
