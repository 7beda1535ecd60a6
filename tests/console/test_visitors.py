"""Who comes and goes: signing in and out, what two roles see, what comes without a reload, keys instead of mice."""

from __future__ import annotations

from collections.abc import Callable

from playwright.sync_api import Page, Route, expect

from tests.console.stocked import Stocked
from tests.console.visitors import COOKIE
from tests.http.running import KEYS


def tab_to(page: Page, selector: str) -> None:
    """Press Tab until this has the focus."""
    for _ in range(120):
        if page.evaluate("selector => document.activeElement?.matches(selector) ?? false", selector):
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"{selector} cannot be reached by Tab")


def test_sign_in_and_out(visit: Callable[..., Page]) -> None:
    page = visit(None, "/console/history?type=IN", expected=("401",))
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    page.get_by_label("API key").fill("hf_a_key_that_nobody_has_been_given")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("not known")
    expect(page.get_by_label("API key")).to_have_value("")

    page.get_by_label("API key").fill(KEYS["auditor"])
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", name="History")).to_be_visible()
    assert page.url.endswith("/console/history?type=IN")
    (cookie,) = [one for one in page.context.cookies() if one["name"] == COOKIE]
    assert cookie["httpOnly"]
    assert cookie["sameSite"] == "Strict"
    assert KEYS["auditor"] not in page.content()

    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    page.go_back()
    page.goto("/console/history")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


def test_a_storefronts_key_is_not_for_people(visit: Callable[..., Page]) -> None:
    page = visit(None, "/console", expected=("403",))
    page.get_by_label("API key").fill(KEYS["storefront"])
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("storefront")


def test_an_auditor_sees_everything_and_no_button(visit: Callable[..., Page], stock: Stocked) -> None:
    sku = stock.product(stock=5, low_stock_threshold=9)
    stock.hold(sku)
    stock.change(sku, "receive", 5000, "more than one person may")
    preview = stock.upload(f"sku,quantity\n{sku},7\n")
    paths = ["stock", f"products/{sku}", "approvals", "imports", f"imports/{preview}", "alerts", "jobs"]
    for role, changes in (("auditor", False), ("admin", True)):
        page = visit(role)
        for path in paths:
            page.goto(f"/console/{path}")
            forms = page.locator('main form[method="post"], main [data-dialog]')
            assert (forms.count() > 0) == (changes and path != "jobs"), (role, path)
        page.goto("/console")
        menu = page.get_by_role("navigation", name="Console")
        assert (menu.get_by_role("link", name="Keys").count() == 1) == changes
        assert (menu.get_by_role("link", name="Webhooks").count() == 1) == changes
    auditor = visit("auditor", expected=("403",))
    answer = auditor.goto("/console/keys")
    assert answer is not None
    assert answer.status == 403


def test_what_happens_is_seen_without_a_reload(visit: Callable[..., Page], stock: Stocked) -> None:
    sku = stock.product(stock=20)
    product = visit("auditor", f"/console/products/{sku}")
    requests = visit("manager", "/console/approvals")
    for page in (product, requests):
        expect(page.locator("[data-connection]")).to_have_attribute("data-connection", "live")
        page.evaluate("window.sameDocument = true")

    stock.hold(sku, 3)
    stock.change(sku, "damage", 2, "fell off the shelf")
    stock.change(sku, "receive", 4000, f"a container for {sku}")
    expect(product.locator(".figures [data-of=reserved]")).to_have_text("3")
    expect(product.locator(".figures [data-of=on_hand]")).to_have_text("18")
    expect(product.locator(".figures [data-of=available]")).to_have_text("15")
    expect(product.locator("#holds tbody tr")).to_have_count(1)
    expect(product.locator("#movements")).to_contain_text("fell off the shelf")
    expect(requests.locator("blockquote", has_text=f"a container for {sku}")).to_be_visible()
    for page in (product, requests):
        assert page.evaluate("window.sameDocument") is True


def test_what_happens_before_a_page_listens_is_not_missed(visit: Callable[..., Page], stock: Stocked) -> None:
    sku = stock.product(stock=20)
    page = visit("auditor")
    held: list[Route] = []

    def hold_the_first(route: Route) -> None:
        if held:
            route.continue_()
        else:
            held.append(route)

    page.route("**/console/live*", hold_the_first)
    with page.expect_request("**/console/live*"):
        page.goto(f"/console/products/{sku}")
    stock.change(sku, "damage", 2, "fell off the shelf")
    expect(page.locator("#movements tbody tr")).to_have_count(1)
    held[0].continue_()
    expect(page.locator("#movements")).to_contain_text("fell off the shelf")


def test_what_somebody_types_is_not_taken_away(visit: Callable[..., Page], stock: Stocked) -> None:
    sku = stock.product(stock=20)
    first = stock.change(sku, "receive", 4000, f"first of {sku}")["approval"]["id"]
    page = visit("manager", "/console/approvals")
    field = page.locator(f"#reason-{first}")
    field.fill("I have seen the delivery note")
    page.locator("h1").click()
    stock.change(sku, "receive", 4000, f"second of {sku}")
    # The list is fetched again, and left as it is.
    with page.expect_response(lambda answer: answer.url.endswith("/console/approvals")):
        stock.change(sku, "damage", 1, "a change that the ledger tells of")
    expect(field).to_have_value("I have seen the delivery note")


def test_a_count_by_keyboard_alone(visit: Callable[..., Page], stock: Stocked) -> None:
    sku = stock.product(stock=20)
    page = visit("operator", "/console/stock")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.matches('.skip')")
    page.keyboard.press("Enter")
    tab_to(page, "#q")
    page.keyboard.type(sku)
    page.keyboard.press("Enter")
    expect(page.locator("#stock-list tbody tr")).to_have_count(1)
    tab_to(page, f'[data-title="{sku}"]')
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.type("17")
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("ArrowRight")
    assert page.locator('input[name="kind"]:checked').input_value() == "count"
    tab_to(page, "#change-reason")
    page.keyboard.type("counted by keyboard")
    page.keyboard.press("Enter")
    expect(page.locator(".toast")).to_contain_text("17")
    expect(page.locator(f'tr[data-sku="{sku}"] [data-of=on_hand]')).to_have_text("17")
    assert stock.on_hand(sku) == 17


def test_the_menu_of_a_phone(visit: Callable[..., Page]) -> None:
    page = visit("auditor", "/console", phone=True)
    menu = page.get_by_role("navigation", name="Console")
    expect(menu).to_be_hidden()
    page.get_by_role("button", name="Menu").click()
    menu.get_by_role("link", name="History").click()
    expect(page.get_by_role("heading", name="History")).to_be_visible()


def test_the_theme_is_remembered(visit: Callable[..., Page]) -> None:
    page = visit("auditor", "/console/jobs")
    light = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.get_by_role("button", name="Light or dark").click()
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert dark != light
    page.goto("/console/history")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == dark
