"""inventory/bounded_look.py: nobody waits for long, and a failure that comes too late for everybody is no noise."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest

from inventory import bounded_look
from inventory.bounded_look import BoundedLook, NoAnswer
from tests.waiting import eventually


@pytest.mark.parametrize("given_up", [False, True])
async def test_a_failure_that_nobody_waited_for_is_not_cried_out(
    monkeypatch: pytest.MonkeyPatch, given_up: bool
) -> None:
    monkeypatch.setattr(bounded_look, "PATIENCE_S", 0.02)
    monkeypatch.setattr(bounded_look, "ABANDON_S", 0.0 if given_up else 60.0)
    cried: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: cried.append(context))
    hang, ended = asyncio.Event(), asyncio.Event()

    async def ask() -> int:
        try:
            await hang.wait()
        except asyncio.CancelledError:
            pass
        finally:
            ended.set()
        raise OSError("gone")

    look = BoundedLook(ask)
    for _ in range(2):
        with pytest.raises(NoAnswer):
            await look.answer()
    hang.set()
    await eventually(ended.is_set, what="the question to end")
    await asyncio.sleep(0)
    del look
    gc.collect()
    await asyncio.sleep(0)
    assert not cried
