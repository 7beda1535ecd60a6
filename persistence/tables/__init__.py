"""The Postgres tables of Holdfast as SQLAlchemy metadata, one file a topic: names, types, checks, indexes.

Owns the shape only; migrations create it, ledger_writer.py and queries/ use it. Never holds a connection. A table is
part of `metadata` once its module is imported here.
"""

from __future__ import annotations

from typing import Final

from persistence.tables.admin_audit import admin_audit
from persistence.tables.alerts import alerts, stock_digests
from persistence.tables.approvals import approvals
from persistence.tables.columns import metadata
from persistence.tables.console import console_sessions
from persistence.tables.events import announcements, follower_cursors, journal_archive
from persistence.tables.imports import import_files, import_rows, imports
from persistence.tables.jobs import job_runs
from persistence.tables.journal import flusher_status, journal_cursors, journal_quarantine
from persistence.tables.keys import api_keys, store_secrets
from persistence.tables.ledger import inventory_levels, inventory_transactions, products
from persistence.tables.orders import order_dead_letters
from persistence.tables.reconciliation import drift_repairs, level_corrections, reconciliations
from persistence.tables.recovery import PARTITION_CHANNEL, partition_state
from persistence.tables.reservations import reservation_skus, stock_reservations
from persistence.tables.webhooks import webhook_deliveries, webhooks

LEDGER_CHANNEL: Final = "holdfast_ledger"
"""NOTIFY channel of the flusher's commits; payload `partition:epoch:seq:stream_id`, the last part empty when something
was set aside.
"""

__all__ = [
    "LEDGER_CHANNEL",
    "PARTITION_CHANNEL",
    "admin_audit",
    "alerts",
    "announcements",
    "api_keys",
    "approvals",
    "console_sessions",
    "drift_repairs",
    "flusher_status",
    "follower_cursors",
    "import_files",
    "import_rows",
    "imports",
    "inventory_levels",
    "inventory_transactions",
    "job_runs",
    "journal_archive",
    "journal_cursors",
    "journal_quarantine",
    "level_corrections",
    "metadata",
    "order_dead_letters",
    "partition_state",
    "products",
    "reconciliations",
    "reservation_skus",
    "stock_digests",
    "stock_reservations",
    "store_secrets",
    "webhook_deliveries",
    "webhooks",
]
