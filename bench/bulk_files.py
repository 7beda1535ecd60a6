"""100,000 rows of stock previewed and applied by file, and 100,000 SKUs exported, over HTTP with every process running.

    python -m bench.bulk_files

Compares the import with the least that SQL needs for the same ledger: COPY into a table, one UPDATE of the levels, one
INSERT of the ledger rows, in one transaction; no preview, no live holds, no Redis. The export is compared with COPY
(SELECT ...) TO STDOUT of the same columns, which are a moment old and not protected against formulas. Caveat: two cores
for API, worker, job process, both servers and this client; the wait for the job process's next look is in it.
"""

from __future__ import annotations

import io
import time
from contextlib import ExitStack
from typing import Any, Final

import httpx
import psycopg

from bench.commands import sku_names
from bench.figures import Figure, number
from bench.rounds import Scale, compare, run_alone
from bench.servers import holdfast_api, holdfast_jobs, holdfast_worker, postgres, valkey
from bench.whole_store import admin_client, fill, settle
from engine.commands import Configure
from persistence.database_url import psycopg_url
from persistence.migrate import upgrade
from runtime.embedded_postgres import EmbeddedPostgres

COMMAND = "python -m bench.bulk_files"
ROWS: Final = 100_000
RIVAL: Final = "plain_sql"
TIMEOUT_S: Final = 300.0
PATH: Final = "/inventory/bulk-update"


def measure(scale: Scale) -> list[Figure]:
    """Seconds for an import and for the exports."""
    rows = scale.of(ROWS)
    skus = sku_names(rows)
    imports: list[tuple[float, float]] = []
    previews: list[float] = []
    exports: list[tuple[float, float]] = []
    sheets: list[float] = []
    with ExitStack() as stack:
        redis_server = stack.enter_context(valkey())
        database = stack.enter_context(postgres())
        fill(redis_server.url, database.url, [Configure(sku, 0, 5, True, 100, "admin") for sku in skus])
        settle(database)
        _copy_to_rival(database)
        stack.enter_context(holdfast_worker(redis_server.url, database.url))
        stack.enter_context(holdfast_jobs(redis_server.url, database.url))
        server = stack.enter_context(holdfast_api(redis_server.url, database.url))
        client = stack.enter_context(admin_client(server))
        for turn in range(scale.rounds):
            data = _file(skus, 101 + turn)
            preview, whole = _import(client, data, rows)
            previews.append(preview)
            imports.append((whole, _plain_sql(database, data, rows)))
            csv, sheet = _export(client, "csv", rows), _export(client, "xlsx", rows)
            exports.append((csv, _plain_copy(database, rows)))
            sheets.append(sheet)
    return [
        _figure(
            f"import of {rows:,} rows: preview and apply",
            imports,
            "COPY, UPDATE and INSERT in one transaction",
            60.0,
            f"until the preview {number(sorted(previews)[len(previews) // 2])} s",
        ),
        _figure(
            f"export of {rows:,} SKUs as CSV",
            exports,
            "COPY (SELECT ...) TO STDOUT",
            None,
            f"as XLSX {number(sorted(sheets)[len(sheets) // 2])} s",
        ),
    ]


def _figure(what: str, pairs: list[tuple[float, float]], rival: str, goal: float | None, note: str) -> Figure:
    found = compare(pairs)
    return found.figure(
        what=what,
        rival=rival,
        unit="s",
        comparison="<=" if goal is not None else "",
        goal=goal,
        goal_on="ours",
        note=note,
        command=COMMAND,
    )


def _file(skus: list[str], quantity: int) -> bytes:
    return ("sku,quantity\r\n" + "".join(f"{sku},{quantity}\r\n" for sku in skus)).encode()


def _import(client: httpx.Client, data: bytes, rows: int) -> tuple[float, float]:
    """Seconds until the preview, and until it is applied."""
    began = time.perf_counter()
    answer = client.post(
        PATH,
        files={"file": ("stock.csv", data, "text/csv")},
        data={"mode": "set", "reason": "yearly count"},
        headers={"Prefer": "wait=60"},
    )
    _check(answer)
    seen = _wait(client, answer.json()["id"], "PREVIEW")
    preview = time.perf_counter() - began
    _check(client.post(f"{PATH}/{seen['id']}/apply", headers={"Prefer": "wait=60"}))
    done = _wait(client, seen["id"], "APPLIED")
    if done["transactions"] != rows:
        raise RuntimeError(f"{done['transactions']} ledger rows instead of {rows}")
    return preview, time.perf_counter() - began


