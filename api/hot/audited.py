"""Hot requests that change something and come with another key than a storefront's: in the admin audit like cold ones.

Owns the detour they take, before and after their endpoint. A storefront's requests never come here.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import Struct

from api.audit import AuditSlot, clean_target, end_audit
from api.hot.exchange import Headers
from persistence.queries import admin_audit

if TYPE_CHECKING:
    from api.hot.exchange import Exchange
    from persistence.database import Database

ROUTES: Final = {
    "reserve": ("POST", "/inventory/reserve"),
    "batch": ("POST", "/inventory/reserve/batch"),
    "amend": ("PATCH", "/inventory/reserve/{id}"),
    "release": ("DELETE", "/inventory/reserve/{id}"),
    "confirm": ("POST", "/inventory/reserve/{id}/confirm"),
}
"""Hot operations that change something: method and path of each."""


class _Problem(Struct):
    code: str | None = None


_problem: Final = msgspec.json.Decoder(_Problem).decode


async def put_on_record(exchange: Exchange, database: Database, tasks: set[asyncio.Task[Any]]) -> None:
    """Write the request's row, and see to it that its outcome is added before the answer goes out.

    Raises DatabaseUnavailable: what cannot be put on record is not done.
    """
    name, caller = exchange.endpoint.name, exchange.caller
    method, route = ROUTES[name]
    slot = AuditSlot(exchange.log_id().decode(), time.perf_counter(), target=clean_target(exchange.argument) or None)
    slot.id = await admin_audit.begin(
        database,
        key_id=caller.id,
        role=caller.role,
        action=name,
        method=method,
        route=route,
        target=slot.target,
        request_id=slot.request_id,
        idempotency_key=exchange.idempotency_key is not None,
    )
    send = exchange.send

    async def finish(status: int, body: bytes, headers: Headers) -> None:
        try:
            await end_audit(slot, database, status)
        finally:
            send(status, body, headers)

    def send_once_on_record(status: int, body: bytes, headers: Headers) -> None:
        if status >= 400:
            slot.code = _problem(body).code
        task = asyncio.get_running_loop().create_task(finish(status, body, headers))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    exchange.send = send_once_on_record  # type: ignore[method-assign]
