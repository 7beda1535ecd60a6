"""Waiting for a condition in tests: polling with a deadline, never a sleep that hopes.

Owns the two loops; never decides what is waited for.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


def wait_until(condition: Callable[[], T], timeout_s: float = 30.0, what: str = "", every_s: float = 0.005) -> T:
    """Call `condition` until it gives something true, and return that. AssertionError after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout_s:g} s: {what or condition}; last value {value!r}")
        time.sleep(every_s)


async def eventually(
    condition: Callable[[], T | Awaitable[T]], timeout_s: float = 30.0, what: str = "", every_s: float = 0.005
) -> T:
    """`wait_until` for async tests: `condition` may be a plain or an async function."""
    deadline = time.monotonic() + timeout_s
    while True:
        value = condition()
        if inspect.isawaitable(value):
            value = await value
        if value:
            return value  # type: ignore[return-value]
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout_s:g} s: {what or condition}; last value {value!r}")
        await asyncio.sleep(every_s)
