"""Fixtures of the persistence tests: a Database on this test's own Postgres, and its ledger filled by hand."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from persistence.database import Database
from persistence.database_url import psycopg_url

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    opened = Database(database_url)
    yield opened
    await opened.close()


class LedgerFiller:
    """Appends ledger rows; each moves its SKU on from its last one, a second later than the row before."""

    def __init__(self, database_url: str) -> None:
        self.url = psycopg_url(database_url)
        self.stock: dict[str, int] = {}
        self.seq = 0

    def __call__(
        self,
        sku: str,
        quantity: int,
        kind: str = "IN",
        reference: tuple[str, str] = ("", ""),
        created_by: str = "admin",
        reservation_id: str | None = None,
        seconds: float | None = None,
    ) -> int:
        self.seq += 1
        before = self.stock.get(sku, 0)
        self.stock[sku] = before + quantity
        moment = NOON + timedelta(seconds=self.seq if seconds is None else seconds)
        with psycopg.connect(self.url) as connection:
            connection.execute(
                "INSERT INTO inventory_transactions (seq, quantity, previous_stock, new_stock, created_at, partition,"
                " epoch, line, sku, transaction_type, reference_type, reference_id, reservation_id, created_by, reason)"
                " VALUES (%s, %s, %s, %s, %s, 0, 1, 0, %s, %s, %s, %s, %s, %s, 'why')",
                (
                    self.seq, quantity, before, before + quantity, moment, sku, kind, *reference, reservation_id,
                    created_by,
                ),
            )  # fmt: skip
        return self.seq


@pytest.fixture
def fill(database_url: str) -> LedgerFiller:
    return LedgerFiller(database_url)


@pytest.fixture
def run_sql(database_url: str) -> Callable[..., list[tuple[object, ...]]]:
    def run(statement: str, *arguments: object) -> list[tuple[object, ...]]:
        with psycopg.connect(psycopg_url(database_url), autocommit=True) as connection:
            found = connection.execute(statement, arguments)
            return found.fetchall() if found.description else []

    return run
