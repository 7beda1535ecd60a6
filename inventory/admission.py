"""How a process learns which server it may serve from: what Postgres says of the partition, told to the engine.

Owns the translation only; the watermark hears it (persistence/watermark.py), engine/batcher.py acts on it.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from persistence.watermark import Watermark

if TYPE_CHECKING:
    from engine import Engine
    from engine.admission import Admission
    from persistence.queries.partition_state import PartitionState


def follow(admission: Admission, state: PartitionState) -> None:
    """Serve what is OPEN, and nothing else."""
    if state.state == "OPEN":
        admission.admit(state.epoch, state.run_id)
    else:
        admission.refuse(state.reason)


def watermark_of(engine: Engine, database_url: str) -> Watermark:
    """A watermark that keeps `engine` on what is admitted, from its `start` on, and has the flusher hurry for waits."""
    return Watermark(database_url, partial(follow, engine.admission), engine.ledger_awaited)
