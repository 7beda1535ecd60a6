"""The story that the console is for: somebody who has never seen it does a day's work, from the console alone."""

from __future__ import annotations

from collections.abc import Callable

from playwright.sync_api import Page, expect

from tests.console.stocked import Stocked
from tests.console.test_work import drop
from tests.http.running import KEYS


def test_a_clerks_first_day(visit: Callable[..., Page], stock: Stocked) -> None:
    page = visit(None, "/console")
    page.get_by_label("API key").fill(KEYS["operator"])
    page.get_by_role("button", name="Sign in").click()
    menu = page.get_by_role("navigation", name="Console")

    # Something new is sold from today on.
    menu.get_by_role("link", name="Stock").click()
    page.get_by_role("link", name="New product").first.click()
    sku = stock.sku("LAMP")
    page.get_by_label("SKU").fill(sku)
    page.get_by_label("Name").fill("Desk lamp, green")
    page.get_by_role("button", name="Make the product").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Desk lamp, green")

    # A delivery comes in.
    on_hand = page.locator(".figures [data-of=on_hand]")
    form = page.locator("#change-form")
    form.get_by_label("Units").fill("40")
    form.get_by_label("Reference").fill("delivery note 4711")
    form.get_by_label("Reason").fill("first delivery")
    form.get_by_role("button", name="Book it").click()
    expect(page.locator(".toast")).to_contain_text("40")
    expect(on_hand).to_have_text("40")
    expect(page.locator("#movements")).to_contain_text("first delivery")

    # A colleague asks how many lamps there are.
    menu.get_by_role("link", name="Stock").click()
    page.get_by_role("searchbox", name="Search").fill(sku.lower())
    page.keyboard.press("Enter")
    row = page.locator(f'tr[data-sku="{sku}"]')
    expect(row.locator("[data-of=available]")).to_have_text("40")

    # On the shelf there are two less.
    row.get_by_role("link", name=f"Change the stock of {sku}").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("radio", name="Count").check()
    dialog.get_by_label("Units").fill("38")
    dialog.get_by_label("Reason").fill("counted twice")
    dialog.get_by_role("button", name="Book it").click()
    expect(row.locator("[data-of=on_hand]")).to_have_text("38")

    # The warehouse sends its list of what came in over night.
    menu.get_by_role("link", name="Imports").click()
    drop(page, "night.csv", f"sku,quantity,note\n{sku},12,dock 3\n")
    page.get_by_label("What came or went").check()
    page.get_by_label("Reason").fill("night shift")
    page.get_by_role("button", name="Show what it would change").click()
    expect(page.locator("table.diff tbody tr")).to_contain_text("50")
    page.get_by_role("button", name="Apply 1 change").click()
    expect(page.locator("#import .tag").first).to_have_text("applied")
    assert stock.on_hand(sku) == 50

    # The lamp is in the newsletter: holds, sales, and those who came too late.
    menu.get_by_role("link", name="Flash sale").click()
    page.get_by_label("SKU").fill(sku)
    page.get_by_role("button", name="Watch it sell").click()
    sold = page.locator('[data-value-of="sold"]')
    expect(sold).to_have_text("0")
    for _ in range(4):
        stock.sell(sku, 10)
    stock.hold(sku, 7)
    late = stock.as_("storefront").post("/inventory/reserve", json={"customer_id": "late", "sku": sku, "quantity": 5})
    assert late.status_code == 409
    expect(sold).to_have_text("40")
    expect(page.locator(".figures [data-of=reserved]")).to_have_text("7")
    expect(page.locator(".figures [data-of=available]")).to_have_text("3")
    expect(page.locator('[data-value-of="lost"]')).to_have_text("5")
    expect(page.locator("#through svg")).to_be_visible()

    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
