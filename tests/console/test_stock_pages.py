"""Overview, stock, one product, flash sale: what they show and what their forms do, with plain forms and no script."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from typing import Any

import httpx
import msgspec
import pytest

from api.console.live import Tick
from api.services import ApiSettings
from tests.console.form_client import FormClient
from tests.console.stocked import Stocked
from tests.console.worked_service import WorkedService
from tests.http.running import KEYS, RunningService


@pytest.fixture
def shop(service: WorkedService) -> Iterator[Stocked]:
    shop = Stocked(service.address("protocol"), KEYS)
    yield shop
    shop.close()


@pytest.fixture
def admin(service: WorkedService) -> Iterator[FormClient]:
    with FormClient(service.address("protocol"), "admin") as client:
        yield client


@pytest.fixture
def operator(service: WorkedService) -> Iterator[FormClient]:
    with FormClient(service.address("protocol"), "operator") as client:
        yield client


def level(service: WorkedService, sku: str) -> tuple[int, int]:
    (found,) = service.run(lambda: service.services.engine.stock_levels([sku]))
    return found.on_hand, found.reserved


def ledger(shop: Stocked, sku: str) -> list[dict[str, Any]]:
    return shop.as_("auditor").get(f"/inventory/transactions/{sku}").json()["items"]  # type: ignore[no-any-return]


def after(client: FormClient, answer: httpx.Response) -> str:
    """The page that a form led to."""
    assert answer.status_code == 303, answer.text
    return client.get(answer.headers["location"]).text


def skus_of(page: str) -> list[str]:
    return re.findall(r'<tr data-sku="([^"]+)"', page)


@pytest.mark.parametrize(
    ("kind", "quantity", "on_hand", "row"),
    [
        ("receive", 7, 27, ("IN", 7)),
        ("count", 18, 18, ("ADJUSTMENT", -2)),
        ("damage", 3, 17, ("DAMAGE", -3)),
        ("remove", 4, 16, ("ADJUSTMENT", -4)),
        ("return", 2, 22, ("RETURN", 2)),
    ],
)
def test_stock_is_changed_by_hand(
    service: WorkedService, shop: Stocked, operator: FormClient, kind: str, quantity: int, on_hand: int, row: Any
) -> None:
    sku = shop.product(stock=20)
    page = f"/console/products/{sku}"
    fields = {"kind": kind, "quantity": str(quantity), "reason": "as found on the shelf", "reference": "note-1"}
    told = after(operator, operator.post(f"{page}/change", page, **fields))
    assert f"on hand 20 → {on_hand}" in told
    assert level(service, sku) == (on_hand, 0)
    newest = ledger(shop, sku)[0]
    assert (newest["transaction_type"], newest["quantity"], newest["created_by"]) == (*row, "operator")
    assert newest["reason"] == "as found on the shelf"


def test_a_form_that_is_sent_twice_is_one_change(service: WorkedService, shop: Stocked, operator: FormClient) -> None:
    sku = shop.product(stock=20)
    fields = {**operator.secrets(f"/console/products/{sku}"), "kind": "receive", "quantity": "5", "reason": "delivery"}
    assert fields["once"]
    answers = [operator.http.post(f"/console/products/{sku}/change", data=fields) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [303] * 3
    assert level(service, sku) == (25, 0)
    # The same form with something else in it is refused, not taken for the first.
    answer = operator.http.post(f"/console/products/{sku}/change", data={**fields, "quantity": "6"})
    assert answer.status_code == 422
    assert level(service, sku) == (25, 0)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"quantity": "0"}, "Quantity: a whole number from 1"),
        ({"quantity": "-1"}, "Quantity: a whole number"),
        ({"quantity": "1.5"}, "Quantity: a whole number"),
        ({"quantity": "1e3"}, "Quantity: a whole number"),
        ({"quantity": "\u0661"}, "Quantity: a whole number"),
        ({"quantity": "9" * 30}, "Quantity: a whole number"),
        ({"quantity": ""}, "Quantity: a whole number"),
        ({"reason": ""}, "Reason: at least 3"),
        ({"reason": "  a  "}, "Reason: at least 3"),
        ({"reason": "x" * 501}, "Reason: at most 500"),
        ({"reason": "bad \x00 byte"}, "Reason: control characters"),
        ({"kind": "explode"}, "Kind: one of receive"),
        ({"kind": "return", "reference": ""}, "Reference: must not be empty"),
        ({"kind": "remove", "quantity": "21"}, "Not enough stock"),
    ],
    ids=str,
)
def test_what_cannot_be_done_is_said_and_not_done(
    service: WorkedService, shop: Stocked, operator: FormClient, fields: dict[str, str], said: str
) -> None:
    sku = shop.product(stock=20)
    good = {"kind": "receive", "quantity": "5", "reason": "delivery"}
    for inline in (True, False):
        answer = operator.post(f"/console/products/{sku}/change", inline=inline, **{**good, **fields})
        assert answer.status_code in {409, 422}
        text = answer.json()["detail"] if inline else answer.text
        assert said in text
    assert level(service, sku) == (20, 0)
    assert len(ledger(shop, sku)) == 1


def test_a_large_change_waits_for_a_second_person(service: WorkedService, shop: Stocked, operator: FormClient) -> None:
    sku = shop.product(stock=20)
    answer = operator.post(
        f"/console/products/{sku}/change", inline=True, kind="receive", quantity="1001", reason="a container"
    )
    assert "second person" in answer.json()["message"]
    assert level(service, sku) == (20, 0)


def test_an_auditor_changes_nothing(service: WorkedService, shop: Stocked) -> None:
    sku = shop.product(stock=20)
    hold = shop.hold(sku, 2)
    with FormClient(service.address("protocol"), "auditor") as auditor:
        page = auditor.get(f"/console/products/{sku}").text
        assert "/change" not in page
        assert "/release" not in page
        assert 'data-dialog="change-dialog"' not in auditor.get("/console/stock").text
        for path, fields in (
            (f"/console/products/{sku}/change", {"kind": "receive", "quantity": "5", "reason": "delivery"}),
            (f"/console/products/{sku}", {"name": "Other"}),
            ("/console/new-product", {"sku": shop.sku(), "name": "Other"}),
            (f"/console/products/{sku}/holds/{hold}/release", {}),
        ):
            assert auditor.post(path, **fields).status_code == 403
    assert level(service, sku) == (20, 2)


def test_a_product_is_made_and_changed(service: WorkedService, shop: Stocked, operator: FormClient) -> None:
    sku = shop.sku()
    fields = {"sku": sku, "name": "Lamp <b>", "category": "Light", "low_stock_threshold": "5", "safety_stock": "2"}
    told = after(operator, operator.post("/console/new-product", **fields, initial_stock="30"))
    assert f"{sku} is in the catalogue" in told
    assert "Lamp &lt;b&gt;" in told
    assert "<b>" not in told
    assert level(service, sku) == (30, 0)
    told = after(operator, operator.post("/console/new-product", **fields, initial_stock="99"))
    assert "was there already" in told
    assert level(service, sku) == (30, 0)
    after(operator, operator.post(f"/console/products/{sku}", name="Lamp", safety_stock="4", status="inactive"))
    product = shop.as_("auditor").get(f"/inventory/products/{sku}").json()
    assert (product["name"], product["category"], product["safety_stock"]) == ("Lamp", None, 4)
    assert product["status"] == "inactive"
    assert "Not sold" in operator.get(f"/console/products/{sku}").text
    assert operator.post("/console/new-product", sku="a/b", name="x").status_code == 422
    assert operator.get(f"/console/products/{shop.sku()}").status_code == 404


def test_skus_of_every_form_lead_to_their_page(service: WorkedService, shop: Stocked, operator: FormClient) -> None:
    sku = f"{shop.sku()}:B c_d.e"
    page = after(operator, operator.post("/console/new-product", sku=sku, name="Odd & ends"))
    (action,) = set(re.findall(r'action="(/console/products/[^"]+/change)"', page))
    after(operator, operator.post(action, kind="receive", quantity="3", reason="delivery"))
    assert level(service, sku) == (3, 0)
    listed = operator.get("/console/stock", params={"q": sku}).text
    assert skus_of(listed) == [sku]
    assert operator.get("/console/flash-sale", params={"sku": sku}).status_code == 200


def test_the_list_is_searched_filtered_sorted_and_paged(shop: Stocked, admin: FormClient) -> None:
    mark = shop.sku("Q")
    made = [
        shop.product(f"{mark}-{n:02}", stock=stock, name=f"{'Blue' if n % 2 else 'Red'} thing_{n}%", category=mark)
        for n, stock in enumerate((5, 0, 60, 9, 30))
    ]
    shop.product(made[0], low_stock_threshold=10)
    shop.hold(made[2], 12)

    def listed(query: str) -> list[str]:
        answer = admin.get(f"/console/stock?{query}")
        assert answer.status_code == 200, answer.text
        return [sku[-2:] for sku in skus_of(answer.text)]

    assert listed(f"q={mark.lower()}") == ["00", "01", "02", "03", "04"]
    assert listed(f"q=bLUe&category={mark}") == ["01", "03"]
    assert listed(f"q=thing_2%25&category={mark}") == ["02"]
    assert listed(f"q=thing%25&category={mark}") == []
    assert listed(f"category={mark}&sort=-sku") == ["04", "03", "02", "01", "00"]
    assert listed(f"category={mark}&sort=name") == ["01", "03", "00", "02", "04"]
    assert listed(f"category={mark}&sort=-on_hand") == ["02", "04", "03", "00", "01"]
    assert listed(f"category={mark}&sort=available") == ["01", "00", "03", "04", "02"]
    assert listed(f"category={mark}&sort=-reserved")[0] == "02"
    assert listed(f"category={mark}&state=out") == ["01"]
    assert listed(f"category={mark}&state=low") == ["00"]
    assert listed(f"category={mark}&state=in&sort=on_hand") == ["00", "03", "04", "02"]
    assert "Nothing found" in admin.get(f"/console/stock?q={mark}nowhere").text
    for bad in ("sort=price", "state=gone", "cursor=zzz", "q=%00"):
        assert admin.get(f"/console/stock?{bad}").status_code in {400, 422}


@pytest.mark.parametrize("sort", ["sku", "-sku", "name", "-name", "on_hand", "-available"])
def test_pages_of_the_list_leave_nothing_out(
    shop: Stocked, admin: FormClient, monkeypatch: pytest.MonkeyPatch, sort: str
) -> None:
    monkeypatch.setattr("api.console.pages.stock.ROWS", 3)
    mark = shop.sku("P")
    made = {shop.product(f"{mark}-{n}", stock=n % 3, name=f"Name {n % 2}", category=mark) for n in range(8)}
    seen: list[str] = []
    path: str | None = f"/console/stock?category={mark}&sort={sort}"
    while path:
        page = admin.get(path).text
        seen += skus_of(page)
        following = re.search(r'rel="next" href="([^"]+)"', page)
        path = following.group(1).replace("&amp;", "&") if following else None
    assert sorted(seen) == sorted(made)


def test_a_hold_is_released_by_hand(service: WorkedService, shop: Stocked, admin: FormClient) -> None:
    sku = shop.product(stock=20)
    hold = shop.hold(sku, 3, customer_id="ann of the counter")
    service.run(service.services.inventory.caught_up)
    page = admin.get(f"/console/products/{sku}").text
    assert "ann of the counter" in page
    path = f"/console/products/{sku}/holds/{hold}/release"
    assert path in page
    # A refusal that had done it all the same would be a lie.
    assert admin.post(f"/console/products/no%7Bsku/holds/{hold}/release").status_code == 422
    assert level(service, sku) == (20, 3)
    told = after(admin, admin.post(path))
    assert "The hold of ann of the counter was released" in told
    assert path not in told
    assert level(service, sku) == (20, 0)
    # Again: the same answer, and a hold that was sold stays sold.
    assert admin.post(path).status_code == 303
    sold = shop.hold(sku, 1)
    shop.as_("storefront").post(f"/inventory/reserve/{sold}/confirm")
    assert admin.post(f"/console/products/{sku}/holds/{sold}/release").status_code == 409
    assert admin.post(f"/console/products/{sku}/holds/{'0' * 36}/release").status_code == 404
    assert level(service, sku) == (19, 0)


def test_the_course_of_a_sale(service: WorkedService, shop: Stocked, admin: FormClient) -> None:
    sku = shop.product(stock=10, safety_stock=1)
    for _ in range(3):
        shop.sell(sku, 2)
    shop.hold(sku, 3)
    refused = shop.as_("storefront").post("/inventory/reserve", json={"customer_id": "late", "sku": sku, "quantity": 4})
    assert refused.status_code == 409
    service.run(service.services.inventory.caught_up)
    assert admin.get("/console/flash-sale").status_code == 200
    assert admin.get(f"/console/flash-sale?sku={sku}").status_code == 200
    course = admin.get(f"/console/flash-sale/course?sku={sku}&minutes=5").json()
    assert (course["on_hand"], course["reserved"], course["available"]) == (4, 3, 0)
    holds, sales, units = (sum(column[place] for column in course["columns"]) for place in (1, 2, 3))
    assert (holds, sales, units) == (4, 3, 6)
    assert course["pace"] > 0
    assert course["sell_out_s"] == round(3 / course["pace"])
    assert admin.get("/console/flash-sale?sku=none-such").status_code == 404
    assert admin.get("/console/flash-sale?sku=a/b").status_code == 422


def test_lost_demand_of_a_sale_is_told(shop: Stocked, admin: FormClient, eventually: Any, wait_until: Any) -> None:
    sku = shop.product(stock=1)
    for _ in range(3):
        shop.as_("storefront").post("/inventory/reserve", json={"customer_id": "late", "sku": sku, "quantity": 5})

    def told() -> bool:
        course = admin.get(f"/console/flash-sale/course?sku={sku}").json()
        return (course["lost_requests"], course["lost_units"]) == (3, 15)

    wait_until(told, timeout_s=30, what="the pulse to tell of lost demand")


def test_a_tick_tells_counters_figures_and_open_work(service: WorkedService, shop: Stocked, admin: FormClient) -> None:
    sku, other = shop.product(stock=8), shop.product(stock=3)
    ticks = []
    with admin.http.stream("GET", f"/console/live?sku={sku}&sku={other}&sku=none-such") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        for line in stream.iter_lines():
            if line.startswith("data:"):
                ticks.append(msgspec.json.decode(line[5:], type=Tick))
                if len(ticks) == 1:
                    shop.hold(sku, 2)
                last = ticks[-1]
                if last.figures and last.counts and sku in last.stock and last.stock[sku].reserved == 2:
                    break
    assert set(ticks[-1].stock) == {sku, other}
    assert ticks[-1].stock[sku].available == 6
    assert ticks[-1].figures is not None
    assert ticks[-1].figures.trouble["redis"] == ""
    assert ticks[-1].counts is not None
    assert all(later.at >= earlier.at for earlier, later in itertools.pairwise(ticks))


def test_nothing_is_looked_at_while_no_page_is_open(service: WorkedService, admin: FormClient, wait_until: Any) -> None:
    assert service.app.console is not None
    desk = service.app.console.state.live
    with admin.http.stream("GET", "/console/live") as stream:
        lines = stream.iter_lines()  # by name: httpx closes a stream whose lines nobody can ask for any more
        next(lines)
        assert desk.pages >= 1
        looking = desk._looking
        assert looking
        assert not any(task.done() for task in looking)
    wait_until(lambda: desk.pages == 0 and all(task.done() for task in looking), timeout_s=30, what="the desk to rest")


def test_live_pages_are_bounded(admin: FormClient) -> None:
    many = "&".join(f"sku=A-{n}" for n in range(201))
    assert admin.get(f"/console/live?{many}").status_code == 422
    assert admin.get("/console/live?sku=a/b").status_code == 422


def test_the_first_page_is_small(admin: FormClient) -> None:
    page = admin.get("/console")
    total = len(page.content)
    for address in set(re.findall(r'(?:src|href)="(/console/static/[^"]+)"', page.text)):
        total += len(admin.get(address).content)
    folder = re.search(r"/console/static/[0-9a-f]+/", page.text)
    assert folder is not None
    for module in ("live.js", "times.js", "stock.js", "charts.js"):
        total += len(admin.get(folder.group(0) + module).content)
    assert total < 200_000, "bytes, not packed"


def test_the_console_can_be_switched_off(redis_url: str, database_url: str) -> None:
    service = RunningService(redis_url, database_url, ApiSettings(console=False)).start()
    with httpx.Client(base_url=service.address("protocol"), trust_env=False) as http:
        for path in ("/console", "/console/sign-in", "/console/static/x/app.js", "/"):
            answer = http.get(path, headers={"accept": "text/html"})
            assert (answer.status_code, answer.json()["code"]) == (404, "not-found")
    service.stop()
