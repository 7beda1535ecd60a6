"""The ledger and the archived journal of a Postgres database, as the account takes them.

Owns the two queries; never judges.
"""

from __future__ import annotations

import psycopg

from engine.events import Entry, decode_entry
from persistence.database_url import psycopg_url
from tests.checkers.accounting import LedgerRow


def ledger_rows(database_url: str) -> list[LedgerRow]:
    """The whole ledger, in the order of its ids."""
    query = "SELECT epoch, seq, line, sku, quantity, previous_stock, new_stock FROM inventory_transactions ORDER BY id"
    with psycopg.connect(psycopg_url(database_url)) as connection:
        return [LedgerRow(*row) for row in connection.execute(query)]


def archived_entries(database_url: str) -> list[Entry]:
    """What the flusher has passed, oldest first."""
    query = "SELECT body FROM journal_archive ORDER BY epoch, last_seq"
    with psycopg.connect(psycopg_url(database_url)) as connection:
        return [decode_entry(bytes(body)) for (body,) in connection.execute(query)]


def flushed_seq(database_url: str) -> int:
    """How far the ledger has followed; 0 before its first flush."""
    with psycopg.connect(psycopg_url(database_url)) as connection:
        found = connection.execute("SELECT seq FROM journal_cursors").fetchone()
    return int(found[0]) if found else 0
