"""One scrape: every part asked at the same time, none waited for too long, all put together.

Owns who is asked. What is made of the answers is exposition.py's.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from msgspec import Struct
from prometheus_client.core import InfoMetricFamily, Metric

from api import exposition
from api.job_families import job_families
from inventory.bounded_look import BoundedLook, NoAnswer
from inventory.context import PARTITION
from inventory.job_report import JobsReport, report
from persistence.database import DatabaseUnavailable
from persistence.queries import figures, partition_state, reconciliation

if TYPE_CHECKING:
    from api.metrics import Metrics
    from api.services import Services
    from inventory.pulse.fleet import FleetReader


class _Recorded(Struct):
    figures: figures.Figures
    state: partition_state.PartitionState | None
    drift: reconciliation.LastReconciliation | None
    jobs: JobsReport


class Scrape:
    """Use one for each process."""

    def __init__(self, services: Services, metrics: Metrics, fleet: FleetReader) -> None:
        self._services = services
        self._metrics = metrics
        self._fleet = fleet
        self._postgres = BoundedLook(self._ask_postgres)

    async def text(self) -> bytes:
        """The page. Never raises for a server that is away: its families are left out."""
        fleet, known = await asyncio.gather(self._fleet.read(), self._postgres.answer(), return_exceptions=True)
        families: list[Metric] = [
            InfoMetricFamily(
                "holdfast_build", "Of the process that was asked.", {"version": self._services.settings.version}
            ),
            *exposition.counted(self._metrics.everybodys()),
        ]
        if isinstance(fleet, BaseException):
            raise fleet
        families += exposition.watched(fleet)
        if isinstance(known, _Recorded):
            families += exposition.recorded(known.figures, known.state, known.drift)
            families += job_families(known.jobs)
        elif not isinstance(known, DatabaseUnavailable | NoAnswer):
            raise known
        families.append(exposition.postgres_up(isinstance(known, _Recorded)))
        families += exposition.left_by_workers(self._metrics.directory)
        return exposition.render(families)

    async def _ask_postgres(self) -> _Recorded:
        database = self._services.database
        return _Recorded(
            await figures.figures(database, PARTITION),
            await partition_state.partition(database, PARTITION),
            await reconciliation.latest(database, PARTITION),
            await report(database, self._services.jobs),
        )
