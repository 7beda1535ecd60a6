"""Rows of Postgres and counters of Redis as the structs that go out. Pure functions; one place for each shape."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, cast

from api.hot.respond import seconds_left, timestamp
from api.schemas.shop import (
    LevelView,
    Line,
    ProductView,
    ReservationView,
    StockState,
    StockStatusView,
    TransactionKind,
    TransactionView,
)

if TYPE_CHECKING:
    from engine.results import Reservation, StockLevel
    from persistence.queries.levels import StoredLevel
    from persistence.queries.products import Product
    from persistence.queries.transactions import Transaction


def timestamp_of(moment: datetime) -> str:
    """A moment as RFC 3339 UTC with milliseconds."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def reservation_view(stored: Reservation, now_ms: int) -> ReservationView:
    """A reservation as Postgres or the engine has it."""
    return ReservationView(
        id=stored.id,
        status=stored.status,
        customer_id=stored.customer_id,
        cart_id=stored.cart_id,
        order_id=stored.order_id,
        lines=[Line(sku, quantity) for sku, quantity in stored.lines],
        expires_at=timestamp(stored.deadline_ms),
        expires_in_seconds=seconds_left(stored.deadline_ms, now_ms) if stored.status == "ACTIVE" else 0,
        created_at=timestamp(stored.created_ms),
        updated_at=timestamp(stored.updated_ms),
    )


def transaction_view(row: Transaction) -> TransactionView:
    """A row of the ledger."""
    return TransactionView(
        id=row.id,
        sku=row.sku,
        transaction_type=cast("TransactionKind", row.transaction_type),
        quantity=row.quantity,
        previous_stock=row.previous_stock,
        new_stock=row.new_stock,
        reference_type=row.reference_type or None,
        reference_id=row.reference_id or None,
        reason=row.reason,
        created_by=row.created_by,
        created_at=timestamp_of(row.created_at),
        partition=row.partition,
        seq=row.seq,
    )


def product_view(product: Product) -> ProductView:
    """A product of the catalogue."""
    return ProductView(
        sku=product.sku,
        name=product.name,
        category=product.category,
        low_stock_threshold=product.low_stock_threshold,
        safety_stock=product.safety_stock,
        status=product.status,
        created_at=timestamp_of(product.created_at),
        updated_at=timestamp_of(product.updated_at),
    )


def level_view(level: StoredLevel) -> LevelView:
    """A level as Postgres has it."""
    return LevelView(
        sku=level.sku,
        on_hand=level.on_hand,
        reserved=level.reserved,
        partition=level.partition,
        seq=level.seq,
        updated_at=timestamp_of(level.updated_at),
    )


def stock_state(available: int, low_stock_threshold: int) -> StockState:
    """OUT_OF_STOCK at 0, LOW_STOCK below the threshold, else IN_STOCK."""
    if available == 0:
        return "OUT_OF_STOCK"
    return "LOW_STOCK" if available < low_stock_threshold else "IN_STOCK"


def stock_status_view(level: StockLevel, product: Product | None, as_of: str) -> StockStatusView:
    """A SKU's counters with its name. A SKU whose catalogue row is still being written is shown under its SKU."""
    return StockStatusView(
        sku=level.sku,
        name=level.sku if product is None else product.name,
        category=None if product is None else product.category,
        on_hand=level.on_hand,
        reserved=level.reserved,
        safety_stock=level.safety_stock,
        available=level.available,
        low_stock_threshold=level.low_stock_threshold,
        status=stock_state(level.available, level.low_stock_threshold),
        as_of=as_of,
    )
