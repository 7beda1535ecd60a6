"""The tables: up, down, up; many callers at once; the migration makes exactly what persistence/tables.py says."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from sqlalchemy import create_engine

from persistence.database_url import psycopg_url, sqlalchemy_url
from persistence.migrate import current_revision, downgrade, head_revision, upgrade
from persistence.tables import metadata

SHAPE = {
    "columns": """
        SELECT table_name, column_name, data_type, collation_name, is_nullable, column_default, is_identity
        FROM information_schema.columns WHERE table_schema = 'public' AND table_name <> 'alembic_version'
        ORDER BY 1, ordinal_position""",
    "indexes": """
        SELECT indexname, indexdef FROM pg_indexes
        WHERE schemaname = 'public' AND tablename <> 'alembic_version' ORDER BY 1""",
    "constraints": """
        SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint
        WHERE connamespace = 'public'::regnamespace AND conrelid::regclass::text <> 'alembic_version' ORDER BY 1, 2""",
    "storage": """
        SELECT relname, reloptions FROM pg_class
        WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND relname <> 'alembic_version' ORDER BY 1""",
}


def shape(url: str) -> dict[str, list[tuple[object, ...]]]:
    with psycopg.connect(psycopg_url(url)) as connection:
        return {name: connection.execute(query).fetchall() for name, query in SHAPE.items()}


def test_up_down_up(empty_database_url: str) -> None:
    assert current_revision(empty_database_url) is None
    upgrade(empty_database_url)
    first = shape(empty_database_url)
    assert current_revision(empty_database_url) == head_revision()
    downgrade(empty_database_url)
    assert shape(empty_database_url)["columns"] == []
    upgrade(empty_database_url)
    upgrade(empty_database_url)
    assert shape(empty_database_url) == first


def test_the_migration_makes_what_the_metadata_says(database_url: str, empty_database_url: str) -> None:
    engine = create_engine(sqlalchemy_url(empty_database_url))
    metadata.create_all(engine)
    engine.dispose()
    migrated, described = shape(database_url), shape(empty_database_url)
    for part in SHAPE:
        assert migrated[part] == described[part], part


def test_callers_at_the_same_time_are_put_in_line(empty_database_url: str) -> None:
    with ThreadPoolExecutor(6) as callers:
        list(callers.map(upgrade, [empty_database_url] * 6))
    assert current_revision(empty_database_url) == head_revision()


def test_partition_0_has_its_cursor(database_url: str) -> None:
    with psycopg.connect(psycopg_url(database_url)) as connection:
        rows = connection.execute("SELECT partition, partitions, epoch, seq, stream_id FROM journal_cursors").fetchall()
    assert rows == [(0, 1, 1, 0, "0-0")]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE inventory_transactions SET reason = 'x'",
        "DELETE FROM inventory_transactions",
        "TRUNCATE inventory_transactions",
        "UPDATE inventory_transactions SET quantity = 0 WHERE false",
    ],
)
def test_the_ledger_is_append_only(database_url: str, statement: str) -> None:
    with psycopg.connect(psycopg_url(database_url)) as connection:
        connection.execute(
            """INSERT INTO inventory_transactions (seq, quantity, previous_stock, new_stock, created_at, partition,
               epoch, line, sku, transaction_type, reference_type, reference_id, created_by)
               VALUES (1, 5, 0, 5, now(), 0, 1, 0, 'A', 'IN', '', '', 'admin')"""
        )
        connection.commit()
        with pytest.raises(psycopg.errors.RestrictViolation, match="append-only"):
            connection.execute(statement)


@pytest.mark.parametrize(("quantity", "previous", "new"), [(1, 5, 7), (-6, 5, -1), (0, 1, 2)])
def test_a_row_that_does_not_add_up_is_refused(database_url: str, quantity: int, previous: int, new: int) -> None:
    with (
        psycopg.connect(psycopg_url(database_url)) as connection,
        pytest.raises(psycopg.errors.CheckViolation),
    ):
        connection.execute(
            """INSERT INTO inventory_transactions (seq, quantity, previous_stock, new_stock, created_at, partition,
               epoch, line, sku, transaction_type, reference_type, reference_id, created_by)
               VALUES (1, %s, %s, %s, now(), 0, 1, 0, 'A', 'IN', '', '', 'admin')""",
            (quantity, previous, new),
        )


def test_another_kind_of_url_is_refused_without_showing_it() -> None:
    with pytest.raises(ValueError, match="postgresql://") as caught:
        upgrade("mysql://someone:secret@host/db")
    assert "secret" not in str(caught.value)
