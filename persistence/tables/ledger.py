"""The catalogue, the levels of each SKU, and the append-only ledger."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Identity,
    Index,
    Integer,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from persistence.tables.columns import metadata, name_text, now_column, time_column

products = Table(
    "products",
    metadata,
    Column("sku", name_text(), primary_key=True),
    Column("name", Text, nullable=False),
    Column("category", Text),
    Column("low_stock_threshold", BigInteger, nullable=False, server_default=text("0")),
    Column("safety_stock", BigInteger, nullable=False, server_default=text("0")),
    Column("status", Text, nullable=False, server_default=text("'active'")),
    now_column("created_at"),
    now_column("updated_at"),
    CheckConstraint("status IN ('active', 'inactive')", name="status"),
    CheckConstraint("low_stock_threshold >= 0 AND safety_stock >= 0", name="bounds"),
    Index("products_category_idx", "category", "sku"),
    # The highest of these bounds what can be low or out: queries/stock_lists.py.
    Index("products_reach_idx", text("(low_stock_threshold + safety_stock)")),
)


inventory_levels = Table(
    "inventory_levels",
    metadata,
    Column("sku", name_text(), primary_key=True),
    Column("partition", Integer, nullable=False),
    Column("on_hand", BigInteger, nullable=False),
    Column("reserved", BigInteger, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("seq", BigInteger, nullable=False),
    time_column("updated_at"),
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
    time_column("created_at"),
    Column("partition", Integer, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("line", Integer, nullable=False),
    Column("sku", name_text(), nullable=False),
    Column("transaction_type", name_text(), nullable=False),
    Column("reference_type", name_text(), nullable=False),
    Column("reference_id", name_text(), nullable=False),
    Column("reservation_id", name_text()),
    Column("created_by", name_text(), nullable=False),
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
