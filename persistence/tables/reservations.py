"""Reservations as Postgres remembers them, and which SKUs each held."""

from __future__ import annotations

from sqlalchemy import BigInteger, CheckConstraint, Column, Index, Integer, PrimaryKeyConstraint, Table, Text
from sqlalchemy.dialects.postgresql import JSONB

from persistence.tables.columns import metadata, name_text, time_column

stock_reservations = Table(
    "stock_reservations",
    metadata,
    Column("id", name_text(), primary_key=True),
    Column("seq", BigInteger, nullable=False),
    time_column("created_at"),
    time_column("updated_at"),
    time_column("expires_at"),
    time_column("ended_at", nullable=True),
    Column("partition", Integer, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("status", name_text(), nullable=False),
    Column("owner", name_text(), nullable=False),
    Column("customer_id", name_text(), nullable=False),
    Column("cart_id", Text),
    Column("order_id", Text),
    Column("fingerprint", Text, nullable=False),
    Column("lines", JSONB, nullable=False),
    CheckConstraint("status IN ('ACTIVE', 'COMPLETED', 'CANCELLED', 'EXPIRED')", name="status"),
    # No index names status, order_id, updated_at, ended_at or seq, and half of each page stays free: the one update
    # that nearly every row gets, its end, is then HOT and touches no index. What that leaves to be found goes
    # another way: by order through the ledger's reservation_id, ACTIVE ones through expires_at.
    Index("stock_reservations_created_at_idx", "created_at", "id"),
    Index("stock_reservations_customer_idx", "customer_id", "created_at", "id"),
    Index("stock_reservations_expires_at_idx", "expires_at"),
    postgresql_with={"fillfactor": 50},
)


reservation_skus = Table(
    "reservation_skus",
    metadata,
    Column("sku", name_text(), nullable=False),
    time_column("created_at"),
    Column("reservation_id", name_text(), nullable=False),
    PrimaryKeyConstraint("sku", "created_at", "reservation_id"),
)
"""Which reservations hold or held a SKU, in list order; the filter by SKU reads it."""
