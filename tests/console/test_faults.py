"""The console while Redis or Postgres is away: it says so, changes nothing, and goes on without a new sign-in.

So does a browser whose page was open all the while.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import msgspec
import pytest
from playwright.sync_api import expect

from api.console.live import Tick
from persistence.migrate import upgrade
from runtime.embedded_postgres import EmbeddedPostgres
from runtime.embedded_redis import EmbeddedRedis
from tests.console.browser import BrowserThread
from tests.console.form_client import FormClient
from tests.console.stocked import Stocked
from tests.console.visitors import Visitors
from tests.console.worked_service import WorkedService
from tests.http.running import KEYS


@pytest.fixture
def servers(make_redis: Callable[..., EmbeddedRedis], make_postgres: Callable[..., EmbeddedPostgres]) -> Any:
    redis, postgres = make_redis(), make_postgres()
    postgres.create_database("shop")
    upgrade(postgres.database_url("shop"))
    service = WorkedService(redis.url, postgres.database_url("shop"))
    service.start()
    yield redis, postgres, service
    service.stop()


def trouble(client: FormClient, part: str) -> str:
    """What the next tick says of a part of the service."""
    with client.http.stream("GET", "/console/live") as stream:
        return next(tick.figures.trouble[part] for tick in ticks_of(stream) if tick.figures is not None)


def ticks_of(stream: httpx.Response) -> Iterator[Tick]:
    """What an open page hears."""
    for line in stream.iter_lines():
        if line.startswith("data:"):
            yield msgspec.json.decode(line[5:], type=Tick)


def test_away_and_back(servers: Any, wait_until: Any) -> None:
    redis, postgres, service = servers
    address = service.address("protocol")
    shop = Stocked(address, KEYS)
    sku = shop.product(stock=10)
    client = FormClient(address, "operator")
    fields = {**client.secrets(f"/console/products/{sku}"), "kind": "receive", "quantity": "5", "reason": "delivery"}
    assert trouble(client, "postgres") == ""

    postgres.kill()
    wait_until(lambda: trouble(client, "postgres"), timeout_s=30, what="the console to say that Postgres is away")
    overview = client.get("/console")
    assert overview.status_code == 200, "who was signed in still is, and sees what is the matter"
    assert client.get("/console/stock").status_code == 503
    assert int(client.get("/console/stock").headers["retry-after"]) > 0
    answer = client.http.post(f"/console/products/{sku}/change", data=fields, headers={"accept": "application/json"})
    assert answer.status_code == 503
    stranger = FormClient(address, None)
    assert stranger.http.post("/console/sign-in", data={"key": KEYS["admin"]}).status_code == 503
    stranger.http.cookies.set("holdfast_session", "x" * 43, path="/console")
    assert stranger.get("/console/stock").status_code == 503, "nobody can tell who this is"
    postgres.start()
    wait_until(lambda: client.get("/console/stock").status_code == 200, timeout_s=60, what="the list to be back")

    with client.http.stream("GET", f"/console/live?sku={sku}") as stream:
        ticks = ticks_of(stream)
        assert next(tick for tick in ticks if tick.stock).stock[sku].on_hand == 10
        redis.kill()
        # What was true before must not look as if it were true now.
        assert any(not tick.stock for tick in itertools.islice(ticks, 60))
    wait_until(lambda: trouble(client, "redis"), timeout_s=30, what="the console to say that Redis is away")
    assert client.get("/console").status_code == 200
    for path in ("/console/stock", f"/console/products/{sku}", f"/console/flash-sale?sku={sku}"):
        assert client.get(path).status_code == 503, path
    assert client.http.post(f"/console/products/{sku}/change", data=fields).status_code == 503
    redis.start()
    wait_until(lambda: client.get("/console/stock").status_code == 200, timeout_s=60, what="the counters to be back")

    # The form that was sent in vain, twice, is one change once it gets through.
    def received() -> bool:
        return client.http.post(f"/console/products/{sku}/change", data=fields).status_code == 303

    wait_until(received, timeout_s=60, what="the change to be made")
    assert received()
    (level,) = service.run(lambda: service.services.engine.stock_levels([sku]))
    assert level.on_hand == 15
    for one in (client, stranger):
        one.http.close()
    shop.close()


def test_a_page_that_is_open_tells_of_it_and_heals(servers: Any, browser: BrowserThread) -> None:
    _, postgres, service = servers
    shop = Stocked(service.address("protocol"), KEYS)
    sku = shop.product(stock=10)
    visitors = Visitors(browser.browser, service.address("protocol"))
    overview = visitors.visit("operator", "/console", expected=("503",))
    health = overview.locator('[data-part="postgres"] [data-tag]')
    product = visitors.visit("operator", f"/console/products/{sku}", expected=("503",))
    elsewhere = visitors.visit("operator", expected=("503",))
    expect(health).to_have_text("Well")
    for page in (overview, product):
        page.evaluate("window.stayed = true")
    form = product.locator("#change-form")
    form.get_by_label("Units").fill("5")
    form.get_by_label("Reason").fill("delivery of the morning")

    postgres.kill()
    expect(health).to_have_text("Trouble")
    expect(overview.locator('[data-part="postgres"] [data-said]')).not_to_be_empty()
    form.get_by_role("button", name="Book it").click()
    expect(product.locator(".form-error")).to_be_visible()
    expect(form.get_by_label("Reason")).to_have_value("delivery of the morning")
    elsewhere.goto("/console/stock")
    expect(elsewhere.get_by_role("link", name="Try again")).to_be_visible()

    postgres.start()
    expect(health).to_have_text("Well")
    while elsewhere.get_by_role("link", name="Try again").count():
        elsewhere.get_by_role("link", name="Try again").click()
    expect(elsewhere.get_by_role("heading", level=1)).to_have_text("Stock")
    form.get_by_role("button", name="Book it").click()
    expect(product.locator(".figures [data-of=on_hand]")).to_have_text("15")
    expect(product.locator("#movements")).to_contain_text("delivery of the morning")
    for page in (overview, product):
        assert page.evaluate("window.stayed"), "nothing was loaded anew"
    assert not visitors.leave()
    shop.close()
