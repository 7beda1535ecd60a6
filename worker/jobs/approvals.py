"""The job of approvals: requests whose time is over, and approvals that were interrupted."""

from __future__ import annotations

from inventory.approvals import expire_stale, finish_interrupted
from worker.jobs.context import JobContext


async def expire(context: JobContext) -> str:
    """`approvals.expire`: nothing depends on it, since every decision looks at both by itself."""
    expired = await expire_stale(context.inventory)
    finished = await finish_interrupted(context.inventory)
    return f"{expired} requests expired, {finished} interrupted approvals carried to their end"
