"""Every job of the service: its name, its schedule, its limits, and the function that does it.

Owns the list. A new job is a function `async def job(context, **arguments) -> str` that calls inventory/ and gives one
line for people, and an entry here. Every job is idempotent: it may run twice, at the same time, or again after a kill.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final

from msgspec import Struct

from inventory.alerts.check import CHECK_JOB
from inventory.job_queue import JobKind
from inventory.webhooks.delivery import DELIVER_JOB
from worker.jobs import alerts, approvals, imports, reconciliation, upkeep, webhooks
from worker.jobs.context import JobContext

JobFunction = Callable[..., Awaitable[str]]
"""`async def job(context: JobContext, **arguments: str | int) -> str`; an exception means that the run failed."""


class RegisteredJob(Struct, frozen=True):
    """A kind of job and what does it."""

    kind: JobKind
    run: JobFunction


class Registry:
    """Jobs by name. Raises ValueError if two have the same."""

    def __init__(self, jobs: Iterable[RegisteredJob]) -> None:
        self._jobs: dict[str, RegisteredJob] = {}
        for job in jobs:
            if job.kind.name in self._jobs:
                raise ValueError(f"two jobs are called {job.kind.name}")
            self._jobs[job.kind.name] = job

    @property
    def kinds(self) -> tuple[JobKind, ...]:
        """What is known of each job, in the order of registration."""
        return tuple(job.kind for job in self._jobs.values())

    def __getitem__(self, name: str) -> RegisteredJob:
        return self._jobs[name]

    def __contains__(self, name: object) -> bool:
        return name in self._jobs

    async def run(self, context: JobContext, name: str, arguments: dict[str, Any]) -> str:
        """Run one job here and now; what it says it has done. Raises KeyError, and what the job raises."""
        return await self._jobs[name].run(context, **arguments)


JOBS: Final = Registry(
    (
        RegisteredJob(
            JobKind(
                name="reconciliation",
                description="Counters, holds, journal and ledger held against each other",
                lane="long",
                timeout_s=300,
                schedule=900,
            ),
            reconciliation.reconcile,
        ),
        RegisteredJob(
            JobKind(name="alerts.mail", description="One mail of all alerts that no mail has told of", schedule=60),
            alerts.mail,
        ),
        RegisteredJob(
            JobKind(
                name=CHECK_JOB,
                description="Every SKU's alert held against its counters",
                lane="long",
                timeout_s=600,
                schedule=900,
            ),
            alerts.check,
        ),
        RegisteredJob(
            JobKind(
                name="alerts.digest",
                description="The day's digest, once it is due and unless it has been made",
                lane="long",
                timeout_s=300,
                schedule=60,
            ),
            alerts.digest,
        ),
        RegisteredJob(
            JobKind(
                name=DELIVER_JOB,
                description="What is due to one webhook, sent",
                retry_after_s=(5, 30),
            ),
            webhooks.deliver_job,
        ),
        RegisteredJob(
            JobKind(
                name="webhooks.sweep",
                description="Webhook deliveries that nobody is sending, and backlogs without end",
                schedule=60,
            ),
            webhooks.sweep_job,
        ),
        RegisteredJob(
            JobKind(
                name="imports.work",
                description="A large import file read, applied or reverted",
                lane="long",
                timeout_s=900,
                retry_after_s=(5, 30),
            ),
            imports.work,
        ),
        RegisteredJob(
            JobKind(
                name="imports.resume",
                description="Imports taken up again that nobody is working on",
                lane="long",
                timeout_s=900,
                schedule=60,
            ),
            imports.take_up,
        ),
        RegisteredJob(
            JobKind(
                name="imports.expire",
                description="Import previews that nobody applied in time let go, old imports forgotten",
                schedule=3600,
            ),
            imports.expire,
        ),
        RegisteredJob(
            JobKind(
                name="approvals.expire",
                description="Requests for approval that nobody decided in time, and approvals cut short",
                schedule=60,
            ),
            approvals.expire,
        ),
        RegisteredJob(
            JobKind(
                name=upkeep.LEFTOVER_JOB,
                description="Proof that no hold outlived its deadline, in Redis or in the ledger",
                lane="long",
                timeout_s=120,
                schedule="*/15 * * * *",
            ),
            upkeep.prove_no_leftovers,
        ),
        RegisteredJob(
            JobKind(
                name="records.forget",
                description="Records that are older than the settings keep them deleted",
                lane="long",
                timeout_s=3600,
                retry_after_s=(600, 3600),
                schedule="30 3 * * *",
            ),
            upkeep.forget_old,
        ),
    )
)
