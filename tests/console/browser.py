"""One headless Chromium for a test session, in a thread of its own, and where it is found.

Owns its start, its options and its end; holds no test. Playwright keeps an event loop running in the thread that
started it, and in that of pytest the async tests of other folders could not run any more: so the tests that use a
browser are carried over into its thread (conftest.py).
"""

from __future__ import annotations

import os
import queue
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Final, TypeVar

from playwright.sync_api import Browser, expect, sync_playwright

T = TypeVar("T")

NAMES: Final = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
OPTIONS: Final = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
)
PATIENCE_MS: Final = 30_000
"""How long a click, a page or a condition may take; a machine may be slow."""
HOW_TO_GET_ONE: Final = (
    "no browser: install Chromium (Debian: apt-get install chromium), or set HOLDFAST_CHROMIUM to the path of one"
)


def chromium_path() -> str | None:
    """The browser to test with; None: there is none. Raises FileNotFoundError when the one asked for is not there."""
    wanted = os.environ.get("HOLDFAST_CHROMIUM")
    if wanted:
        found = shutil.which(wanted)
        if found is None:
            raise FileNotFoundError(f"HOLDFAST_CHROMIUM={wanted} is no program")
        return found
    return next(filter(None, map(shutil.which, NAMES)), None)


class BrowserThread:
    """A started browser. `run` does something in its thread, the only one that may touch it."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._work: queue.SimpleQueue[tuple[Callable[[], Any], Future[Any]] | None] = queue.SimpleQueue()
        self._started: Future[Browser] = Future()
        self._thread = threading.Thread(target=self._serve, name="browser", daemon=True)
        self._thread.start()
        self.browser = self._started.result(120)

    def run(self, work: Callable[[], T]) -> T:
        """What `work` gives, done in the browser's thread."""
        done: Future[T] = Future()
        self._work.put((work, done))
        return done.result()

    def close(self) -> None:
        """End the browser."""
        self._work.put(None)
        self._thread.join(60)
        assert not self._thread.is_alive(), "the browser did not end"

    def _serve(self) -> None:
        try:
            with sync_playwright() as playwright:
                # Each context has a fresh profile; the browser's own is a temporary folder that ends with it.
                browser = playwright.chromium.launch(
                    executable_path=self._path, args=list(OPTIONS), timeout=4 * PATIENCE_MS
                )
                expect.set_options(timeout=PATIENCE_MS)
                self._started.set_result(browser)
                while (wanted := self._work.get()) is not None:
                    work, done = wanted
                    try:
                        done.set_result(work())
                    except BaseException as error:  # noqa: BLE001 - handed on to the test
                        done.set_exception(error)
                browser.close()
        except BaseException as error:
            if not self._started.done():
                self._started.set_exception(error)
            raise