def _wait(client: httpx.Client, import_id: str, status: str) -> dict[str, Any]:
    deadline = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline:
        answer = client.get(f"{PATH}/{import_id}")
        _check(answer)
        found: dict[str, Any] = answer.json()
        if found["status"] == status:
            return found
        if found["status"] not in {"PREVIEWING", "PREVIEW", "APPLYING"} or found.get("failure"):
            raise RuntimeError(f"the import ended as {found['status']}: {found.get('failure')}")
        time.sleep(0.05)
    raise RuntimeError(f"the import is not {status} within {TIMEOUT_S:g} s")


def _check(answer: httpx.Response) -> None:
    if answer.status_code >= 300:
        raise RuntimeError(f"{answer.status_code}: {answer.text[:500]}")


def _export(client: httpx.Client, form: str, rows: int) -> float:
    began = time.perf_counter()
    size = lines = 0
    with client.stream("GET", "/inventory/export", params={"format": form}) as answer:
        answer.raise_for_status()
        for part in answer.iter_bytes():
            size += len(part)
            lines += part.count(b"\n")
    took = time.perf_counter() - began
    if (form == "csv" and lines != rows + 1) or size < rows:
        raise RuntimeError(f"an export of {lines} lines and {size} bytes")
    return took


def _copy_to_rival(database: EmbeddedPostgres) -> None:
    """The same levels and products in a database of the rival's own."""
    database.create_database(RIVAL)
    upgrade(database.database_url(RIVAL))
    with (
        psycopg.connect(psycopg_url(database.url)) as source,
        psycopg.connect(psycopg_url(database.database_url(RIVAL))) as target,
    ):
        for table in ("products", "inventory_levels"):
            with (
                source.cursor().copy(f"COPY {table} TO STDOUT".encode()) as reading,
                target.cursor().copy(f"COPY {table} FROM STDIN".encode()) as writing,
            ):
                for part in reading:
                    writing.write(part)
        target.commit()
        target.autocommit = True
        target.execute("VACUUM ANALYZE")


def _plain_sql(database: EmbeddedPostgres, data: bytes, rows: int) -> float:
    began = time.perf_counter()
    with psycopg.connect(psycopg_url(database.database_url(RIVAL))) as connection:
        connection.execute("CREATE TEMP TABLE given (sku text PRIMARY KEY, quantity bigint) ON COMMIT DROP")
        with connection.cursor().copy("COPY given FROM STDIN (FORMAT csv, HEADER)") as copy:
            copy.write(io.BytesIO(data).read())
        made = connection.execute(
            "WITH moved AS (UPDATE inventory_levels l SET on_hand = g.quantity, updated_at = now() FROM given g,"
            " inventory_levels o WHERE l.sku = g.sku AND o.sku = l.sku RETURNING l.sku, o.on_hand AS before, l.on_hand)"
            " INSERT INTO inventory_transactions (seq, line, partition, epoch, sku, quantity, previous_stock,"
            " new_stock, created_at, transaction_type, reference_type, reference_id, created_by, reason)"
            " SELECT extract(epoch FROM now()) * 1000, row_number() OVER (), 0, 1, sku, on_hand - before, before,"
            " on_hand, now(), 'ADJUSTMENT', 'Import', 'import-1', 'key_admin', 'yearly count' FROM moved"
        )
        if made.rowcount != rows:
            raise RuntimeError(f"the rival wrote {made.rowcount} rows")
    return time.perf_counter() - began


def _plain_copy(database: EmbeddedPostgres, rows: int) -> float:
    began = time.perf_counter()
    lines = 0
    with psycopg.connect(psycopg_url(database.url)) as connection:
        query = (
            "COPY (SELECT p.sku, p.name, p.category, l.on_hand, l.reserved,"
            " greatest(0, l.on_hand - l.reserved - p.safety_stock), p.low_stock_threshold, p.status"
            " FROM products p JOIN inventory_levels l ON l.sku = p.sku ORDER BY p.sku) TO STDOUT (FORMAT csv, HEADER)"
        )
        with connection.cursor().copy(query) as copy:
            for part in copy:
                lines += bytes(part).count(b"\n")
    took = time.perf_counter() - began
    if lines != rows + 1:
        raise RuntimeError(f"the rival exported {lines} lines")
    return took


if __name__ == "__main__":
    run_alone(measure, "Import and export by file")
