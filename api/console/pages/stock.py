"""The list of products with their stock: searched, filtered, sorted; and the form that changes it on the spot."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, get_args
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Response

from api.console.access import Reading, StockForm
from api.console.rendering import number, signed, url_part
from api.hot.decode import check_sku
from api.requests import Cursor, TextFilter, check_filter
from engine.limits import MAX_ON_HAND, MAX_QUANTITY
from inventory.adjustments import ChangeKind
from inventory.stock_changes import StockChange, change_stock
from persistence.queries import stock_search
from persistence.queries.approvals import Approval
from persistence.queries.products import ProductStatus
from persistence.queries.stock_search import StockFilter, StockOrder, StockState

router = APIRouter(prefix="/console", include_in_schema=False)

ROWS: Final = 50
KINDS: Final = (
    ("receive", "Receive", "Units arrived and go onto the shelf."),
    ("count", "Count", "The shelf was counted: on hand becomes this number."),
    ("damage", "Damage", "Units are broken and written off."),
    ("remove", "Remove", "Units leave for another reason."),
    ("return", "Return", "Units came back from an order; name the order as reference."),
)
"""What can be done to stock by hand: kind, its name, what it means."""
_DONE: Final[dict[str, str]] = {
    "receive": "Received",
    "count": "Counted",
    "damage": "Written off",
    "remove": "Removed",
    "return": "Taken back",
}


def given(value: str | None) -> str | None:
    """A filter as a form sends it: an empty field is no filter."""
    return value or None


@router.get("/stock")
async def stock_page(  # noqa: PLR0917
    visit: Reading,
    q: Annotated[str | None, Query(max_length=255)] = None,
    category: TextFilter = None,
    status: Literal["", "active", "inactive"] | None = None,
    state: Literal["", "in", "low", "out"] | None = None,
    sort: Annotated[str, Query(pattern="^-?(sku|name|available|on_hand|reserved)$")] = "sku",
    cursor: Cursor = None,
) -> Response:
    """Fifty products a page, with the counters of this moment."""
    order: StockOrder = sort.removeprefix("-")  # type: ignore[assignment]
    wanted_status: ProductStatus | None = status or None
    wanted_state: StockState | None = state or None
    filters = StockFilter(
        q=check_filter(given(q.strip() if q else None), "q"),
        category=check_filter(given(category), "category"),
        status=wanted_status,
        state=wanted_state,
        order=order,
        descending=sort.startswith("-"),
    )
    services = visit.services
    page = await stock_search.page(services.database, filters, ROWS, cursor)
    levels = {level.sku: level for level in await services.engine.stock_levels([row.sku for row in page.items])}
    kept = {"q": filters.q, "category": filters.category, "status": wanted_status, "state": wanted_state}
    query = {name: value for name, value in kept.items() if value}
    return visit.page(
        "stock.html",
        "stock",
        "Stock",
        rows=page.items,
        levels=levels,
        filters=filters,
        sort=sort,
        categories=await stock_search.categories(services.database),
        sorted_by=_sorting(query, sort),
        query=urlencode({**query, "sort": sort} if sort != "sku" else query),
        filtered=bool(query),
        next_cursor=page.next_cursor,
        first=cursor is None,
        kinds=KINDS,
    )


@router.post("/products/{sku}/change")
async def change(sku: str, posted: StockForm) -> Response:
    """Receive, count, damage, remove or return: one ledger row, or a request for approval."""
    check_sku(sku, "sku")
    form = posted.form
    kind: ChangeKind = form.one_of("kind", get_args(ChangeKind))  # type: ignore[assignment]
    most = MAX_ON_HAND if kind == "count" else MAX_QUANTITY
    made = await change_stock(
        posted.services.inventory,
        StockChange(
            kind=kind,
            lines=((sku, form.number("quantity", least=0 if kind == "count" else 1, most=most)),),
            reason=form.reason(),
            actor=posted.viewer.caller.id,
            reference=form.needed("reference") if kind == "return" else form.text("reference"),
            idempotency_key=form.once(),
        ),
    )
    back = f"/console/products/{url_part(sku)}"
    if isinstance(made, Approval):
        return posted.go(back, f"{number(made.units)} units are many: the change waits for a second person's approval.")
    row = made[0]
    moved = f"{number(row.previous_stock)} \N{RIGHTWARDS ARROW} {number(row.new_stock)}"
    return posted.go(back, f"{_DONE[kind]}: {sku} {signed(row.quantity)}, on hand {moved}.")


def _sorting(query: dict[str, str], sort: str) -> dict[str, Any]:
    """For each column that sorts: where its heading leads, and what screen readers are told."""
    found = {}
    for column in get_args(StockOrder):
        # Numbers are looked at from either end; the first press shows what is most urgent.
        first, second = (f"-{column}", column) if column in {"on_hand", "reserved"} else (column, f"-{column}")
        to = second if sort == first else first
        now = {column: "ascending", f"-{column}": "descending"}.get(sort, "")
        found[column] = {"href": "?" + urlencode({**query, "sort": to}), "now": now}
    return found
