"""A replay against a real service: it ends in agreement, also on a shop that has stock, and it can disagree."""

from __future__ import annotations

import asyncio
import gzip
import io
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
import redis
from rich.console import Console

from engine.keys import partition_keys
from runtime.replay.command import SAMPLE
from runtime.replay.comparison import Comparison, compare, read_actual, read_baseline
from runtime.replay.independent_sum import add_up
from runtime.replay.plan import make_plan
from runtime.replay.second_person import SecondPerson
from runtime.replay.session import clean_file, prepare, replay
from runtime.replay.shop import Shop
from runtime.service_client import ServiceClient, Unreachable
from runtime.throwaway_service import ServiceAddress

ROWS = 250


@pytest.fixture
def orders(tmp_path: Path) -> Path:
    """The beginning of the sample, with dirt of every kind behind it."""
    lines = gzip.decompress(SAMPLE.read_bytes()).decode().splitlines()[: ROWS + 1]
    lines += [
        "C900001,22633,,-3,2010-12-03 09:00:00,1.85,17850.0,United Kingdom",
        "C900002,NEVER SOLD,OLD GOODS,-1500,2010-12-03 09:00:00,1.85,17850.0,United Kingdom",
        "900003,22633,damages,-2,2010-12-03 09:00:00,0.0,,United Kingdom",
        "900004,71053,?,-1200,2010-12-03 09:00:00,0.0,,United Kingdom",
        "900005,85123a,,4,2010-12-03 09:00:00,2.55,,United Kingdom",
        "900005,85123A,,3,2010-12-03 09:00:00,2.55,,United Kingdom",
        "900006,POST,POSTAGE,1,2010-12-03 09:00:00,18.0,12583.0,France",
        "900007,71053,,zero,2010-12-03 09:00:00,2.55,,United Kingdom",
        "900008,71053,,0,2010-12-03 09:00:00,2.55,,United Kingdom",
        "900009,no/sku,,1,2010-12-03 09:00:00,2.55,,United Kingdom",
        "bestellung-ü,71053,WHITE LANTERN £5,1,2010-12-03 09:00:00,2.55,kundin-ü,Germany",
    ]
    path = tmp_path / "orders.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def play(path: Path, service: ServiceAddress) -> tuple[bool, str]:
    console = Console(file=io.StringIO(), width=120)
    agrees = asyncio.run(replay(prepare(path), service, 16, console))
    return agrees, console.file.getvalue()  # type: ignore[attr-defined]


def test_it_ends_in_agreement_and_can_be_repeated_on_the_same_shop(
    serve: Callable[..., ServiceAddress], orders: Path
) -> None:
    service = serve()
    for kept in (False, True):
        agrees, text = play(orders, service)
        assert agrees, text
        assert "Agreement" in text
        assert ("were there already" in text) == kept
    for kind in ("no customer", "service line", "whole number", "quantity 0", "no SKU", "upper-cased", "summed"):
        assert kind in text


def test_an_order_that_cannot_be_served_is_a_difference(
    serve: Callable[..., ServiceAddress], orders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody else takes units of one SKU away between the deliveries and the orders."""
    service = serve()
    trade = Shop.trade

    async def thieves_first(self: Shop, plan: object) -> None:
        body = {"sku": "71053", "kind": "remove", "quantity": 900, "reason": "gone from the shelf"}
        await self._admin.expect((201,), "POST", "/inventory/adjust", body)
        await trade(self, plan)  # type: ignore[arg-type]

    monkeypatch.setattr(Shop, "trade", thieves_first)
    agrees, text = play(orders, service)
    assert not agrees
    assert "insufficient-stock" in text
    assert "71053" in text
    assert "Difference" in text


async def compared_after(service: ServiceAddress, orders: Path, tamper: Callable[[], None]) -> Comparison:
    _, lines, _ = clean_file(orders)
    plan, expected = make_plan(lines), add_up(lines)

    class Silent:
        def begin(self, what: str, total: int) -> None:
            pass

        def step(self) -> None:
            pass

    async with (
        ServiceClient(service.url, service.admin_key) as admin,
        ServiceClient(service.url, service.storefront_key) as storefront,
        SecondPerson(admin, service.url, "tampered") as second_person,
    ):
        baseline = await read_baseline(admin, expected.skus, 16)
        shop = Shop(admin, storefront, second_person, "tampered", concurrency=16, progress=Silent())
        await shop.open(plan.products, baseline.counters)
        await shop.trade(plan)
        await shop.wait_for_ledger()
        tamper()
        return compare(expected, baseline, await read_actual(admin, baseline, expected.skus, 16))


async def test_one_unit_too_many_in_redis_is_found(
    serve: Callable[..., ServiceAddress], orders: Path, redis_client: redis.Redis
) -> None:
    def tamper() -> None:
        stock = partition_keys(0).stock
        on_hand, *others = redis_client.hget(stock, "22633").split(b" ")  # type: ignore[union-attr]
        redis_client.hset(stock, "22633", b" ".join([b"%d" % (int(on_hand) + 1), *others]))

    comparison = await compared_after(serve(), orders, tamper)
    (differing,) = comparison.differing
    assert differing.sku == "22633"
    assert differing.counters == differing.expected + 1 == differing.ledger + 1 == differing.levels + 1


async def test_one_unit_too_few_in_the_levels_is_found(
    serve: Callable[..., ServiceAddress], orders: Path, database_url: str
) -> None:
    def tamper() -> None:
        with psycopg.connect(database_url) as connection:
            connection.execute("UPDATE inventory_levels SET on_hand = on_hand - 1 WHERE sku = 'NEVER SOLD'")

    comparison = await compared_after(serve(), orders, tamper)
    (differing,) = comparison.differing
    assert differing.sku == "NEVER SOLD"
    assert differing.levels == differing.expected - 1 == differing.counters - 1


def test_an_address_where_nobody_listens_is_told_at_once(orders: Path) -> None:
    with pytest.raises(Unreachable, match="cannot be reached"):
        play(orders, ServiceAddress("http://127.0.0.1:9", "a" * 24, "b" * 24))
