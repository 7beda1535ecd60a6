"""What a job works with: the inventory service, the queue to ask for further jobs, and the jobs' own settings.

Owns no connection; worker/jobs/running.py opens and closes what is in it, anew for each run.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

from engine import EngineSettings
from inventory.context import Inventory, InventorySettings
from inventory.job_queue import JobQueue

if TYPE_CHECKING:
    from persistence.database import Database


class JobSpans(Protocol):
    """What a run needs of a tracer."""

    def around(self, job: str, database: Database) -> AbstractContextManager[Callable[[str], None]]:
        """A run of `job`; what is given is called with why it failed, if it did."""


class JobSettings(Struct, frozen=True, kw_only=True):
    """What the job process needs to know."""

    redis_url: str
    """The stock's Redis."""
    jobs_url: str
    """The jobs' own Redis database."""
    database_url: str
    engine: EngineSettings = EngineSettings()
    inventory: InventorySettings = InventorySettings()
    workers: int = 2
    """RQ workers; the first takes long jobs as well."""
    spans: JobSpans | None = None
    """Makes the spans of runs; None: nothing is traced."""
    grace_s: float = 10.0
    """How long a running job may go on once the process was asked to end; then it is returned to its queue."""


class JobContext(Struct, frozen=True):
    """Handed to every job."""

    inventory: Inventory
    jobs: JobQueue
    settings: JobSettings
