"""The overview as it is looked at: what moves while nobody touches it."""

from __future__ import annotations

from collections.abc import Callable

from playwright.sync_api import Page, expect

from tests.console.stocked import Stocked


def test_whoever_is_turned_away_shows_though_nothing_is_sold(visit: Callable[..., Page], stock: Stocked) -> None:
    """Behind the last unit of a sale no event of the ledger tells the page that there is something new."""
    sku = stock.product(stock=1)
    stock.hold(sku)
    page = visit("auditor", "/console")
    row = page.locator("#lost tr", has=page.get_by_role("link", name=sku))
    expect(row).to_have_count(0)
    for _ in range(3):
        late = {"customer_id": "late", "sku": sku, "quantity": 900_000}
        assert stock.as_("storefront").post("/inventory/reserve", json=late).status_code == 409
    expect(row.locator("td")).to_have_text(["3", "2,700,000"])
