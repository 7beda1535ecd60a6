"""History: the ledger with every filter it has, as a page and as a file of what the filter finds.

Owns which fields the filter has; the rows and the files are inventory's.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import Final, get_args
from urllib.parse import urlencode

from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse
from msgspec import Struct

from api.console.access import Reading
from api.console.forms import Form
from api.routes.export import MEDIA_TYPES
from api.routes.ledger import moment
from api.schemas.shop import TransactionKind
from inventory.export_files import LEDGER, csv_header, csv_lines, xlsx_file
from inventory.ledger_export import LedgerRow, ledger_rows
from persistence.queries import transactions
from persistence.queries.api_keys import ApiKeys
from persistence.queries.transactions import TransactionFilter

router = APIRouter(prefix="/console/history", include_in_schema=False)

PAGE: Final = 50
KINDS: Final[tuple[str, ...]] = get_args(TransactionKind)
FIELDS: Final = ("sku", "type", "reference_type", "reference_id", "created_by", "from", "to")
"""Of the filter, named as in `GET /inventory/transactions`."""


class LedgerQuery(Struct, frozen=True):
    """What a page of the history was asked for."""

    filters: TransactionFilter
    given: dict[str, str]
    """Fields that were filled in, as they stood in the address."""

    def link(self, **more: str) -> str:
        """The query of this filter with these fields added or replaced; an empty one is taken away."""
        return urlencode({name: value for name, value in {**self.given, **more}.items() if value})


@router.get("")
async def history(visit: Reading) -> Response:
    """The ledger, newest first. `cursor`: the page behind the one that told it."""
    query = _query(visit.request)
    cursor = visit.request.query_params.get("cursor") or None
    database = visit.services.database
    page = await transactions.page(database, query.filters, PAGE, cursor)
    names = await ApiKeys(database).names(row.created_by for row in page.items)
    return visit.page(
        "history.html",
        "history",
        "History",
        rows=page.items,
        names=names,
        query=query,
        kinds=[("", "any"), *((kind, kind) for kind in KINDS)],
        cursor=cursor,
        next_cursor=page.next_cursor,
    )


@router.get("/export")
async def export(visit: Reading) -> Response:
    """Everything the filter finds, as CSV or XLSX; a failure in the middle cuts the connection."""
    query = _query(visit.request)
    format = "xlsx" if visit.request.query_params.get("format") == "xlsx" else "csv"
    headers = {
        "content-disposition": f'attachment; filename="history-{datetime.now(UTC):%Y-%m-%d}.{format}"',
        "cache-control": "no-store",
    }
    pieces = ledger_rows(visit.services.inventory, query.filters)
    if format == "csv":
        # The first piece before the first byte: while nothing is sent, a Postgres that is away is still an error page.
        first: list[LedgerRow] = await anext(pieces, [])
        return StreamingResponse(_csv(first, pieces), headers=headers, media_type=MEDIA_TYPES["csv"])
    async with AsyncExitStack() as open_file:
        parts = await open_file.enter_async_context(xlsx_file(pieces, LEDGER))
        body = _closing(parts, open_file.pop_all())
    return StreamingResponse(body, headers=headers, media_type=MEDIA_TYPES["xlsx"])


def _query(request: Request) -> LedgerQuery:
    """The filter in the address. Raises `validation-error`."""
    form = Form(dict(request.query_params))
    given = {name: value for name in FIELDS if (value := form.text(name))}
    kind = form.one_of("type", KINDS) if "type" in given else None
    filters = TransactionFilter(
        sku=form.sku() if "sku" in given else None,
        transaction_type=kind,
        reference_type=given.get("reference_type"),
        reference_id=given.get("reference_id"),
        created_by=given.get("created_by"),
        from_time=moment(given.get("from"), "from"),
        to_time=moment(given.get("to"), "to"),
    )
    return LedgerQuery(filters, given)


async def _csv(first: list[LedgerRow], pieces: AsyncIterator[list[LedgerRow]]) -> AsyncIterator[bytes]:
    yield csv_header(LEDGER) + csv_lines(first, LEDGER)
    async for rows in pieces:
        if rows:
            yield csv_lines(rows, LEDGER)


async def _closing(parts: AsyncIterator[bytes], file: AsyncExitStack) -> AsyncIterator[bytes]:
    async with file:
        async for part in parts:
            yield part
