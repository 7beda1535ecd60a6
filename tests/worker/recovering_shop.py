"""A small shop on servers of its own that recovery tests may break: buyers, a flusher on demand, and what must hold.

Owns the scenery; what breaks and what must come of it stands in the tests.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import redis

from engine import Adjust, Configure, Engine, EngineSettings
from engine.identity import derived_base
from engine.keys import partition_keys
from engine.results import Record, Reservation, decode_record
from persistence.database_url import psycopg_url
from runtime.embedded_redis import EmbeddedRedis
from worker.flusher import Flusher, FlusherSettings
from worker.recovery import Admitted, Recovery, RecoverySettings

KEYS = partition_keys(0)


class RecoveringShop:
    """Use `recover`, then `open_engine`; `close` at the end."""

    def __init__(self, server: EmbeddedRedis, database_url: str) -> None:
        self.server = server
        self.database_url = database_url
        self.engines: list[Engine] = []

    # -- the servers

    def sql(self, query: str, *arguments: object) -> list[tuple[Any, ...]]:
        with psycopg.connect(psycopg_url(self.database_url), autocommit=True) as connection:
            found = connection.execute(query, arguments or None)
            return found.fetchall() if found.description else []

    def client(self) -> redis.Redis:
        return self.server.client()

    def restart(self) -> None:
        self.server.kill()
        self.server.start()

    def journal_file(self) -> Path:
        """The append-only file that is being written."""
        (file,) = self.server.folder.glob("appendonlydir/*.incr.aof")
        return file

    # -- recovery

    def recovery(self, **more: Any) -> Recovery:
        return Recovery(self.server.url, self.database_url, RecoverySettings(lock_wait_s=20), **more)

    def recover(self, **more: Any) -> Admitted:
        recovery = self.recovery(**more)
        try:
            return recovery.look()
        finally:
            recovery.close()

    def flush(self) -> None:
        flusher = Flusher(self.server.url, self.database_url, FlusherSettings(tick_ms=0))
        flusher.drain()
        flusher.close()

    def cursor(self) -> tuple[int, int]:
        ((epoch, seq),) = self.sql("SELECT epoch, seq FROM journal_cursors")
        return epoch, seq

    def state(self) -> tuple[str, str, int]:
        ((state, reason, rebuilds),) = self.sql("SELECT state, reason, rebuilds FROM partition_state")
        return state, reason, rebuilds

    # -- the shop

    async def open_engine(self, admitted: Admitted) -> Engine:
        engine = await Engine.connect(self.server.url, EngineSettings(epoch=admitted.epoch, run_id=admitted.run_id))
        self.engines.append(engine)
        return engine

    async def stock(self, engine: Engine, skus: int = 6, units: int = 100) -> None:
        for number in range(skus):
            await engine.execute(Configure(f"S{number}", 1, 5, True, units, "admin"))

    async def adjust(self, engine: Engine, key: str, units: int = 7) -> Any:
        return await engine.execute(
            Adjust(
                base=derived_base("adjust", "admin", key),
                lines=(("S0", "add", units),),
                transaction_type="IN",
                reason="delivery",
                reference_type="Delivery",
                reference_id=key,
                actor="admin",
                fingerprint="0123456789abcdef",
            )
        )

    async def hold(self, engine: Engine, sku: str, units: int, *, key: str = "", ttl_ms: int = 600_000) -> Reservation:
        return await engine.reserve(
            [(sku, units)], customer_id="ann", cart_id="c-1", caller="shop", idempotency_key=key, ttl_ms=ttl_ms
        )

    async def close(self) -> None:
        for engine in self.engines:
            await engine.close()

    # -- what must hold

    def picture(self) -> tuple[dict[str, str], dict[str, float], dict[str, Record]]:
        """Counters, deadlines and the records of live holds."""
        with self.client() as client:
            stock = {sku.decode(): value.decode() for sku, value in client.hgetall(KEYS.stock).items()}
            deadlines = {
                member.decode(): score for member, score in client.zrange(KEYS.deadlines, 0, -1, withscores=True)
            }
            records: dict[str, Record] = {}
            for member in deadlines:
                raw = client.get(KEYS.record(member[:24]))
                if raw is not None:
                    records[member] = decode_record(msgspec.msgpack.decode(raw))
        return stock, deadlines, records

    def check(self) -> None:
        """Invariants 1, 2, 3, 5 and 6, once everything is flushed."""
        stock, deadlines, _ = self.picture()
        held: Counter[str] = Counter()
        for member in deadlines:
            for line in member.partition(" ")[2].split(","):
                sku, units = line.split("=")
                held[sku] += int(units)
        sums = dict(self.sql("SELECT sku, sum(quantity)::bigint FROM inventory_transactions GROUP BY sku"))
        levels = {sku: (a, b) for sku, a, b in self.sql("SELECT sku, on_hand, reserved FROM inventory_levels")}
        for sku, value in stock.items():
            on_hand, reserved = map(int, value.split(" ")[:2])
            assert 0 <= reserved <= on_hand, sku
            assert held[sku] == reserved, sku
            assert sums.get(sku, 0) == on_hand, sku
            assert levels[sku] == (on_hand, reserved), sku
        assert set(levels) == set(stock)
        breaks = self.sql(
            "SELECT sku FROM (SELECT sku, previous_stock, lag(new_stock, 1, 0::bigint) OVER (PARTITION BY sku ORDER BY"
            " epoch, seq, line) AS before FROM inventory_transactions) t WHERE previous_stock <> before"
        )
        assert not breaks
        entries = self.sql("SELECT epoch, first_seq, last_seq FROM journal_archive ORDER BY epoch, last_seq")
        last = (0, 0)
        for epoch, first_seq, last_seq in entries:
            assert first_seq == (last[1] + 1 if epoch == last[0] else 1)
            last = (epoch, last_seq)


def stop_at(step: str) -> Callable[[str], None]:
    """A failpoint hook that raises at `step`."""

    def passed(name: str) -> None:
        if name == step:
            raise Stopped(step)

    return passed


class Stopped(Exception):
    """Raised by `stop_at`."""
