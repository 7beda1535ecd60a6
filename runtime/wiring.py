"""What an API process and a worker process are made of: one function each, the only place where parts meet.

Owns building, connecting and closing in the right order; never holds a rule of the shop.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import threading
from collections.abc import Callable
from contextlib import AsyncExitStack
from datetime import time
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Final

import uvicorn
import uvloop
from msgspec import structs

from api.app import Application, create_app
from api.auth import KeyStore
from api.rate_limits import parse_limits
from api.services import ApiSettings, Services, StreamSettings
from engine import EngineSettings
from inventory.admission import watermark_of
from inventory.back_pressure import BackPressure, BackPressureSettings
from inventory.context import Inventory, InventorySettings
from inventory.job_queue import JobQueue
from inventory.mail import mail_settings
from inventory.rules import AlertRules, DigestSettings, RetentionRules, WebhookRules
from persistence.database import Database
from persistence.queries.api_keys import ApiKeys
from runtime.jobs_redis import jobs_url_of
from runtime.opening import Opening, begin, connected_engine, first_of, open_or_be_stopped, signals_asking
from runtime.settings import Settings
from runtime.store import OpenedStore, given_keys, recovery_settings, urls_of
from runtime.tracing.start import start_tracing
from worker.failpoints import nothing
from worker.flusher import FlusherSettings
from worker.jobs.context import JobSettings
from worker.jobs.process import JobProcess
from worker.jobs.registry import JOBS
from worker.keeper import KeeperSettings
from worker.order_stream import OrderStreamSettings
from worker.service import Worker, WorkerSettings
from worker.sweeper import SweeperSettings

if TYPE_CHECKING:
    from runtime.tracing.tracing import Tracing

Ready = Callable[[], None]
"""Called once the process serves."""

DAY_S: Final = 86_400
HARD_STOP_S: Final = 5.0
"""How long after its grace a process that still hangs ends itself: its parent may be gone, nobody else would."""

GC_YOUNG: Final = 20_000
"""Net allocations between two collections of the youngest generation in an API process (Python's own: 700)."""


def run_api(settings: Settings, listening: socket.socket, ready: Ready, counters: Path | None = None) -> None:
    """Serve the API on `listening` until SIGTERM or SIGINT; then answer what is under way, and return.

    While Redis or Postgres is away it answers 503 and waits. Raises what open_store raises for what waiting won't mend.
    """
    tracing = start_tracing(settings, "api" if counters is None else counters.name)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(settings, listening, ready, counters, tracing))


def run_worker(settings: Settings, ready: Ready, counters: Path | None = None) -> None:
    """Flush and sweep until SIGTERM or SIGINT; then flush what is left, and return. Raises as `run_api`.

    Ready once its store is open, however long that takes.
    """
    store = open_or_be_stopped(settings, None)
    if store is not None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_work(settings, store, ready, counters, start_tracing(settings, "worker")))


def run_jobs(settings: Settings, ready: Ready) -> None:
    """Run background jobs and their schedules until SIGTERM or SIGINT. Raises, and is ready, as `run_worker`."""
    store = open_or_be_stopped(settings, None)
    if store is not None:
        tracing = start_tracing(settings, "jobs", forks=True)
        JobProcess(job_settings(settings, store, tracing), JOBS).run(ready)


def engine_settings(settings: Settings, epoch: int, run_id: str, *, serves: bool = False) -> EngineSettings:
    """The engine's part of the settings. `serves`: answers requests, which may ask for replicas."""
    return EngineSettings(
        epoch=epoch,
        run_id=run_id,
        retention_ms=settings.retention_seconds * 1000,
        idempotency_window_ms=settings.idempotency_window_seconds * 1000,
        links=settings.engine_links,
        max_queue=settings.max_queue,
        replicas=settings.replicas if serves else 0,
        replica_timeout_ms=settings.replica_timeout_ms,
    )


def back_pressure_settings(settings: Settings) -> BackPressureSettings:
    """When the journal is full."""
    return BackPressureSettings(max_events=settings.journal_max_events, max_bytes=settings.journal_max_mb * 1024 * 1024)


