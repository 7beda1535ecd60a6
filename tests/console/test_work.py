"""What people do on the pages of the menu's middle: look back, decide, import, and see to alerts."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from playwright.sync_api import Page, expect
from python_calamine import CalamineWorkbook

from tests.console.stocked import Stocked


def drop(page: Page, name: str, text: str) -> None:
    """Drag a file onto the form."""
    carried = page.evaluate_handle(
        """([name, text]) => {
          const carried = new DataTransfer();
          carried.items.add(new File([text], name, { type: "text/csv" }));
          return carried;
        }""",
        [name, text],
    )
    for event in ("dragenter", "dragover", "drop"):
        page.dispatch_event("[data-file-drop]", event, {"dataTransfer": carried})


def test_history_is_filtered_linked_to_and_exported(visit: Callable[..., Page], stock: Stocked) -> None:
    sku = stock.product(stock=30)
    order = stock.sell(sku, 4)
    stock.change(sku, "damage", 1, '=HYPERLINK("http://evil") wet')
    zone = "America/St_Johns"
    page = visit("auditor", f"/console/history?sku={sku}", zone=zone)
    rows = page.locator("#rows tbody tr")
    expect(rows).to_have_count(3)
    expect(rows.nth(0)).to_contain_text("DAMAGE")
    expect(rows.nth(1)).to_contain_text("\N{MINUS SIGN}4")
    moment = rows.nth(2).locator("time")
    at = datetime.fromisoformat(str(moment.get_attribute("datetime"))).astimezone(ZoneInfo(zone))
    expect(moment).to_have_text(f"{at.day} {at:%b %Y, %H:%M}")

    page.get_by_label("Type", exact=True).select_option("OUT")
    page.get_by_role("button", name="Show").click()
    expect(rows).to_have_count(1)
    rows.get_by_role("link", name=order).click()
    page.wait_for_url(f"**reference_id={order}*")
    expect(rows).to_have_count(1)

    later = (datetime.now(UTC) + timedelta(hours=1)).replace(microsecond=0)
    page.goto(f"/console/history?sku={sku}")
    page.get_by_label("From").fill(later.astimezone(ZoneInfo(zone)).strftime("%Y-%m-%dT%H:%M:%S"))
    page.get_by_role("button", name="Show").click()
    expect(page.locator(".empty-title")).to_have_text("Nothing fits this filter")
    assert f"from={later:%Y-%m-%dT%H}%3A{later:%M}%3A{later:%S}Z" in page.url
    assert page.get_by_label("From").input_value() == later.astimezone(ZoneInfo(zone)).strftime("%Y-%m-%dT%H:%M:%S")
    page.get_by_role("link", name="Clear the filter").click()

    page.goto(f"/console/history?sku={sku}")
    with page.expect_download() as loading:
        page.get_by_role("link", name="Export CSV").click()
    table = list(csv.reader(io.StringIO(Path(loading.value.path()).read_text(encoding="utf-8"))))
    assert table[0][:5] == ["id", "created_at", "sku", "transaction_type", "quantity"]
    assert [(row[2], row[3], row[4]) for row in table[1:]] == [
        (sku, "DAMAGE", "-1"),
        (sku, "OUT", "-4"),
        (sku, "IN", "30"),
    ]
    assert table[1][9] == '\'=HYPERLINK("http://evil") wet'
    with page.expect_download() as loading:
        page.get_by_role("link", name="Export XLSX").click()
    sheet = CalamineWorkbook.from_path(str(loading.value.path())).get_sheet_by_index(0).to_python()
    assert [row[4] for row in sheet[1:]] == [-1, -4, 30]


def test_a_second_person_decides(visit: Callable[..., Page], stock: Stocked) -> None:
    sku = stock.product(stock=10)
    good = stock.change(sku, "receive", 2000, "a container for the winter")["approval"]["id"]
    bad = stock.change(sku, "receive", 9000, "one zero too many")["approval"]["id"]
    own = stock.change(sku, "receive", 3000, "asked for by the manager", "manager")["approval"]["id"]
    page = visit("manager", "/console/approvals")

    card = page.locator("article", has=page.locator(f"#{own}"))
    expect(card).to_contain_text("You asked for this")
    expect(card.get_by_role("button")).to_have_count(0)

    card = page.locator("article", has=page.locator(f"#{bad}"))
    card.get_by_label("Reason").fill("nobody ordered that many")
    card.get_by_role("button", name="Reject").click()
    expect(card).to_have_count(0)
    assert stock.on_hand(sku) == 10

    card = page.locator("article", has=page.locator(f"#{good}"))
    expect(card.locator("tbody td").nth(3)).to_have_text("2,010")
    card.get_by_role("button", name="Approve").click()
    expect(page.locator(".toast")).to_contain_text("Approved")
    expect(card).to_have_count(0)
    assert stock.on_hand(sku) == 2010

    page.get_by_role("link", name="Rejected").click()
    expect(page.locator("article", has=page.locator(f"#{bad}"))).to_contain_text("nobody ordered that many")


def test_a_file_is_dropped_looked_at_applied_and_taken_back(visit: Callable[..., Page], stock: Stocked) -> None:
    more, less, same = (stock.product(stock=20) for _ in range(3))
    page = visit("operator", "/console/imports", expected=("422",))
    button = page.get_by_role("button", name="Show what it would change")

    drop(page, "wrong.csv", "article,number\nA,1\n")
    page.get_by_label("Reason").fill("monthly count")
    button.click()
    page.wait_for_url("**/console/imports/imp_*")
    expect(page.locator(".tag").first).to_have_text("has mistakes")
    expect(page.get_by_role("button", name="Apply")).to_have_count(0)

    page.goto("/console/imports")
    drop(page, "count.csv", f"sku,quantity,note\n{more},25,found behind the door\n{less},18,\n{same},20,\n")
    expect(page.locator("[data-file-name]")).to_contain_text("count.csv")
    page.get_by_label("Reason").fill("monthly count")
    button.click()
    page.wait_for_url("**/console/imports/imp_*")
    rows = page.locator("table.diff tbody tr")
    expect(rows).to_have_count(2)
    expect(rows.nth(0)).to_contain_text("+5")
    expect(rows.nth(0)).to_contain_text("found behind the door")
    expect(rows.nth(1)).to_contain_text("\N{MINUS SIGN}2")
    assert stock.on_hand(more) == 20

    page.get_by_role("button", name="Apply 2 changes").click()
    expect(page.locator(".toast")).to_contain_text("2 rows changed the stock")
    expect(page.locator("#import .tag").first).to_have_text("applied")
    assert (stock.on_hand(more), stock.on_hand(less), stock.on_hand(same)) == (25, 18, 20)

    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Revert").click()
    expect(page.locator("#import .tag").first).to_have_text("reverted")
    assert (stock.on_hand(more), stock.on_hand(less), stock.on_hand(same)) == (20, 20, 20)


def test_what_moved_since_the_preview_is_said_and_can_be_overruled(visit: Callable[..., Page], stock: Stocked) -> None:
    sku = stock.product(stock=20)
    preview = stock.upload(f"sku,quantity\n{sku},25\n")
    stock.change(sku, "receive", 3, "came in meanwhile")
    page = visit("operator", f"/console/imports/{preview}", expected=("409",))
    page.get_by_role("button", name="Apply 1 change").click()
    expect(page.locator(".toast")).to_contain_text("changed since the preview")
    page.reload()
    expect(page.locator(".notice-box")).to_contain_text("now there are 23")
    assert stock.on_hand(sku) == 23
    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Apply all the same").click()
    expect(page.locator("#import .tag").first).to_have_text("applied")
    assert stock.on_hand(sku) == 25


def test_no_file_without_a_word_why(visit: Callable[..., Page], stock: Stocked) -> None:
    sku = stock.product(stock=20)
    page = visit("operator", "/console/imports", expected=("422",))
    drop(page, "count.csv", f"sku,quantity\n{sku},25\n")
    page.get_by_label("Reason").fill("  x ")
    page.get_by_role("button", name="Show what it would change").click()
    expect(page.locator(".form-error")).to_contain_text("Reason")
    page.get_by_label("Reason").fill("a better one")
    page.get_by_role("button", name="Show what it would change").click()
    page.wait_for_url("**/console/imports/imp_*")


def test_an_alert_is_resolved_and_a_threshold_set(visit: Callable[..., Page], stock: Stocked) -> None:
    sku = stock.product(stock=8)
    page = visit("operator", f"/console/alerts?sku={sku}")
    page.locator("summary").click() if not page.locator("details[open]").count() else None
    page.get_by_label("SKU").fill(sku)
    page.get_by_label("Low below, units").fill("10")
    page.get_by_role("button", name="Set").click()
    expect(page.locator(".toast")).to_contain_text("low below 10")
    row = page.locator("#alerts tbody tr", has_text=sku)
    expect(row).to_contain_text("Low")
    expect(row).to_contain_text("10")
    row.get_by_role("button", name=f"Resolve the alert of {sku}").click()
    expect(row).to_contain_text("resolved by operator")
    expect(row.get_by_role("button")).to_have_count(0)
