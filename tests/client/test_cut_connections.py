"""Connections cut before the request arrives and before its answer does: nothing is held, sold or booked twice, and
what the client was told is what there is.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from holdfast_client import NotConnected, Retries
from tests.client.conftest import Shop
from tests.client.driving import QUICK, open_client
from tests.http.running import KEYS
from tests.link_proxy import Cut, LinkProxy, in_a_thread, now_and_then

ROUNDS = 25


@contextmanager
def cutting(url: str, seed: int, every: int) -> Iterator[tuple[str, Counter[Cut]]]:
    """The address of a proxy before the service, and what it has cut so far."""
    host, port = url.removeprefix("http://").split(":")
    proxy = LinkProxy((host, int(port)), cuts_at=now_and_then(seed, every, b" HTTP/1.1\r\n"))
    with in_a_thread(proxy) as own_port:
        yield f"http://127.0.0.1:{own_port}", proxy.cuts


@pytest.fixture
def seed() -> int:
    chosen = time.time_ns() % 1_000_000
    print(f"seed {chosen}")
    return chosen


def test_every_sale_once_and_every_answer_true(shop: Shop, seed: int) -> None:
    sku = shop.sku(ROUNDS * 2)
    sold: list[str] = []
    with (
        cutting(shop.url, seed, every=3) as (url, cuts),
        open_client(shop.kind, url, KEYS["storefront"], retries=QUICK) as client,
    ):
        for number in range(ROUNDS):
            held = client.reserve(sku, 1, customer_id=f"c-{number}")
            client.amend(held.id, ttl_s=600)
            sold.append(client.confirm(held.id, f"o-{sku}-{number}").id)
            other = client.reserve({sku: 1}, customer_id=f"c-{number}")
            assert client.release(other.id).status == "CANCELLED"
    assert min(cuts.values()) > 1, "the proxy cut too little to prove anything"
    # Each acknowledged sale is there once, and nothing that nobody was told of is held or sold.
    assert shop.level(sku) == (ROUNDS, 0)
    assert len(set(sold)) == ROUNDS
    shop.admin.adjust(sku, "count", ROUNDS, reason="the ledger has everything before this")
    rows = list(shop.admin.list_transactions(sku, type="OUT", page_size=500))
    assert sorted(row.reference_id for row in rows) == sorted(f"o-{sku}-{number}" for number in range(ROUNDS))
    assert {row.quantity for row in rows} == {-1}


def test_every_change_of_stock_once(cold_shop: Shop, seed: int) -> None:
    sku = cold_shop.sku(0)
    with (
        cutting(cold_shop.url, seed, every=3) as (url, cuts),
        open_client(cold_shop.kind, url, KEYS["operator"], retries=QUICK) as client,
    ):
        told = [client.adjust(sku, "receive", 1, reason="delivery").new_stock for _ in range(15)]
        file = f"sku,quantity\n{sku},5\n".encode()
        preview = client.upload_stock(file, mode="add", reason="by file")
        assert client.apply_import(preview.id).status == "APPLIED"
        assert len(list(client.list_transactions(sku, page_size=1))) == 16
    assert cuts.total() > 3
    assert told == list(range(1, 16))
    assert cold_shop.level(sku) == (20, 0)


def test_decisions_orders_and_keys_once(cold_shop: Shop, seed: int) -> None:
    sku, operator = cold_shop.sku(100), cold_shop.as_("operator")
    with (
        cutting(cold_shop.url, seed, every=2) as (url, cuts),
        open_client(cold_shop.kind, url, KEYS["admin"], retries=QUICK) as client,
    ):
        for number in range(4):
            waiting = operator.adjust(sku, "receive", 2000, reason="container")
            assert client.approve(waiting.id).status == "APPROVED"
            other = operator.adjust(sku, "receive", 3000, reason="container")
            assert client.reject(other.id).status == "REJECTED"
            order = f"o-{sku}-{number}"
            held = client.reserve(sku, 3, customer_id="ann")
            assert client.order_created(order, [held.id]).status == "COMPLETED"
            client.return_units(order, {sku: 1}, reason="wrong colour")
            client.damage(sku, 1, reason="came back broken")
            assert client.order_cancelled(order).status == "CANCELLED"
            preview = client.upload_stock(f"sku,quantity\n{sku},5\n".encode(), mode="add", reason="by file")
            client.apply_import(preview.id)
            assert client.revert_import(preview.id).status == "REVERTED"
            made = cold_shop.admin.create_key("for a moment", "auditor")
            client.revoke_key(made.id)
            client.put_product(sku, f"Name {number}", safety_stock=number)
    print(f"cuts {cuts}")
    assert min(cuts.values()) > 1, "the proxy cut too little to prove anything"
    assert cold_shop.level(sku) == (100 + 4 * 2000 - 4, 0)


def test_a_stream_of_events_misses_nothing_and_repeats_nothing(cold_shop: Shop, seed: int) -> None:
    sku = cold_shop.sku(0)
    with (
        cutting(cold_shop.url, seed, every=2) as (url, _),
        open_client(cold_shop.kind, url, KEYS["auditor"], retries=QUICK) as client,
    ):
        first = cold_shop.admin.adjust(sku, "receive", 1, reason="delivery")
        for _ in range(9):
            cold_shop.admin.adjust(sku, "receive", 1, reason="delivery")
        seen: list[Any] = []
        # Behind everything that other tests did, a little before the first of ours.
        position = f"0-1-{first.seq - 1}"
        # Each round is a new connection that goes on where the last one ended; about half of them are cut at once.
        while not seen or seen[-1].data.lines[0].on_hand != 10 or seen[-1].data.lines[0].sku != sku:
            stream = client.events(types=["stock.adjusted"], last_event_id=position)
            event = next(stream)
            stream.close()
            seen.append(event)
            position = event.id
    mine = [event.data.lines[0].on_hand for event in seen if event.data.lines[0].sku == sku]
    assert mine == list(range(1, 11))
    assert len({event.id for event in seen}) == len(seen)


def test_a_service_that_is_not_there(cold_shop: Shop) -> None:
    with (
        open_client(cold_shop.kind, "http://127.0.0.1:1", "k", retries=Retries(deadline_s=0.5)) as client,
        pytest.raises(NotConnected),
    ):
        client.reserve("A", customer_id="ann")


def test_a_stream_goes_on_by_itself_over_cuts() -> None:
    """With a service of its own: each connection tells two events and ends; the positions asked for are the proof."""
    asked: list[str | None] = []

    def two_events(request: httpx.Request) -> httpx.Response:
        position = request.headers.get("last-event-id")
        asked.append(position)
        first = 1 if position is None else int(position.rpartition("-")[2]) + 1
        events = "".join(_event(number) for number in (first, first + 1))
        return httpx.Response(200, content=f"retry: 1\nid: 0-1-{first - 1}\n\n{events}: heartbeat\n\n".encode())

    for kind in ("sync", "async"):
        asked.clear()
        with open_client(kind, "http://shop", "k", answer=two_events, retries=QUICK) as client:
            stream = client.events()
            assert [next(stream).seq for _ in range(6)] == [1, 2, 3, 4, 5, 6]
            stream.close()
        assert asked == [None, "0-1-2", "0-1-4"]
        asked.clear()
        with open_client(kind, "http://shop", "k", answer=two_events, retries=QUICK) as client:
            assert [event.seq for event in client.events(reconnect=False)] == [1, 2]


def _event(number: int) -> str:
    body = f'{{"id":"0-1-{number}","type":"a.b","at":"2026-03-01T12:00:00Z","epoch":1,"seq":{number},"data":{{}}}}'
    return f"id: 0-1-{number}\nevent: a.b\ndata: {body}\n\n"
