"""First tables: products, levels, ledger, reservations, cursors, quarantine, keys.

Revision ID: 0001
Revises:
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def _name() -> sa.Text:
    return sa.Text(collation="C")


def _time(name: str, *, nullable: bool = False) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def _now(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=False, server_default=sa.text("now()"))


def upgrade() -> None:
    """Create everything, and the row of partition 0's cursor."""
    _products_and_levels()
    _ledger()
    _reservations()
    _journal()
    _keys()


def downgrade() -> None:
    """Drop everything."""
    for table in (
        "store_secrets",
        "api_keys",
        "flusher_status",
        "journal_quarantine",
        "journal_cursors",
        "reservation_skus",
        "stock_reservations",
        "inventory_transactions",
        "inventory_levels",
        "products",
    ):
        op.drop_table(table)
    op.execute("DROP FUNCTION refuse_ledger_change()")


def _products_and_levels() -> None:
    op.create_table(
        "products",
        sa.Column("sku", _name(), primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("category", sa.Text),
        sa.Column("low_stock_threshold", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("safety_stock", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("status", sa.Text, nullable=False, server_default=sa.text("'active'")),
        _now("created_at"),
        _now("updated_at"),
        sa.CheckConstraint("status IN ('active', 'inactive')", name="status"),
        sa.CheckConstraint("low_stock_threshold >= 0 AND safety_stock >= 0", name="bounds"),
    )
    op.create_index("products_category_idx", "products", ["category", "sku"])
    op.create_table(
        "inventory_levels",
        sa.Column("sku", _name(), primary_key=True),
        sa.Column("partition", sa.Integer, nullable=False),
        sa.Column("on_hand", sa.BigInteger, nullable=False),
        sa.Column("reserved", sa.BigInteger, nullable=False),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        _time("updated_at"),
        sa.CheckConstraint("on_hand >= 0 AND reserved >= 0", name="bounds"),
        postgresql_with={"fillfactor": 50},
    )


def _ledger() -> None:
    op.create_table(
        "inventory_transactions",
        sa.Column("id", sa.BigInteger, sa.Identity(always=False)),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("quantity", sa.BigInteger, nullable=False),
        sa.Column("previous_stock", sa.BigInteger, nullable=False),
        sa.Column("new_stock", sa.BigInteger, nullable=False),
        _time("created_at"),
        sa.Column("partition", sa.Integer, nullable=False),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("line", sa.Integer, nullable=False),
        sa.Column("sku", _name(), nullable=False),
        sa.Column("transaction_type", _name(), nullable=False),
        sa.Column("reference_type", _name(), nullable=False),
        sa.Column("reference_id", _name(), nullable=False),
        sa.Column("reservation_id", _name()),
        sa.Column("created_by", _name(), nullable=False),
        sa.Column("reason", sa.Text),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("partition", "epoch", "seq", "line"),
        sa.CheckConstraint("new_stock = previous_stock + quantity AND new_stock >= 0", name="balance"),
        sa.CheckConstraint("transaction_type IN ('IN', 'OUT', 'ADJUSTMENT', 'RETURN', 'DAMAGE')", name="type"),
    )
    for name, column in (("sku", "sku"), ("reference", "reference_id"), ("created_by", "created_by")):
        op.create_index(f"inventory_transactions_{name}_idx", "inventory_transactions", [column, "created_at", "id"])
    op.create_index("inventory_transactions_created_at_idx", "inventory_transactions", ["created_at", "id"])
    op.create_index(
        "inventory_transactions_type_idx",
        "inventory_transactions",
        ["transaction_type", "created_at", "id"],
        postgresql_where=sa.text("transaction_type <> 'OUT'"),
    )
    op.create_index(
        "inventory_transactions_reference_type_idx",
        "inventory_transactions",
        ["reference_type", "created_at", "id"],
        postgresql_where=sa.text("reference_type <> 'Order' AND reference_type <> 'Reservation'"),
    )
    op.execute(
        """
        CREATE FUNCTION refuse_ledger_change() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION 'the ledger is append-only: % refused', TG_OP USING ERRCODE = 'restrict_violation';
        END $$
        """
    )
    # FOR EACH STATEMENT: refused also when no row matches, and an INSERT pays nothing for it.
    op.execute(
        """
        CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON inventory_transactions
        FOR EACH STATEMENT EXECUTE FUNCTION refuse_ledger_change()
        """
    )


def _reservations() -> None:
    op.create_table(
        "stock_reservations",
        sa.Column("id", _name(), primary_key=True),
        sa.Column("seq", sa.BigInteger, nullable=False),
        _time("created_at"),
        _time("updated_at"),
        _time("expires_at"),
        _time("ended_at", nullable=True),
        sa.Column("partition", sa.Integer, nullable=False),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("status", _name(), nullable=False),
        sa.Column("owner", _name(), nullable=False),
        sa.Column("customer_id", _name(), nullable=False),
        sa.Column("cart_id", sa.Text),
        sa.Column("order_id", sa.Text),
        sa.Column("fingerprint", sa.Text, nullable=False),
        sa.Column("lines", JSONB, nullable=False),
        sa.CheckConstraint("status IN ('ACTIVE', 'COMPLETED', 'CANCELLED', 'EXPIRED')", name="status"),
        postgresql_with={"fillfactor": 50},
    )
    op.create_index("stock_reservations_created_at_idx", "stock_reservations", ["created_at", "id"])
    op.create_index("stock_reservations_customer_idx", "stock_reservations", ["customer_id", "created_at", "id"])
    op.create_index("stock_reservations_expires_at_idx", "stock_reservations", ["expires_at"])
    op.create_table(
        "reservation_skus",
        sa.Column("sku", _name(), nullable=False),
        _time("created_at"),
        sa.Column("reservation_id", _name(), nullable=False),
        sa.PrimaryKeyConstraint("sku", "created_at", "reservation_id"),
    )


def _journal() -> None:
    op.create_table(
        "journal_cursors",
        sa.Column("partition", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("partitions", sa.Integer, nullable=False),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("stream_id", sa.Text, nullable=False),
        _now("updated_at"),
        sa.CheckConstraint("partition >= 0 AND partition < partitions", name="partition"),
        sa.CheckConstraint("epoch >= 1 AND seq >= 0", name="bounds"),
        postgresql_with={"fillfactor": 10},
    )
    op.execute("INSERT INTO journal_cursors (partition, partitions, epoch, seq, stream_id) VALUES (0, 1, 1, 0, '0-0')")
    op.create_table(
        "journal_quarantine",
        sa.Column("id", sa.BigInteger, sa.Identity(always=False), primary_key=True),
        sa.Column("partition", sa.Integer, nullable=False),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("stream_id", sa.Text, nullable=False),
        sa.Column("applied", sa.Text, nullable=False),
        sa.Column("raw", sa.LargeBinary, nullable=False),
        sa.Column("error", sa.Text, nullable=False),
        _now("created_at"),
        sa.CheckConstraint("applied IN ('nothing', 'stock', 'cleaned', 'empty')", name="applied"),
    )
    op.create_index("journal_quarantine_seq_idx", "journal_quarantine", ["partition", "epoch", "seq"])
    op.create_table(
        "flusher_status",
        sa.Column("partition", sa.Integer, nullable=False),
        sa.Column("worker", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("lag_events", sa.BigInteger, nullable=False),
        sa.Column("lag_ms", sa.BigInteger, nullable=False),
        _time("heartbeat_at"),
        sa.PrimaryKeyConstraint("partition", "worker"),
        sa.CheckConstraint("state IN ('running', 'halted', 'stopped')", name="state"),
        postgresql_with={"fillfactor": 10},
    )


def _keys() -> None:
    op.create_table(
        "api_keys",
        sa.Column("id", _name(), primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("key_hash", sa.LargeBinary, nullable=False),
        _now("created_at"),
        sa.Column("created_by", sa.Text, nullable=False),
        _time("revoked_at", nullable=True),
        sa.UniqueConstraint("key_hash"),
        sa.CheckConstraint("role IN ('storefront', 'auditor', 'operator', 'manager', 'admin')", name="role"),
        sa.CheckConstraint("octet_length(key_hash) = 32", name="key_hash"),
    )
    op.create_table(
        "store_secrets",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("value", sa.LargeBinary, nullable=False),
    )
    # 244 random bits from the server; no extension needed.
    op.execute(
        "INSERT INTO store_secrets (name, value) "
        "VALUES ('cursor_key', uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()))"
    )
