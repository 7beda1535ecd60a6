"""The worker process: flusher and keeper in their threads, a sweeper beside them, and their numbers on a page.

Owns starting and stopping them together; never does their work. If one of them dies of a bug the process ends with its
error, so that whoever supervises it starts it anew.
"""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import structlog
from msgspec import Struct, structs
from redis.asyncio import Redis

from engine.client import open_client
from engine.engine import Engine, EngineSettings
from engine.errors import Unavailable
from inventory.admission import watermark_of
from inventory.alerts.check import CHECK_JOB
from inventory.context import Inventory, InventorySettings
from inventory.job_queue import JobQueue
from persistence.database import Database
from worker.announcer import Announcer
from worker.consumers import consumers
from worker.failpoints import Hook, nothing
from worker.flusher import Flusher, FlusherSettings, FlusherStatus
from worker.follower import Follower
from worker.jobs.registry import JOBS
from worker.keeper import Keeper, KeeperSettings, KeeperStatus
from worker.metrics import MetricsServer, WorkerCollector, leave_metrics
from worker.order_stream import OrderStream, OrderStreamSettings, OrderStreamStatus
from worker.pulse import worker_pulse
from worker.sweeper import Sweeper, SweeperSettings, SweeperStatus


class WorkerSettings(Struct, frozen=True):
    """What a worker needs to know. The partition must have been opened (worker/recovery.py)."""

    redis_url: str
    database_url: str
    engine: EngineSettings = EngineSettings()
    flusher: FlusherSettings = FlusherSettings()
    sweeper: SweeperSettings = SweeperSettings()
    keeper: KeeperSettings | None = None
    """None: nobody looks after what Redis holds; for a partition without a row in `partition_state`."""
    inventory: InventorySettings = InventorySettings()
    orders: OrderStreamSettings = OrderStreamSettings()
    jobs_url: str | None = None
    """Redis database of the background jobs; None: what would be enqueued is left to its schedule."""
    flush_steps: Hook = nothing
    """Called with each step of a flush, for traces."""
    metrics_port: int | None = None
    """Port of the Prometheus page; 0: a free one; None: no page."""
    metrics_host: str = "127.0.0.1"
    metrics_file: Path | None = None
    """Where the same text is left each second for an API process that is asked for it; None: nowhere."""