def inventory_settings(settings: Settings) -> InventorySettings:
    """The inventory service's part of the settings."""
    return InventorySettings(
        ledger_timeout_s=settings.ledger_timeout_seconds,
        late_confirm=settings.late_confirm == "if-available",
        import_max_rows=settings.import_max_rows,
        import_inline_rows=settings.import_inline_rows,
        preview_ttl_s=settings.preview_hours * 3600,
        approval_units=settings.approval_units,
        approval_expiry_s=settings.approval_expiry_hours * 3600,
        alerts=AlertRules(
            hysteresis_percent=settings.alert_hysteresis_percent,
            quiet_ms=settings.alert_quiet_seconds * 1000,
            pace_window_s=settings.alert_rate_window_minutes * 60,
        ),
        mail=None
        if settings.smtp_url is None
        else mail_settings(settings.smtp_url.get_secret_value(), settings.alert_mail_from, settings.alert_mail_to),
        webhooks=WebhookRules(
            allow_private=settings.webhook_allow_private,
            disable_after_s=settings.webhook_disable_after_hours * 3600,
            log_s=settings.webhook_log_days * 86_400,
            max_pending=settings.webhook_max_pending,
        ),
        digest=DigestSettings(at=time.fromisoformat(settings.digest_at), time_zone=settings.timezone),
        retention=RetentionRules(
            reservations_s=settings.reservation_retention_days * DAY_S,
            events_s=settings.event_retention_days * DAY_S,
            unfollowed_events_s=max(30, 2 * settings.event_retention_days) * DAY_S,
        ),
    )


def api_settings(settings: Settings, counters: Path | None) -> ApiSettings:
    """The API's part of the settings. `counters` as for `run_api`."""
    return ApiSettings(
        durability=settings.durability,
        replicas=settings.replicas,
        late_confirm=settings.late_confirm == "if-available",
        ledger_timeout_s=settings.ledger_timeout_seconds,
        max_body_bytes=settings.max_body_bytes,
        max_batch_body_bytes=8 * settings.max_body_bytes,
        max_upload_bytes=settings.max_upload_mb * 1024 * 1024,
        import_wait_s=settings.import_wait_seconds,
        access_log=settings.access_log,
        console=settings.console == "on",
        streams=StreamSettings(most=settings.event_streams),
        max_connections=settings.max_connections,
        rate_limits=parse_limits(settings.rate_limit, settings.workers),
        metrics_dir=None if counters is None else counters.parent,
        process="" if counters is None else counters.name,
    )


def job_settings(settings: Settings, store: OpenedStore, tracing: Tracing | None = None) -> JobSettings:
    """The job process's part of the settings."""
    return JobSettings(
        redis_url=store.redis_url,
        jobs_url=jobs_url_of(settings, store.redis_url),
        database_url=store.database_url,
        engine=engine_settings(settings, store.epoch, store.run_id),
        inventory=inventory_settings(settings),
        spans=None if tracing is None else tracing.jobs,
        workers=settings.job_workers,
        grace_s=settings.shutdown_grace_seconds,
    )


async def _serve(
    settings: Settings, listening: socket.socket, ready: Ready, counters: Path | None, tracing: Tracing | None
) -> None:
    async with AsyncExitStack() as closing:
        if tracing is not None:
            closing.push_async_callback(asyncio.to_thread, tracing.close)
        with signals_asking() as asked:
            begun = await _built(settings, counters, tracing, asked, closing)
        quiet_signals()
        if begun is None:
            return
        app, beginning = begun
        server = _Server(settings, app, ready)
        beginning.add_done_callback(server.end_if_failed)
        await server.serve(sockets=[listening])
        if beginning.done():
            beginning.result()


async def _built(
    settings: Settings, counters: Path | None, tracing: Tracing | None, asked: asyncio.Event, closing: AsyncExitStack
) -> tuple[Application, asyncio.Task[None]] | None:
    """The application, and the task that opens its store; None when the end was asked for before it could serve."""
    redis_url, database_url = urls_of(settings)
    opening = Opening(settings, given_keys(settings))
    closing.callback(opening.stop)
    await first_of(asked.wait(), opening.opened_or_delayed())
    serving = engine_settings(settings, 0, "", serves=True)
    if tracing is not None:
        serving = structs.replace(serving, observer=tracing.batches)
    engine = await connected_engine(redis_url, serving, opening)
    closing.push_async_callback(engine.close)
    database = Database(database_url)
    closing.push_async_callback(database.close)
    if tracing is not None:
        database.watch_statements(tracing.statements)
    watermark = watermark_of(engine, database_url)
    closing.push_async_callback(watermark.close)
    pressure = BackPressure(engine, watermark, back_pressure_settings(settings))
    pressure.start()
    closing.push_async_callback(pressure.close)
    keys = KeyStore(ApiKeys(database))
    closing.push_async_callback(keys.close)
    beginning = asyncio.get_running_loop().create_task(begin(opening, engine, watermark, keys), name="the store opens")
    closing.callback(beginning.cancel)
    await first_of(asked.wait(), asyncio.wait([beginning]), opening.delayed())
    if asked.is_set():
        return None
    if beginning.done():
        beginning.result()
    # What exists now lives as long as the process; what requests make dies young. Looking for cycles in either is
    # time taken from requests.
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_YOUNG, 20, 100)
    inventory = Inventory(engine, database, watermark, inventory_settings(settings))
    jobs = JobQueue(jobs_url_of(settings, redis_url), JOBS.kinds)
    closing.callback(jobs.close)
    spans = None if tracing is None else tracing.requests
    services = Services(inventory, keys, api_settings(settings, counters), jobs, spans)
    return create_app(services), beginning


