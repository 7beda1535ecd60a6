"""GET /inventory/pulse: what happened in the last seconds is in it; a server that is away is told, not guessed at."""

from __future__ import annotations

from collections.abc import Callable

import httpx

from runtime.embedded_redis import EmbeddedRedis
from tests.http.conftest import Shop, assert_problem
from tests.http.running import KEYS, RunningService


def test_what_was_sold_and_refused_is_in_it(one_shop: Shop, wait_until: Callable[..., None]) -> None:
    sku = one_shop.sku(3)
    one_shop.reserve(sku, 2)
    body = {"customer_id": "ann", "sku": sku, "quantity": 5}
    assert_problem(one_shop.as_("storefront").post("/inventory/reserve", json=body), 409, "insufficient-stock")

    def told() -> bool:
        pulse = one_shop.as_("auditor").get("/inventory/pulse").json()
        lost = {one["sku"]: (one["requests"], one["units"]) for one in pulse["lost_demand"]}
        return lost.get(sku) == (1, 5)

    wait_until(told, 30, "the refused customer stands in the pulse")
    pulse = one_shop.as_("auditor").get("/inventory/pulse").json()
    assert pulse["live_holds"] >= 1
    assert pulse["health"]["redis"] == "ok"
    assert pulse["memory_used_bytes"] > 0
    assert set(pulse["rates"]) == {
        "requests", "errors", "reserves", "confirms", "releases", "expiries", "rejections",
    }  # fmt: skip


def test_while_redis_is_away_it_says_so(
    make_redis: Callable[..., EmbeddedRedis], make_service: Callable[..., RunningService]
) -> None:
    redis = make_redis()
    running = make_service(redis=redis.url)
    redis.kill()
    headers = {"authorization": f"Bearer {KEYS['auditor']}"}
    answer = httpx.get(f"{running.address('protocol')}/inventory/pulse", headers=headers, trust_env=False, timeout=30)
    assert answer.status_code == 200, answer.text
    pulse = answer.json()
    assert pulse["ready"] is False
    assert pulse["health"]["redis"] != "ok"
    assert pulse["live_holds"] is None
    assert pulse["journal_lag_events"] is None
