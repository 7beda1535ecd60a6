"""Services for the end-to-end tests: real servers, the real API and flusher, with a script that may be broken.

`serve(script=None)` starts one for a test and gives its address and keys.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from engine import EngineSettings
from engine.scripts import Script
from runtime.throwaway_service import ServiceAddress
from tests.http.running import KEYS, RunningService


@pytest.fixture
def serve(redis_url: str, database_url: str) -> Iterator[Callable[..., ServiceAddress]]:
    started: list[RunningService] = []

    def start(script: Script | None = None) -> ServiceAddress:
        running = RunningService(redis_url, database_url, engine_settings=EngineSettings(script=script)).start()
        started.append(running)
        return ServiceAddress(running.address("protocol"), KEYS["admin"], KEYS["storefront"])

    yield start
    for running in started:
        running.stop()