class Worker:
    """One worker. `run` once."""

    def __init__(self, settings: WorkerSettings) -> None:
        self._settings = settings
        name = f"{socket.gethostname()}:{os.getpid()}"
        flusher = structs.replace(settings.flusher, worker=name)
        self._keeper = (
            Keeper(settings.redis_url, settings.database_url, settings.keeper) if settings.keeper is not None else None
        )
        self._flusher = Flusher(settings.redis_url, settings.database_url, flusher, settings.flush_steps)
        self._sweeper: Sweeper | None = None
        self._orders: OrderStream | None = None
        self._followers: list[Follower] = []
        self._log = structlog.get_logger("worker")
        self._metrics: MetricsServer | None = None

    @property
    def flusher_status(self) -> FlusherStatus:
        """What the flusher says of itself."""
        return self._flusher.status

    @property
    def keeper_status(self) -> KeeperStatus | None:
        """What the keeper says of itself; None when there is none."""
        return self._keeper.status if self._keeper is not None else None

    @property
    def sweeper_status(self) -> SweeperStatus | None:
        """What the sweeper says of itself; None before it could connect."""
        return self._sweeper.status if self._sweeper is not None else None

    @property
    def orders_status(self) -> OrderStreamStatus | None:
        """What the consumer of the orders stream says of itself; None while there is none."""
        return self._orders.status if self._orders is not None else None

    @property
    def metrics_port(self) -> int | None:
        """Where the Prometheus page is, if there is one."""
        return self._metrics.port if self._metrics is not None else None

    async def run(self, stop: asyncio.Event) -> None:
        """Flush and sweep until `stop`; then flush what is left, and return.

        Redis and Postgres may come and go meanwhile. Raises only what a bug or a port in use raises.
        """
        collector = WorkerCollector(
            lambda: self.flusher_status,
            lambda: self.sweeper_status,
            lambda: self.orders_status,
            lambda: self.keeper_status,
            lambda: {follower.name: follower.status for follower in self._followers},
        )
        telling = None
        if self._settings.metrics_file is not None:
            telling = asyncio.create_task(leave_metrics(collector, self._settings.metrics_file), name="metrics")
        if self._settings.metrics_port is not None:
            self._metrics = MetricsServer(collector, self._settings.metrics_host, self._settings.metrics_port)
        flushing = _Thread(self._flusher.run, "flusher")
        serving = asyncio.create_task(self._serve(stop), name="inventory")
        stopping = asyncio.create_task(stop.wait(), name="stop")
        work: list[asyncio.Future[Any]] = [flushing.ended, serving]
        if self._keeper is not None:
            work.append(_Thread(self._keeper.run, "keeper").ended)
        try:
            await asyncio.wait([*work, stopping], return_when=asyncio.FIRST_COMPLETED)
        finally:
            stop.set()
            self._flusher.stop()
            if self._keeper is not None:
                self._keeper.stop()
            await asyncio.wait(work)
            stopping.cancel()
            if telling is not None:
                telling.cancel()
            if self._metrics is not None:
                self._metrics.close()
        for ended in work:
            ended.result()
        self._log.info("worker stopped", seq=self._flusher.status.seq)

    async def _serve(self, stop: asyncio.Event) -> None:
        """What needs the engine: the sweeper, and beside it the long-running work of the inventory service."""
        engine = await self._connected_engine(stop)
        if engine is None:
            return
        async with AsyncExitStack() as closing:
            closing.push_async_callback(engine.close)
            redis = open_client(self._settings.redis_url)
            closing.push_async_callback(redis.aclose)
            database = Database(self._settings.database_url)
            closing.push_async_callback(database.close)
            watermark = watermark_of(engine, self._settings.database_url)
            closing.push_async_callback(watermark.close)
            inventory = Inventory(engine, database, watermark, self._settings.inventory)
            self._sweeper = Sweeper(engine, redis, self._settings.sweeper)
            pulse = worker_pulse(inventory, lambda: self.flusher_status, lambda: self.sweeper_status)
            await pulse.start()
            closing.push_async_callback(pulse.close)
            await _run_all(stop, [self._sweeper.run(stop), self._inventory_work(inventory, redis, stop)])

    async def _inventory_work(self, inventory: Inventory, redis: Redis, stop: asyncio.Event) -> None:
        """Never keeps the sweeper waiting: a Postgres that is away is this work's own trouble."""
        await inventory.watermark.start()
        jobs = JobQueue(self._settings.jobs_url, JOBS.kinds) if self._settings.jobs_url else None
        if jobs is not None:
            # The first start of a store, or one behind a rebuild: no event tells how its stock stands.
            await jobs.enqueue(CHECK_JOB)
        works: list[Coroutine[Any, Any, None]] = [Announcer(inventory.engine, inventory.database).run(stop)]
        for consumer in consumers(inventory, jobs):
            self._followers.append(Follower(inventory.database, inventory.watermark, consumer))
            works.append(self._followers[-1].run(stop))
        if self._settings.orders.stream:
            self._orders = OrderStream(inventory, self._settings.orders)
            works.append(self._orders.run(stop))
        try:
            await _run_all(stop, works)
        finally:
            if jobs is not None:
                jobs.close()

    async def _connected_engine(self, stop: asyncio.Event) -> Engine | None:
        told = False
        while not stop.is_set():
            try:
                return await Engine.connect(self._settings.redis_url, self._settings.engine)
            except (Unavailable, OSError) as error:
                if not told:
                    self._log.error("worker waits for Redis", reason=f"{type(error).__name__}: {error}")
                    told = True
                await asyncio.sleep(0.25)
        return None


async def _run_all(stop: asyncio.Event, works: list[Coroutine[Any, Any, None]]) -> None:
    """Until all have ended. The first that ends in an error asks the others to stop; then the error is raised."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    finally:
        stop.set()
        await asyncio.wait(tasks)
    for task in tasks:
        task.result()


class _Thread:
    """A thread whose end, good or bad, is a future of the event loop."""

    def __init__(self, work: Callable[[], None], name: str) -> None:
        self._loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[None] = self._loop.create_future()
        self._work = work
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def _run(self) -> None:
        error: BaseException | None = None
        try:
            self._work()
        except BaseException as caught:  # noqa: BLE001 - handed on to whoever awaits `ended`
            error = caught
        self._loop.call_soon_threadsafe(self._end, error)

    def _end(self, error: BaseException | None) -> None:
        if error is None:
            self.ended.set_result(None)
        else:
            self.ended.set_exception(error)
