"""Jobs of bulk imports: one import worked on, those left behind taken up again, old previews let go."""

from __future__ import annotations

from inventory.bulk.imports import expire_previews, forget_old, resume
from inventory.bulk.steps import work_on
from worker.jobs.context import JobContext


async def work(context: JobContext, import_id: str) -> str:
    """The step that this import is in, brought to its end."""
    done = await work_on(context.inventory, import_id)
    return f"{import_id} is at rest" if done else f"{import_id} is in other hands"


async def take_up(context: JobContext) -> str:
    """Imports that somebody should be working on and nobody is."""
    return f"{await resume(context.inventory)} imports taken up again"


async def expire(context: JobContext) -> str:
    """Previews that nobody applied in time, and imports of long ago."""
    expired, forgotten = await expire_previews(context.inventory), await forget_old(context.inventory)
    return f"{expired} previews expired, {forgotten} old imports forgotten"
