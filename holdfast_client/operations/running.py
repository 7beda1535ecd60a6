"""Running the service: keys, the admin audit, jobs, reconciliation, health, metrics, events.

Owns these operations; webhooks stand in webhooks.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from holdfast_client.answers.running import (
    AuditEntry,
    Health,
    JobRuns,
    Jobs,
    Key,
    NewKey,
    Pulse,
    Readiness,
    Reconciliation,
    Role,
)
from holdfast_client.answers.shop import Page
from holdfast_client.asking import Asking, as_, nothing, page_of
from holdfast_client.driving import operation, streamed
from holdfast_client.event_stream import event_steps
from holdfast_client.events import Event
from holdfast_client.steps import Answer, Call, Steps, Stream


class RunningOperations(Asking):
    """What operators and administrators ask."""

    @operation
    def create_key(self, name: str, role: Role) -> Steps[NewKey]:
        """Make an API key; the answer is the only place where it is shown. Not tried again once it was sent."""
        body = {"name": name, "role": role}
        return (yield from self._ask(Call("/admin/keys", "POST", as_(NewKey), body=body, repeatable=False)))

    @streamed(Key)
    def list_keys(self, *, page_size: int | None = None) -> Stream:
        """Every key, without the keys themselves."""

        def page(cursor: str | None) -> Call[Page[Key]]:
            return Call("/admin/keys", "GET", page_of(Key), query={"limit": page_size, "cursor": cursor})

        yield from self._walk(page)

    @operation
    def revoke_key(self, key_id: str) -> Steps[None]:
        """End a key; it is refused everywhere within 5 s. Raises UnknownKey."""
        yield from self._ask(Call("/admin/keys/{}", "DELETE", nothing, (key_id,), gone_is_done=True))

    @streamed(AuditEntry)
    def list_audit(
        self,
        *,
        key_id: str | None = None,
        action: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        page_size: int | None = None,
    ) -> Stream:
        """Who asked for what with which key, newest first."""

        def page(cursor: str | None) -> Call[Page[AuditEntry]]:
            query = {
                "key_id": key_id,
                "action": action,
                "from": since,
                "to": until,
                "limit": page_size,
                "cursor": cursor,
            }
            return Call("/admin/audit", "GET", page_of(AuditEntry), query=query)

        yield from self._walk(page)

    @operation
    def list_jobs(self) -> Steps[Jobs]:
        """Every background job and how its last run went."""
        return (yield from self._ask(Call("/admin/jobs", "GET", as_(Jobs))))

    @operation
    def list_job_runs(self, job: str, *, limit: int | None = None) -> Steps[JobRuns]:
        """The latest runs of a job. Raises UnknownJob."""
        return (yield from self._ask(Call("/admin/jobs/{}/runs", "GET", as_(JobRuns), (job,), query={"limit": limit})))

    @operation
    def reconciliation(self) -> Steps[Reconciliation]:
        """Hold counters, holds, journal and ledger against each other now. Raises ReconciliationUnknown."""
        call = Call("/inventory/reconciliation", "GET", as_(Reconciliation), timeout_s=60.0)
        return (yield from self._ask(call))

    @operation
    def pulse(self) -> Steps[Pulse]:
        """Rates, lags and health of the whole service at this moment."""
        return (yield from self._ask(Call("/inventory/pulse", "GET", as_(Pulse))))

    @operation
    def health(self) -> Steps[Health]:
        """Whether the process answers."""
        return (yield from self._ask(Call("/healthz", "GET", as_(Health))))

    @operation
    def readiness(self) -> Steps[Readiness]:
        """Whether requests can be served, and what stands in the way of it. Does not wait until they can."""
        return (yield from self._ask(Call("/readyz", "GET", as_(Readiness), also=(503,))))

    @operation
    def metrics(self) -> Steps[str]:
        """Prometheus metrics, as text."""
        return (yield from self._ask(Call("/metrics", "GET", _text)))

    @streamed(Event)
    def events(self, *, types: Sequence[str] = (), last_event_id: str | None = None, reconnect: bool = True) -> Stream:
        """What happens to the stock, as it happens, in order, each event once; it ends when you leave it.

        Goes on behind `last_event_id` (`oldest`: from the oldest event that is kept; None: from now on), also by itself
        after every lost connection unless `reconnect` is False. `types`: only these. Raises EventsGone, UnknownEvent
        and what any call may raise; while the service is away it tries again until the deadline of a call is over.
        """
        yield from event_steps(self._manner, tuple(types), last_event_id, reconnect)


def _text(answer: Answer) -> str:
    return answer.body.decode()
