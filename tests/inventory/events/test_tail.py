"""inventory/events/tail.py: whatever its reading ends in, it reads on."""

from __future__ import annotations

from typing import Any

import pytest

from engine import Engine
from inventory.context import Inventory
from inventory.events.tail import JournalTail, TailSettings
from tests.inventory.events.conftest import product
from tests.waiting import eventually


async def test_it_outlives_a_surprise(inventory: Inventory, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    real, surprises = engine.read_journal, 0

    async def read_journal(*arguments: Any) -> list[tuple[str, bytes]]:
        nonlocal surprises
        surprises += 1
        if surprises == 1:
            raise RuntimeError("the handler is closed")
        return await real(*arguments)

    monkeypatch.setattr(engine, "read_journal", read_journal)
    tail = JournalTail(engine, inventory.database, inventory.watermark, TailSettings(block_ms=50, last_back_off_s=0.05))
    tail.start()
    await product(engine, "A")

    await eventually(lambda: tail.size > 0, what="it reads again")

    assert surprises >= 2
    await tail.stop()
