"""The console as people meet it: one service with a worker, one browser, and visitors of every role.

- `service`  a running service for the session; each test uses SKUs of its own
- `stock`    short ways to put something into it (tests/console/stocked.py)
- `visit`    `visit("admin", dark=True)`: a page of a browser of its own that is signed in; `visit(None)` is nobody.
             Whatever a browser logs as an error in a test (a script, a refused resource, the content security policy)
             fails it.

A test that asks for `visit` runs in the browser's own thread: see browser.py.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page

from runtime.embedded_postgres import EmbeddedPostgres
from runtime.embedded_redis import EmbeddedRedis
from tests.console.browser import HOW_TO_GET_ONE, BrowserThread, chromium_path
from tests.console.stocked import Stocked
from tests.console.visitors import Visitors
from tests.console.worked_service import WorkedService
from tests.http.running import KEYS


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> object | None:
    """Carry tests that use the browser over into its thread."""
    browser: BrowserThread | None = pyfuncitem.funcargs.get("browser")
    if browser is None:
        return None
    arguments: dict[str, Any] = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
    browser.run(lambda: pyfuncitem.obj(**arguments))
    return True


@pytest.fixture(scope="session")
def service(
    session_folder: Path, postgres_server: EmbeddedPostgres, _template_database: str
) -> Iterator[WorkedService]:
    redis = EmbeddedRedis(session_folder / "console-redis")
    redis.start()
    name = "console_tests"
    postgres_server.create_database(name, template=_template_database)
    running = WorkedService(redis.url, postgres_server.database_url(name))
    running.start()
    yield running
    running.stop()
    redis.stop()
    postgres_server.drop_database(name)


@pytest.fixture(scope="session")
def browser() -> Iterator[BrowserThread]:
    path = chromium_path()
    if path is None:
        if os.environ.get("CI"):
            pytest.fail(HOW_TO_GET_ONE)
        pytest.skip(HOW_TO_GET_ONE)
    started = BrowserThread(path)
    yield started
    started.close()


@pytest.fixture
def visit(service: WorkedService, browser: BrowserThread) -> Iterator[Callable[..., Page]]:
    visitors = Visitors(browser.browser, service.address("protocol"))
    yield visitors.visit
    errors = browser.run(visitors.leave)
    assert not errors, "the browser complained:\n" + "\n".join(errors)


@pytest.fixture(scope="session")
def stock(service: WorkedService) -> Iterator[Stocked]:
    stocked = Stocked(service.address("protocol"), KEYS)
    yield stocked
    stocked.close()
