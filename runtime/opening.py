"""Opening the store for a process that must not end because a server is away: tried until it opens.

Owns the patience, and who is told meanwhile; what opening means stands in store.py. What waiting does not mend (a wrong
password, a configuration that breaks a promise, other tables) ends the process at once, with its reason.
"""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final

import structlog

from api.auth import KeyStore
from engine import Engine, EngineSettings
from engine.errors import Unavailable
from persistence.database import DatabaseUnavailable
from persistence.watermark import Watermark
from runtime.data_folder import BootstrapKeys
from runtime.settings import Settings
from runtime.store import OpenedStore, StoreAway, open_store
from worker.recovery import RecoveryRefused

AWAY_AFTER_S: Final = 2.0
"""How long a server may keep silent before that is told: it may be starting as well."""
AGAIN_S: Final = 0.5
"""Between two attempts."""
REFUSED_AGAIN_S: Final = 2.0
"""The same where a person has to decide."""
TELL_EVERY_S: Final = 30.0
"""The same reason is logged again this often."""

Told = Callable[[str], None]
"""Called with why nothing is served yet, in words that anybody may read."""

_log = structlog.stdlib.get_logger("holdfast.runtime")


def open_patiently(
    settings: Settings, keys: BootstrapKeys | None, stop: threading.Event, told: Told
) -> OpenedStore | None:
    """The store, once both servers answer and Redis is admitted; None when `stop` was set before.

    A refused recovery is waited for as well: somebody may run `holdfast rebuild`. Raises what open_store raises but for
    StoreAway and RecoveryRefused.
    """
    last, tell_at = "", 0.0
    while not stop.is_set():
        try:
            return open_store(settings, keys, migrate=False, reach_within_s=AWAY_AFTER_S)
        except (StoreAway, RecoveryRefused) as error:
            told(f"{error.server} gives no answer yet" if isinstance(error, StoreAway) else str(error))
            if str(error) != last or time.monotonic() >= tell_at:
                last, tell_at = str(error), time.monotonic() + TELL_EVERY_S
                _log.error("waits for its store", reason=last)
            stop.wait(REFUSED_AGAIN_S if isinstance(error, RecoveryRefused) else AGAIN_S)
    return None


def open_or_be_stopped(settings: Settings, keys: BootstrapKeys | None) -> OpenedStore | None:
    """`open_patiently` for a process that has nothing else to do; None when SIGTERM or SIGINT came before.

    Call it from the main thread.
    """
    stop = threading.Event()

    def ask(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        return open_patiently(settings, keys, stop, lambda _: None)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


async def begin(opening: Opening, engine: Engine, watermark: Watermark, keys: KeyStore) -> None:
    """Serve from the store as soon as it is open. Raises what `open_patiently` raises."""
    store = await opening.store
    if store is None:
        return None
    for finding in store.warnings:
        _log.warning("configuration", finding=str(finding))
    engine.admission.admit(store.epoch, store.run_id)
    await watermark.start()
    while not engine.connected:  # noqa: ASYNC110 - only here, at the start, and for a moment
        await asyncio.sleep(0.02)
    while True:
        try:
            return await keys.start()
        except DatabaseUnavailable as error:
            _log.error("waits for its store", reason=f"the API keys cannot be read: {error}")
            await asyncio.sleep(AGAIN_S)


async def connected_engine(url: str, settings: EngineSettings, opening: Opening) -> Engine:
    """An engine that serves nothing until it is told what is admitted; without a connection while Redis is away."""
    try:
        engine = await Engine.connect(url, settings)
    except Unavailable:
        # What stands in the way is told by `opening`.
        engine = await Engine.connect(url, settings, patient=True)
    opening.watch(engine.admission.refuse)
    return engine


@contextmanager
def signals_asking() -> Iterator[asyncio.Event]:
    """Inside, SIGINT and SIGTERM set the event instead of doing anything."""
    loop, asked = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, asked.set)
    try:
        yield asked
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


async def first_of(*waits: Coroutine[Any, Any, object]) -> None:
    """Return when the first of these ends; the others are cancelled."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()


class Opening:
    """`open_patiently` in a thread, for a process that answers requests meanwhile. Bound to one event loop."""

    def __init__(self, settings: Settings, keys: BootstrapKeys | None) -> None:
        self.store: asyncio.Future[OpenedStore | None] = asyncio.get_running_loop().create_future()
        """The outcome; None behind `stop`."""
        self.reason = "the store is being opened"
        """Why nothing is served yet."""
        self._delayed = asyncio.Event()
        self._stop = threading.Event()
        self._loop = asyncio.get_running_loop()
        self._on_reason: Told | None = None
        threading.Thread(target=self._run, args=(settings, keys), name="opening the store", daemon=True).start()

    def watch(self, on_reason: Told) -> None:
        """`on_reason` is called with the reason of now, and with each later one."""
        self._on_reason = on_reason
        on_reason(self.reason)

    async def opened_or_delayed(self) -> None:
        """Return when the outcome is there, or when it is known that it will take longer."""
        await first_of(asyncio.wait([self.store]), self._delayed.wait())

    async def delayed(self) -> None:
        """Return when it is known that opening takes longer than a start should."""
        await self._delayed.wait()

    def stop(self) -> None:
        """Give up."""
        self._stop.set()

    def _run(self, settings: Settings, keys: BootstrapKeys | None) -> None:
        try:
            store = open_patiently(settings, keys, self._stop, self._tell)
        except BaseException as error:  # noqa: BLE001 - handed on to whoever awaits `store`
            self._hand_over(self._end, None, error)
        else:
            self._hand_over(self._end, store, None)

    def _tell(self, reason: str) -> None:
        self._hand_over(self._told, reason)

    def _told(self, reason: str) -> None:
        self.reason = reason
        self._delayed.set()
        if self._on_reason is not None and not self.store.done():
            self._on_reason(reason)

    def _end(self, store: OpenedStore | None, error: BaseException | None) -> None:
        if self.store.done():
            return
        if error is None:
            self.store.set_result(store)
        else:
            self.store.set_exception(error)

    def _hand_over(self, what: Callable[..., None], *arguments: object) -> None:
        try:
            self._loop.call_soon_threadsafe(what, *arguments)
        except RuntimeError:
            # The process has ended its loop meanwhile.
            _log.debug("nobody waits for the store any more")