class _Server(uvicorn.Server):
    """uvicorn, telling its parent when it serves, and never hanging for ever at the end."""

    def __init__(self, settings: Settings, app: Application, ready: Ready) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=app.protocol_class if settings.http_adapter == "protocol" else app.plain_protocol_class,
                ws="none",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                timeout_keep_alive=75,
                timeout_graceful_shutdown=max(1, round(settings.shutdown_grace_seconds)),
            )
        )
        self._app = app
        app.connections = lambda: len(self.server_state.connections)
        self._ready = ready
        self._grace_s = settings.shutdown_grace_seconds

    def end_if_failed(self, beginning: asyncio.Task[None]) -> None:
        """End when the store cannot be opened, and waiting would not help."""
        if not beginning.cancelled() and beginning.exception() is not None:
            self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to serve, and say so."""
        # uvicorn raises the signal that ended it once more when it is through: with the default handlers that would
        # end the process before the engine and the pools are closed.
        await super().startup(sockets)
        self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer what is under way; after the grace, what is left is cut off."""
        end_hard_after(self._grace_s + HARD_STOP_S)
        self._app.end_streams()
        await super().shutdown(sockets)


async def _work(
    settings: Settings, store: OpenedStore, ready: Ready, counters: Path | None, tracing: Tracing | None
) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def ask() -> None:
        end_hard_after(settings.shutdown_grace_seconds + HARD_STOP_S)
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ask)
    worker = Worker(worker_settings(settings, store, counters, tracing))
    loop.call_soon(ready)
    try:
        await worker.run(stop)
    finally:
        if tracing is not None:
            await asyncio.to_thread(tracing.close)


def worker_settings(
    settings: Settings, store: OpenedStore, counters: Path | None = None, tracing: Tracing | None = None
) -> WorkerSettings:
    """The worker's part of the settings. `counters` as for `run_api`."""
    return WorkerSettings(
        redis_url=store.redis_url,
        database_url=store.database_url,
        engine=engine_settings(settings, store.epoch, store.run_id),
        flusher=FlusherSettings(
            tick_ms=settings.flush_tick_ms,
            flush_events=settings.flush_max_events,
            keep_ms=settings.journal_keep_seconds * 1000,
            keep_bytes=settings.journal_keep_mb * 1024 * 1024,
            drain_ms=round(settings.shutdown_grace_seconds * 1000),
        ),
        sweeper=SweeperSettings(interval_ms=settings.sweep_interval_ms),
        keeper=KeeperSettings(recovery=recovery_settings(settings)),
        inventory=inventory_settings(settings),
        orders=OrderStreamSettings(
            stream=settings.orders_stream,
            redis_url=settings.orders_redis_url.get_secret_value() if settings.orders_redis_url else store.redis_url,
        ),
        jobs_url=jobs_url_of(settings, store.redis_url),
        flush_steps=nothing if tracing is None else tracing.flushes,
        metrics_port=settings.metrics_port or None,
        metrics_host=settings.metrics_host,
        metrics_file=None if counters is None else counters.with_suffix(".prom"),
    )


def quiet_signals() -> None:
    """Let the signals that ask for an end do nothing by themselves, so that they can't cut closing short."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _ignore)


def end_hard_after(seconds: float) -> None:
    """End this process after `seconds` whatever it is doing then."""
    timer = threading.Timer(seconds, os._exit, [1])
    timer.daemon = True
    timer.start()


def _ignore(_number: int, _frame: FrameType | None) -> None:
    """Not SIG_IGN, which child processes would inherit."""
