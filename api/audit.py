"""Every administrative request that could change something is on record before it is done, with its outcome after.

Owns what is written down of a request: who, with which key, what, when, how it ended; never a body, which may hold
secrets. A storefront's requests are not administrative: its reservations and orders have their own history.
"""

from __future__ import annotations

import time
from typing import Any, Final

import structlog
from fastapi import Request
from msgspec import Struct

from api.auth import Caller
from persistence.database import Database, DatabaseUnavailable
from persistence.queries import admin_audit

logger = structlog.get_logger("holdfast.api")

SCOPE_KEY: Final = "holdfast.audit"
READING: Final = frozenset({"GET", "HEAD", "OPTIONS"})
MAX_TARGET: Final = 255
"""Characters kept of what a request is about."""


class AuditSlot(Struct):
    """One request's place in the audit, carried in its scope from the first byte to the answer."""

    request_id: str
    started: float
    """time.perf_counter()."""
    id: int = 0
    """Of the row; 0: this request is not audited."""
    target: str | None = None
    code: str | None = None


async def begin_audit(request: Request, database: Database, caller: Caller) -> None:
    """Write the row of a request that could change something; nothing for those that only read.

    Raises DatabaseUnavailable: what cannot be put on record is not done.
    """
    slot: AuditSlot = request.scope[SCOPE_KEY]
    if caller.owner or slot.id or request.method in READING:
        return
    route = request.scope["route"]
    if request.path_params:
        slot.target = clean_target("/".join(map(str, request.path_params.values())))
    slot.id = await admin_audit.begin(
        database,
        key_id=caller.id,
        role=caller.role,
        action=route.name,
        method=request.method,
        route=route.path,
        target=slot.target,
        request_id=slot.request_id,
        idempotency_key="idempotency-key" in request.headers,
    )


def audit_target(request: Request, target: str) -> None:
    """Say what the request is about, where its path does not: a SKU, an order. Goes into the row with the outcome."""
    slot: AuditSlot = request.scope[SCOPE_KEY]
    slot.target = clean_target(target)


def audit_code(scope: Any, code: str) -> None:
    """Say which problem the request is answered with."""
    slot: AuditSlot | None = scope.get(SCOPE_KEY)
    if slot is not None:
        slot.code = code


async def end_audit(slot: AuditSlot, database: Database, status: int) -> None:
    """Write the outcome into the row, if there is one. A Postgres that is away by now leaves it open, and is logged:
    what was done stands, and the caller must hear of it.
    """
    if not slot.id:
        return
    audit_id, slot.id = slot.id, 0
    duration_ms = round((time.perf_counter() - slot.started) * 1000)
    try:
        await admin_audit.complete(
            database, audit_id, status=status, code=slot.code, target=slot.target, duration_ms=duration_ms
        )
    except DatabaseUnavailable:
        logger.warning("the outcome of an audited request is not on record", audit_id=audit_id, status=status)


def clean_target(text: str) -> str:
    """`text` as Postgres can hold it."""
    return text[:MAX_TARGET].replace("\0", "\N{REPLACEMENT CHARACTER}").encode(errors="replace").decode()
