"""The daily digest: what is low and out, which alerts are open, what moved yesterday. One a day, whoever asks.

Owns when a digest is due and what it says; never sends by itself (inventory/mail.py).
"""

from __future__ import annotations

from datetime import datetime, timedelta, tzinfo
from typing import Final

import structlog

from engine.results import StockLevel
from inventory.context import Inventory
from inventory.mail import MailNotSent, compose, send
from inventory.rules import zone_of
from persistence.queries import alerts, digests
from persistence.queries.digests import Digest

LISTED: Final = 50
"""SKUs of each list that the digest names; of the rest it gives the number."""
CLAIM_S: Final = 180.0

_log = structlog.get_logger("holdfast.alerts")


async def make_digest(inventory: Inventory, now: datetime) -> str:
    """Make, keep, log and mail the digest of today (as of `now`) if it is due and nobody has; a line about it.

    Due from the shop's time of day until the day ends, so that a service that was down then makes it up. Raises
    MailNotSent (the digest is kept; the next call mails it), DatabaseUnavailable, engine.errors.Unavailable.
    """
    settings = inventory.settings.digest
    zone = zone_of(settings.time_zone)
    local = now.astimezone(zone)
    day = local.date()
    if local.time() < settings.at:
        newest = await digests.get(inventory.database, day - timedelta(days=1))
        return f"next at {settings.at:%H:%M}" + ("" if newest is None else f"; yesterday: {newest.summary}")
    digest = await digests.get(inventory.database, day)
    if digest is None:
        made = await _written(inventory, local, zone)
        if await digests.keep(inventory.database, made):
            _log.info("daily digest", day=str(day), digest=made.body)
            digest = made
        else:
            digest = await digests.get(inventory.database, day) or made
    mailed = await _mail(inventory, digest)
    return f"{day}: {digest.summary}{'; mailed' if mailed else ''}"


async def _mail(inventory: Inventory, digest: Digest) -> bool:
    settings = inventory.settings.mail
    if settings is None or not await digests.claim_for_mail(inventory.database, digest.day, CLAIM_S):
        return False
    mail = compose(settings, f"digest-{digest.day}", f"Holdfast: {digest.day}, {digest.summary}", f"{digest.body}\n")
    try:
        await send(settings, mail)
    except MailNotSent:
        await digests.mailed(inventory.database, digest.day, sent=False)
        raise
    await digests.mailed(inventory.database, digest.day, sent=True)
    return True


async def _written(inventory: Inventory, local: datetime, zone: tzinfo) -> Digest:
    database = inventory.database
    levels = [level for level in await inventory.engine.stock_levels(None) if level.active]
    out = sorted((level for level in levels if level.available == 0), key=lambda level: level.sku)
    low = sorted(
        (level for level in levels if 0 < level.available < level.low_stock_threshold),
        key=lambda level: (level.available, level.sku),
    )
    opened = await alerts.open_counts(database)
    today = datetime(local.year, local.month, local.day, tzinfo=zone)
    # By the calendar, not by 24 hours: the day before a change of the clocks is longer or shorter.
    before = (local - timedelta(days=1)).date()
    yesterday = datetime(before.year, before.month, before.day, tzinfo=zone)
    moved = await digests.movements(database, yesterday, today)
    summary = f"{len(low)} low, {len(out)} out of stock, {sum(opened.values())} alerts open"
    lines = [
        f"Stock on {local:%Y-%m-%d %H:%M} ({local.tzname()}): {summary}.",
        "",
        f"Movements of {before}:",
        *([f"  {one.transaction_type}: {one.rows} rows, {one.units:+d} units" for one in moved] or ["  none"]),
        "",
        *_listed("Out of stock", out),
        *_listed("Running low", low),
    ]
    return Digest(local.date(), summary, "\n".join(lines).rstrip())


def _listed(title: str, levels: list[StockLevel]) -> list[str]:
    if not levels:
        return []
    lines = [f"{title}:"]
    for level in levels[:LISTED]:
        rest = f"{level.available} left, threshold {level.low_stock_threshold}; " if level.available else ""
        lines.append(f"  {level.sku}: {rest}{level.on_hand} on hand, {level.reserved} held")
    if len(levels) > LISTED:
        lines.append(f"  and {len(levels) - LISTED} more")
    return [*lines, ""]
