"""What requests that a lost connection failed leave behind: nothing, and at once; the collector seldom comes."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from api.hot.decode import ReserveBody
from api.hot.exchange import Exchange
from runtime.embedded_redis import EmbeddedRedis
from tests.engine.conftest import pause
from tests.http.conftest import Shop
from tests.http.running import ADAPTERS, RunningService
from tests.leftovers import alive
from tests.waiting import wait_until

MakeService = Callable[..., RunningService]
BUYERS = 8


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_requests_that_a_dead_redis_failed(
    adapter: str,
    make_service: MakeService,
    make_redis: Callable[..., EmbeddedRedis],
    request: pytest.FixtureRequest,
) -> None:
    server = make_redis()
    running = make_service(redis=server.url)
    shop = Shop(running, adapter)
    request.addfinalizer(shop.close)
    sku = shop.sku(10)
    buyer = shop.as_("storefront")
    holds = [_reserve(shop, sku).json()["id"] for _ in range(BUYERS)]
    request.getfixturevalue("without_collector")
    before = alive(Exchange, ReserveBody)
    pause(server)
    with ThreadPoolExecutor(2 * BUYERS) as threads:
        asked = [threads.submit(_reserve, shop, sku) for _ in range(BUYERS)]
        asked += [threads.submit(buyer.delete, f"/inventory/reserve/{hold}") for hold in holds]
        engine = running.services.engine
        wait_until(lambda: engine.in_flight > 0, what="a batch is under way")
        server.process.kill()
        answers = [one.result().status_code for one in asked]

    assert set(answers) == {503}
    # Each of them would leave something. One or two may be another's: this process has served other tests.
    wait_until(lambda: alive(Exchange, ReserveBody) < before + BUYERS // 2, what="nothing of these requests is left")


def _reserve(shop: Shop, sku: str) -> Any:
    body = {"customer_id": "ann", "sku": sku, "quantity": 1}
    return shop.as_("storefront").post("/inventory/reserve", json=body)
