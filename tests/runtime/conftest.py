"""A `holdfast up` per test, ended and cleaned away afterwards whatever the test did."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.runtime.up_process import Up


@pytest.fixture
def start_up(server_folder: Path) -> Iterator[Callable[..., Up]]:
    """`start_up(*arguments, **options of Up)`: `holdfast up` on this test's data directory, ready to serve."""
    started: list[Up] = []

    def start(*arguments: str, wait: bool = True, data_dir: Path | None = None, **options: Any) -> Up:
        service = Up(data_dir or server_folder / "data", *arguments, **options)
        started.append(service)
        return service.wait_until_ready() if wait else service

    yield start
    for service in started:
        service.stop()
