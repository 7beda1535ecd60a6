"""Alerts as people and senders deal with them: looked at, resolved by hand, known to have been told.

Owns what a person may do to an alert; never raises or ends one by what the stock is (states.py).
"""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Struct

from inventory.alerts.evaluator import StockNews, sell_out_seconds
from inventory.context import Inventory
from inventory.refusals import UnknownAlert
from persistence.pages import Page
from persistence.queries import alerts, sales_pace
from persistence.queries.alerts import Alert, AlertFilter, AlertKind

MAX_ID: Final = 2**63 - 1

_KINDS: Final[dict[str, AlertKind]] = {"stock.low": "LOW_STOCK", "stock.out": "OUT_OF_STOCK"}
_news = msgspec.json.Decoder(StockNews).decode


class AlertNow(Struct, frozen=True):
    """An alert and how things stand with its SKU at this moment; both None when it is no longer open."""

    alert: Alert
    available_now: int | None
    sell_out_seconds: int | None
    """From the sales of the last while; None also when nothing is being sold."""


async def list_alerts(
    inventory: Inventory, filters: AlertFilter, limit: int = 50, cursor: str | None = None
) -> Page[AlertNow]:
    """A page of alerts, newest first. Raises InvalidCursor, DatabaseUnavailable, engine.errors.Unavailable."""
    page = await alerts.page(inventory.database, filters, limit, cursor)
    return Page(await _now(inventory, page.items), page.next_cursor)


async def resolve(inventory: Inventory, alert_id: int, resolved_by: str) -> AlertNow:
    """Resolve an alert; one that is resolved already stays as it is. Nothing more is raised for its SKU until that has
    recovered or become worse. Raises UnknownAlert, DatabaseUnavailable.
    """
    if not 1 <= alert_id <= MAX_ID:
        raise UnknownAlert
    async with inventory.database.transaction() as transaction:
        await alerts.one_writer(transaction)
        resolved = await alerts.resolve(transaction, alert_id, resolved_by)
    if resolved is None:
        raise UnknownAlert
    return AlertNow(resolved, None, None)


async def delivered(inventory: Inventory, event_type: str, data: bytes) -> bool:
    """Somebody outside was told of this event; if it raised an alert that is still PENDING, the alert is NOTIFIED now.

    `data`: the event's data object as JSON. True if an alert changed. Raises DatabaseUnavailable; safe to repeat.
    """
    kind = _KINDS.get(event_type)
    if kind is None:
        return False
    try:
        news = _news(data)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        # Announced by another version of this program: its alert can wait for its own webhook or mail.
        return False
    async with inventory.database.transaction() as transaction:
        await alerts.one_writer(transaction)
        return await alerts.notified(transaction, [news.alert_id], kind) > 0


async def _now(inventory: Inventory, found: tuple[Alert, ...]) -> tuple[AlertNow, ...]:
    skus = [alert.sku for alert in found if alert.episode == "open"]
    levels = {}
    pace = {}
    if skus:
        levels = {level.sku: level.available for level in await inventory.engine.stock_levels(skus)}
        async with inventory.database.connection() as connection:
            pace = await sales_pace.units_a_second(connection, skus, inventory.settings.alerts.pace_window_s)
    result = []
    for alert in found:
        available = levels.get(alert.sku) if alert.episode == "open" else None
        seconds = None if available is None else sell_out_seconds(available, pace.get(alert.sku))
        result.append(AlertNow(alert, available, seconds))
    return tuple(result)
