"""What a job works with: the inventory service, the queue to ask for further jobs, and the jobs' own settings.

Owns no connection; worker/jobs/running.py opens and closes what is in it, anew for each run.
"""

from __future__ import annotations

from msgspec import Struct

from engine import EngineSettings
from inventory.context import Inventory, InventorySettings
from inventory.job_queue import JobQueue


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
    grace_s: float = 10.0
    """How long a running job may go on once the process was asked to end; then it is returned to its queue."""


class JobContext(Struct, frozen=True):
    """Handed to every job."""

    inventory: Inventory
    jobs: JobQueue
    settings: JobSettings
