"""Mails of alerts: every open alert that no mail has told of yet, together in one.

Owns who is told once and how it reads; never sends by itself (inventory/mail.py). A mail may come twice when the
process dies between the mail server's yes and ours; it never stays away.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

from inventory.alerts.evaluator import sell_out_seconds
from inventory.context import Inventory
from inventory.mail import MailNotSent, compose, send
from persistence.queries import alerts, sales_pace
from persistence.queries.alerts import Alert

ALERTS_A_MAIL: Final = 200
CLAIM_S: Final = 180.0
"""How long one sender has alerts to itself; longer than the mail server may take."""


async def mail_alerts(inventory: Inventory) -> str:
    """Send one mail of what nobody has been mailed yet; a line about what was done.

    Raises MailNotSent (the alerts are free for the next try then), DatabaseUnavailable.
    """
    settings = inventory.settings.mail
    if settings is None:
        return "no mail server is set"
    async with inventory.database.transaction() as transaction:
        await alerts.one_writer(transaction)
        told = await alerts.claim_for_mail(transaction, ALERTS_A_MAIL, CLAIM_S)
    if not told:
        return "nothing new to tell"
    skus = [alert.sku for alert in told]
    async with inventory.database.connection() as connection:
        pace = await sales_pace.units_a_second(connection, skus, inventory.settings.alerts.pace_window_s)
    try:
        await send(settings, compose(settings, _message_id(told), _subject(told), _body(told, pace)))
    except MailNotSent:
        async with inventory.database.transaction() as transaction:
            await alerts.one_writer(transaction)
            await alerts.not_mailed(transaction, told)
        raise
    async with inventory.database.transaction() as transaction:
        await alerts.one_writer(transaction)
        await alerts.mailed(transaction, told)
    return f"mailed {len(told)} alerts"


def _message_id(told: list[Alert]) -> str:
    content = "\n".join(f"{alert.id} {alert.kind} {alert.changed_ms}" for alert in told)
    return f"alerts-{blake2b(content.encode(), digest_size=12).hexdigest()}"


def _subject(told: list[Alert]) -> str:
    out = sum(alert.kind == "OUT_OF_STOCK" for alert in told)
    low = len(told) - out
    parts = [f"{out} out of stock"] * bool(out) + [f"{low} running low"] * bool(low)
    return f"Holdfast: {', '.join(parts)}"


def _body(told: list[Alert], pace: dict[str, float]) -> str:
    lines = []
    for alert in sorted(told, key=lambda alert: (alert.kind != "OUT_OF_STOCK", alert.available, alert.sku)):
        if alert.kind == "OUT_OF_STOCK":
            lines.append(f"{alert.sku}: out of stock (alert {alert.id})")
            continue
        seconds = sell_out_seconds(alert.available, pace.get(alert.sku))
        rest = "" if seconds is None else f", sold out in about {duration(seconds)}"
        lines.append(f"{alert.sku}: {alert.available} left, threshold {alert.threshold}{rest} (alert {alert.id})")
    return "\n".join(lines) + "\n"


def duration(seconds: int) -> str:
    """Seconds as a person says it: in the largest unit of which there are at least two."""
    for unit, length in (("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length} {unit}"
    return f"{seconds} seconds"
