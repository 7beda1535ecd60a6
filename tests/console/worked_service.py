"""The service of these tests with a whole worker behind it, so that alerts open, holds end and webhooks hear of it.

Owns starting and stopping that worker; the API half is tests/http/running.py.
"""

from __future__ import annotations

import asyncio
import threading

from inventory.context import InventorySettings
from inventory.rules import WebhookRules
from runtime.jobs_redis import next_database
from tests.http.running import RunningService
from worker.service import Worker, WorkerSettings

RULES = InventorySettings(ledger_timeout_s=30.0, webhooks=WebhookRules(allow_private=True))
"""Webhooks may lead to this machine: where else would a test listen?"""


class WorkedService(RunningService):
    """A running service, its flusher inside a worker."""

    def __init__(self, redis_url: str, database_url: str, rules: InventorySettings = RULES) -> None:
        super().__init__(redis_url, database_url, inventory_settings=rules)
        self._worker_thread: threading.Thread | None = None
        self._worker_loop: asyncio.AbstractEventLoop
        self._stop_worker: asyncio.Event
        self._worker_started = threading.Event()
        self._worker_failure: BaseException | None = None

    def start_flusher(self) -> None:
        """Begin (again) to flush, sweep and follow."""
        self._worker_started.clear()
        self._worker_thread = threading.Thread(target=self._work, name="worker under test", daemon=True)
        self._worker_thread.start()
        assert self._worker_started.wait(30), "the worker did not start"

    def stop_flusher(self) -> None:
        """Flush what there is and stop."""
        if self._worker_thread is None:
            return
        self._worker_loop.call_soon_threadsafe(self._stop_worker.set)
        self._worker_thread.join(30)
        assert not self._worker_thread.is_alive(), "the worker did not stop"
        self._worker_thread = None
        if self._worker_failure is not None:
            raise self._worker_failure

    def _work(self) -> None:
        try:
            asyncio.run(self._run_worker())
        except BaseException as error:  # noqa: BLE001 - raised by stop_flusher
            self._worker_failure = error

    async def _run_worker(self) -> None:
        self._worker_loop = asyncio.get_running_loop()
        self._stop_worker = asyncio.Event()
        self._worker_started.set()
        settings = WorkerSettings(
            self.redis_url,
            self.database_url,
            inventory=self.inventory_settings,
            jobs_url=next_database(self.redis_url),
        )
        await Worker(settings).run(self._stop_worker)
