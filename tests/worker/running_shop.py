"""A shop with workers behind it, keeper and all, and an engine that learns from Postgres what it may serve.

Owns their starts and ends; what breaks and what must come of it stands in the tests.
"""

from __future__ import annotations

import asyncio
from typing import Any

from engine import Engine, EngineSettings
from engine.errors import Unavailable
from inventory.admission import watermark_of
from persistence.watermark import Watermark
from tests.waiting import eventually
from tests.worker.recovering_shop import RecoveringShop
from worker.flusher import FlusherSettings
from worker.keeper import KeeperSettings
from worker.recovery import RecoverySettings
from worker.service import Worker, WorkerSettings
from worker.sweeper import SweeperSettings


class RunningShop(RecoveringShop):
    """Use `start`, then `start_worker` as often as wanted; `close` at the end."""

    engine: Engine
    watermark: Watermark

    async def start(self) -> None:
        admitted = self.recover()
        self.engine = await self.open_engine(admitted)
        self.watermark = watermark_of(self.engine, self.database_url)
        await self.watermark.start()
        self.workers: list[tuple[Worker, asyncio.Event, asyncio.Task[None]]] = []

    def start_worker(self, **more: Any) -> Worker:
        settings = WorkerSettings(
            self.server.url,
            self.database_url,
            engine=EngineSettings(epoch=self.engine.epoch, run_id=self.engine.admission.run_id),
            flusher=FlusherSettings(tick_ms=1, block_ms=20, report_every_ms=100, halted_retry_ms=100),
            sweeper=SweeperSettings(interval_ms=50),
            keeper=KeeperSettings(recovery=RecoverySettings(lock_wait_s=20), interval_ms=30, last_back_off_ms=200),
            **more,
        )
        worker, stop = Worker(settings), asyncio.Event()
        self.workers.append((worker, stop, asyncio.create_task(worker.run(stop))))
        return worker

    async def close(self) -> None:
        for _, stop, running in self.workers:
            stop.set()
            await running
        await self.watermark.close()
        await super().close()

    async def settled(self) -> None:
        """Everything in the ledger."""

        async def flushed() -> bool:
            state = await self.engine.journal_state()
            return self.cursor() == (state.epoch, state.seq)

        await eventually(flushed, timeout_s=30, what="the ledger to be level")

    async def serves(self) -> bool:
        try:
            await self.engine.availability(["S0"])
        except Unavailable:
            return False
        return True
