"""Telling the outside what no command of the engine tells: alerts, approvals, imports.

Owns the way into the outbox, in the transaction of the thing that is told. From there the worker's announcer
(worker/announcer.py) puts it into the journal, once in effect, and so into SSE and webhooks like every other event.
"""

from __future__ import annotations

import msgspec
from msgspec import Struct

from engine.identity import random_base
from inventory.events.kinds import ANNOUNCED_TYPES
from persistence.database import Transaction
from persistence.queries import announcements


async def announce(transaction: Transaction, event_type: str, data: Struct) -> None:
    """Tell `data` as an event of `event_type`, if and only if `transaction` is committed.

    `data` becomes the event's `data` object. Raises ValueError for a type that is not announced this way.
    """
    if event_type not in ANNOUNCED_TYPES:
        raise ValueError(f"{event_type!r} is none of {', '.join(ANNOUNCED_TYPES)}")
    await announcements.keep(transaction, random_base(), event_type, msgspec.json.encode(data).decode())
