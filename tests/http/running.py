"""The service as these tests run it: both adapters over one engine, one database and one flusher, in a thread.

Owns starting and stopping; holds no test. The thread has its own event loop, so tests are plain synchronous ones.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import redis
import uvicorn
import uvloop
from uvicorn.server import ServerState

from api.app import Application, create_app
from api.auth import GRANTS, KeyStore, digest_of
from api.services import ApiSettings, Services
from engine import Engine, EngineSettings
from engine.bootstrap import open_partition
from inventory.context import Inventory, InventorySettings
from inventory.job_queue import JobQueue
from persistence.database import Database
from persistence.queries.api_keys import ApiKeys
from persistence.watermark import Watermark
from runtime.jobs_redis import next_database
from worker.flusher import Flusher
from worker.jobs.registry import JOBS

ADAPTERS = ("protocol", "asgi")
KEYS = {role: f"{role}-key-for-tests-0123456789" for role in GRANTS} | {
    "other-storefront": "other-storefront-key-for-tests-0123"
}


class RunningService:
    """A running service. `address(adapter)` says where."""

    def __init__(
        self,
        redis_url: str,
        database_url: str,
        settings: ApiSettings | None = None,
        engine_settings: EngineSettings | None = None,
        inventory_settings: InventorySettings | None = None,
    ) -> None:
        self.redis_url = redis_url
        self.database_url = database_url
        self.settings = settings or ApiSettings(ledger_timeout_s=20.0)
        self.inventory_settings = inventory_settings or InventorySettings(
            ledger_timeout_s=self.settings.ledger_timeout_s,
            late_confirm=self.settings.late_confirm,
        )
        self._engine_settings = engine_settings or EngineSettings()
        self.ports: dict[str, int] = {}
        self.app: Application
        self.services: Services
        self.flusher: Flusher | None = None
        self._flusher_thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop
        self._servers: list[uvicorn.Server] = []
        self._started = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="service under test", daemon=True)

    def start(self) -> RunningService:
        """Start and wait until it serves."""
        with redis.Redis.from_url(self.redis_url) as client:
            open_partition(client, 1, 0)
        self.start_flusher()
        self._thread.start()
        assert self._started.wait(60), "the service did not start"
        if self._failure is not None:
            raise self._failure
        return self

    def stop(self) -> None:
        """Stop everything, flusher last."""
        self.ask_to_stop()
        self._thread.join(60)
        assert not self._thread.is_alive(), "the service did not stop"
        self.stop_flusher()

    def ask_to_stop(self) -> None:
        """What SIGTERM does: take no more connections, answer what is under way."""
        if not self._loop.is_closed():  # by a stop before this one
            self._loop.call_soon_threadsafe(self.app.end_streams)
        for server in self._servers:
            server.should_exit = True

    def unsent(self, adapter: str) -> list[int]:
        """Of each connection open over `adapter`: bytes of answers that the kernel has not taken yet."""
        connections = self._state(adapter).connections
        return [connection.transport.get_write_buffer_size() for connection in list(connections)]

    def answered(self, adapter: str) -> int:
        """Requests that were answered over `adapter`."""
        return self._state(adapter).total_requests

    def _state(self, adapter: str) -> ServerState:
        return self._servers[ADAPTERS.index(adapter)].server_state

    def start_flusher(self) -> None:
        """Begin (again) to flush."""
        self.flusher = Flusher(self.redis_url, self.database_url)
        self._flusher_thread = threading.Thread(target=self.flusher.run, name="flusher under test", daemon=True)
        self._flusher_thread.start()

    def stop_flusher(self) -> None:
        """Flush what there is and stop."""
        if self.flusher is None or self._flusher_thread is None:
            return
        self.flusher.stop()
        self._flusher_thread.join(60)
        assert not self._flusher_thread.is_alive(), "the flusher did not stop"
        self.flusher = None

    def address(self, adapter: str) -> str:
        """Base URL of one adapter."""
        return f"http://127.0.0.1:{self.ports[adapter]}"

    def run(self, work: Callable[[], Awaitable[Any]]) -> Any:
        """Await something on the service's loop."""

        async def awaited() -> Any:
            return await work()

        return asyncio.run_coroutine_threadsafe(awaited(), self._loop).result(60)

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(self._serve())
        except BaseException as error:
            self._failure = error
            self._started.set()
            raise

    def prepared(self, services: Services) -> Services:
        """For a test that wires in more."""
        return services

    async def _serve(self) -> None:
        # pytest gives every logger a handler, and uvicorn takes that for the wish to have its access log.
        logging.getLogger("uvicorn.access").setLevel(logging.CRITICAL)
        self._loop = asyncio.get_running_loop()
        database = Database(self.database_url)
        table = ApiKeys(database)
        for name, key in KEYS.items():
            role = name.removeprefix("other-")
            if await table.by_hash(digest_of(key)) is None:
                await table.create(name, name=name, role=role, key_hash=digest_of(key), created_by="tests")  # type: ignore[arg-type]
        engine = await Engine.connect(self.redis_url, self._engine_settings)
        watermark = Watermark(self.database_url)
        await watermark.start()
        keys = KeyStore(table)
        await keys.start()
        inventory = Inventory(engine, database, watermark, self.inventory_settings)
        jobs = JobQueue(next_database(self.redis_url), JOBS.kinds)
        self.services = self.prepared(Services(inventory, keys, self.settings, jobs))
        self.app = create_app(self.services)
        tasks = []
        for adapter in ADAPTERS:
            config = uvicorn.Config(
                self.app,
                host="127.0.0.1",
                port=0,
                http=self.app.protocol_class if adapter == "protocol" else self.app.plain_protocol_class,
                ws="none",
                lifespan="on" if adapter == "protocol" else "off",
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=3,
            )
            server = uvicorn.Server(config)
            self._servers.append(server)
            tasks.append(asyncio.get_running_loop().create_task(server.serve()))
            while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
                await asyncio.sleep(0.005)
            self.ports[adapter] = server.servers[0].sockets[0].getsockname()[1]
        self._started.set()
        await asyncio.gather(*tasks)
        jobs.close()
        await keys.close()
        await watermark.close()
        await engine.close()
        await database.close()
