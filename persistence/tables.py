"""The Postgres tables of Holdfast as SQLAlchemy metadata: names, types, checks, indexes.

Owns the shape only; migrations create it, ledger_writer.py and queries/ use it. Never holds a connection.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

LEDGER_CHANNEL: Final = "holdfast_ledger"
"""NOTIFY channel of the flusher's commits; payload `partition:epoch:seq`."""

metadata: Final = MetaData(
    naming_convention={
        "pk": "%(table_name)s_pkey",
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
        "ck": "%(table_name)s_%(constraint_name)s_check",
        "ix": "%(table_name)s_%(column_0_N_name)s_idx",
    }
)


def _name() -> Text:
    """Text that is looked up, compared and ordered byte by byte, whatever the database's own collation is."""
    return Text(collation="C")


def _time(name: str, *, nullable: bool = False) -> Column[object]:
    return Column(name, DateTime(timezone=True), nullable=nullable)


def _now(name: str) -> Column[object]:
    return Column(name, DateTime(timezone=True), nullable=False, server_default=text("now()"))


products = Table(
    "products",
    metadata,
    Column("sku", _name(), primary_key=True),
    Column("name", Text, nullable=False),
    Column("category", Text),
    Column("low_stock_threshold", BigInteger, nullable=False, server_default=text("0")),
    Column("safety_stock", BigInteger, nullable=False, server_default=text("0")),
    Column("status", Text, nullable=False, server_default=text("'active'")),
    _now("created_at"),
    _now("updated_at"),
    CheckConstraint("status IN ('active', 'inactive')", name="status"),
    CheckConstraint("low_stock_threshold >= 0 AND safety_stock >= 0", name="bounds"),
    Index("products_category_idx", "category", "sku"),
)

inventory_levels = Table(
    "inventory_levels",
    metadata,
    Column("sku", _name(), primary_key=True),
    Column("partition", Integer, nullable=False),
    Column("on_hand", BigInteger, nullable=False),
    Column("reserved", BigInteger, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("seq", BigInteger, nullable=False),
    _time("updated_at"),
    CheckConstraint("on_hand >= 0 AND reserved >= 0", name="bounds"),
    # Every flush rewrites the rows it touches and no index sees it: room in the page keeps those updates HOT.
    postgresql_with={"fillfactor": 50},
)

inventory_transactions = Table(
    "inventory_transactions",
    metadata,
    Column("id", BigInteger, Identity(always=False)),
    Column("seq", BigInteger, nullable=False),
    Column("quantity", BigInteger, nullable=False),
    Column("previous_stock", BigInteger, nullable=False),
    Column("new_stock", BigInteger, nullable=False),
    _time("created_at"),
    Column("partition", Integer, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("line", Integer, nullable=False),
    Column("sku", _name(), nullable=False),
    Column("transaction_type", _name(), nullable=False),
    Column("reference_type", _name(), nullable=False),
    Column("reference_id", _name(), nullable=False),
    Column("reservation_id", _name()),
    Column("created_by", _name(), nullable=False),
    Column("reason", Text),
    PrimaryKeyConstraint("id"),
    UniqueConstraint("partition", "epoch", "seq", "line"),
    CheckConstraint("new_stock = previous_stock + quantity AND new_stock >= 0", name="balance"),
    CheckConstraint("transaction_type IN ('IN', 'OUT', 'ADJUSTMENT', 'RETURN', 'DAMAGE')", name="type"),
    # Lists are newest first, (created_at, id) descending: each filter that can be selective has an index in that
    # order, so a page costs the same at any depth.
    Index("inventory_transactions_created_at_idx", "created_at", "id"),
    Index("inventory_transactions_sku_idx", "sku", "created_at", "id"),
    Index("inventory_transactions_reference_idx", "reference_id", "created_at", "id"),
    Index("inventory_transactions_created_by_idx", "created_by", "created_at", "id"),
    # Sales are nearly all rows: the index by time finds them; only the rare types need one
    # of their own, and so do the rare types of reference.
    Index(
        "inventory_transactions_type_idx",
        "transaction_type",
        "created_at",
        "id",
        postgresql_where=text("transaction_type <> 'OUT'"),
    ),
    Index(
        "inventory_transactions_reference_type_idx",
        "reference_type",
        "created_at",
        "id",
        postgresql_where=text("reference_type <> 'Order' AND reference_type <> 'Reservation'"),
    ),
)

stock_reservations = Table(
    "stock_reservations",
    metadata,
    Column("id", _name(), primary_key=True),
    Column("seq", BigInteger, nullable=False),
    _time("created_at"),
    _time("updated_at"),
    _time("expires_at"),
    _time("ended_at", nullable=True),
    Column("partition", Integer, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("status", _name(), nullable=False),
    Column("owner", _name(), nullable=False),
    Column("customer_id", _name(), nullable=False),
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
    Column("sku", _name(), nullable=False),
    _time("created_at"),
    Column("reservation_id", _name(), nullable=False),
    PrimaryKeyConstraint("sku", "created_at", "reservation_id"),
)
"""Which reservations hold or held a SKU, in list order; the filter by SKU reads it."""

journal_cursors = Table(
    "journal_cursors",
    metadata,
    Column("partition", Integer, primary_key=True, autoincrement=False),
    Column("partitions", Integer, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("stream_id", Text, nullable=False),
    _now("updated_at"),
    CheckConstraint("partition >= 0 AND partition < partitions", name="partition"),
    CheckConstraint("epoch >= 1 AND seq >= 0", name="bounds"),
    postgresql_with={"fillfactor": 10},
)

journal_quarantine = Table(
    "journal_quarantine",
    metadata,
    Column("id", BigInteger, Identity(always=False), primary_key=True),
    Column("partition", Integer, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("stream_id", Text, nullable=False),
    Column("applied", Text, nullable=False),
    Column("raw", LargeBinary, nullable=False),
    Column("error", Text, nullable=False),
    _now("created_at"),
    CheckConstraint("applied IN ('nothing', 'stock', 'cleaned', 'empty')", name="applied"),
    Index("journal_quarantine_seq_idx", "partition", "epoch", "seq"),
)
"""Journal entries and events that could not be applied as they are; flush_plan.py tells what follows."""

flusher_status = Table(
    "flusher_status",
    metadata,
    Column("partition", Integer, nullable=False),
    Column("worker", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("lag_events", BigInteger, nullable=False),
    Column("lag_ms", BigInteger, nullable=False),
    _time("heartbeat_at"),
    PrimaryKeyConstraint("partition", "worker"),
    CheckConstraint("state IN ('running', 'halted', 'stopped')", name="state"),
    postgresql_with={"fillfactor": 10},
)
"""One row a flusher, renewed every second: what readiness asks."""

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", _name(), primary_key=True),
    Column("name", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("key_hash", LargeBinary, nullable=False),
    _now("created_at"),
    Column("created_by", Text, nullable=False),
    _time("revoked_at", nullable=True),
    UniqueConstraint("key_hash"),
    CheckConstraint("role IN ('storefront', 'auditor', 'operator', 'manager', 'admin')", name="role"),
    CheckConstraint("octet_length(key_hash) = 32", name="key_hash"),
)

store_secrets = Table(
    "store_secrets",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", LargeBinary, nullable=False),
)
"""Random values every API process must share; `cursor_key` signs page cursors."""
