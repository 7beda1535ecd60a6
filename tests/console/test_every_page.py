"""Every page of the console: it comes, in light, in dark and on a phone, and axe finds nothing grave in it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from api.console.navigation import NAVIGATION
from api.console.pages import PAGES
from tests.console.accessibility import grave_findings
from tests.console.stocked import Stocked
from tests.console.visitors import DESK, PHONE

PATHS = [
    "/console",
    "/console/stock",
    "/console/products/{sku}",
    "/console/new-product",
    "/console/catalogue",
    "/console/flash-sale",
    "/console/flash-sale?sku={sku}",
    "/console/history",
    "/console/approvals",
    "/console/imports",
    "/console/imports/{import_id}",
    "/console/imports/{import_id}?mistakes",
    "/console/alerts",
    "/console/reconciliation",
    "/console/reconciliation?check=now",
    "/console/webhooks",
    "/console/webhooks/{webhook_id}",
    "/console/keys",
    "/console/jobs",
    "/console/jobs/{job}",
    "/console/sign-in",
]
NO_PAGES = {
    "/",
    "/console/live",
    "/console/session",
    "/console/flash-sale/course",
    "/console/history/export",
    "/console/imports/{import_id}/progress",
}
"""What leads on, is read by scripts, or is a file."""


@pytest.fixture(scope="module")
def furnished(stock: Stocked) -> dict[str, str]:
    """Something on every page."""
    sku = stock.product(stock.sku("MUG"), stock=40, name="A mug with a name that goes on", low_stock_threshold=50)
    stock.sell(sku, 3)
    stock.hold(sku, 5)
    stock.change(sku, "receive", 2500, "a container from the port")
    good = stock.upload(f"sku,quantity,note\n{sku},60,counted twice\n")
    bad = stock.upload(f"sku,quantity\n{sku},many\n=EVIL,4\n", name="mistakes <b>&.csv")
    admin = stock.as_("admin")
    webhook = admin.post("/admin/webhooks", json={"url": "http://127.0.0.1:8099/hook", "events": ["stock.*"]}).json()
    admin.post(f"/admin/webhooks/{webhook['id']}/test")
    return {"sku": sku, "import_id": good, "bad": bad, "webhook_id": webhook["id"], "job": "reconciliation"}


@pytest.mark.parametrize("path", PATHS)
def test_a_page_is_good_to_look_at_for_everybody(
    path: str, visit: Callable[..., Page], furnished: dict[str, str]
) -> None:
    where = path.format_map({**furnished, "import_id": furnished["bad" if "mistakes" in path else "import_id"]})
    page = visit(None if path.endswith("sign-in") else "admin")
    answer = page.goto(where)
    assert answer is not None
    assert answer.status == 200
    expect(page.locator("h1")).to_have_count(1)
    findings = grave_findings(page)
    page.emulate_media(color_scheme="dark")
    findings += [f"dark: {one}" for one in grave_findings(page)]
    page.set_viewport_size(PHONE)
    too_wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    page.set_viewport_size(DESK)
    assert not findings, "\n".join(findings)
    assert too_wide == 0, f"{too_wide} px to scroll sideways on a phone"


def test_no_page_is_left_out() -> None:
    looked_at = {path.partition("?")[0] for path in PATHS} | NO_PAGES
    served = {
        route.path
        for module in PAGES
        for route in module.router.routes
        if "GET" in (getattr(route, "methods", None) or ())
    }
    assert served == looked_at
    assert {place.path for _, places in NAVIGATION for place in places} <= looked_at


def test_a_page_that_is_not_there(visit: Callable[..., Page]) -> None:
    page = visit("auditor", expected=("404",))
    answer = page.goto("/console/nowhere")
    assert answer is not None
    assert answer.status == 404
    expect(page.get_by_role("link", name="To the overview")).to_be_visible()
    assert grave_findings(page) == []
