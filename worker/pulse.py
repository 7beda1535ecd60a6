"""What the worker process tells the board: its flusher, its sweeper, and what its engine has counted.

Owns the making of that one sheet; when and where it is told is inventory/pulse/writer.py's.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from inventory.pulse.sheets import Counts, FlusherSheet, ProcessPulse, SweeperSheet
from inventory.pulse.writer import PulseWriter

if TYPE_CHECKING:
    from inventory.context import Inventory
    from worker.flusher import FlusherStatus
    from worker.sweeper import SweeperStatus


def worker_pulse(
    inventory: Inventory, flusher: Callable[[], FlusherStatus], sweeper: Callable[[], SweeperStatus | None]
) -> PulseWriter:
    """The writer of this process; start it, and close it at the end."""

    def sheet() -> ProcessPulse:
        engine, swept = inventory.engine, sweeper()
        return ProcessPulse(
            process="worker",
            role="worker",
            host="",
            pid=os.getpid(),
            at_ms=0,
            started_at_ms=0,
            total=_counts(inventory),
            recent=Counts(),
            window_s=0.0,
            queue_depth=engine.queue_depth,
            in_flight=engine.in_flight,
            pool_in_use=inventory.database.connections_in_use,
            pool_size=inventory.database.connections_most,
            redis_connected=engine.connected,
            refusal=engine.refusal,
            flusher=_flusher_sheet(flusher()),
            sweeper=None if swept is None else _sweeper_sheet(swept),
        )

    return PulseWriter(inventory.engine, sheet)


def _counts(inventory: Inventory) -> Counts:
    tally = inventory.engine.batcher.tally
    return Counts(
        outcomes=tally.by_command(), batches=sum(tally.sizes), commands=tally.commands, batch_seconds=tally.seconds
    )


def _flusher_sheet(status: FlusherStatus) -> FlusherSheet:
    return FlusherSheet(status.state, status.reason, status.seq, status.lag_events, status.lag_ms, status.quarantined)


def _sweeper_sheet(status: SweeperStatus) -> SweeperSheet:
    return SweeperSheet(status.expired, status.lag_ms, status.stuck, status.paused, status.waiting)
