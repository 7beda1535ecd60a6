"""What an API process tells the board: its counters, its queue, its connections.

Owns the making of that one sheet; when and where it is told is inventory/pulse/writer.py's.
"""

from __future__ import annotations

import resource
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from inventory.pulse.sheets import Counts, ProcessPulse
from inventory.pulse.writer import PulseWriter

if TYPE_CHECKING:
    from collections.abc import Callable

    from api.metrics import Metrics
    from api.services import Services

_PAGE: Final = resource.getpagesize()


def api_pulse(
    services: Services, metrics: Metrics, connections: Callable[[], int], streams: Callable[[], int]
) -> PulseWriter:
    """The writer of this process; start it, and close it at the end."""

    started_s = time.time()

    def state() -> dict[str, float]:
        engine = services.engine
        return {
            "engine_queue_depth": engine.queue_depth,
            "engine_batches_in_flight": engine.in_flight,
            "engine_connected": engine.connected,
            "engine_refusing": bool(engine.refusal),
            "journal_full": engine.admission.journal_full,
            "http_connections": connections(),
            "event_streams": streams(),
            "postgres_pool_in_use": services.database.connections_in_use,
            "postgres_pool_limit": services.database.connections_most,
            "process_resident_memory_bytes": resident_bytes(),
            "process_start_time_seconds": started_s,
        }

    metrics.watch(services.engine.batcher.tally, state)

    def sheet() -> ProcessPulse:
        engine = services.engine
        return ProcessPulse(
            process=metrics.process,
            role="api",
            host="",
            pid=0,
            at_ms=0,
            started_at_ms=0,
            total=metrics.counts(),
            recent=Counts(),
            window_s=0.0,
            queue_depth=engine.queue_depth,
            in_flight=engine.in_flight,
            connections=connections(),
            streams=streams(),
            pool_in_use=services.database.connections_in_use,
            pool_size=services.database.connections_most,
            memory_bytes=resident_bytes(),
            redis_connected=engine.connected,
            refusal=engine.refusal,
            journal_full=engine.admission.journal_full,
        )

    return PulseWriter(services.engine, sheet, metrics.lost.busiest)


def resident_bytes() -> int:
    """Memory of this process; the most it ever had where the system does not tell what it has."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE
    except (OSError, IndexError, ValueError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
