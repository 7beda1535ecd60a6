"""GET /inventory/events: what is told, from where a reader goes on, and when a stream ends."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import psycopg
import pytest

from api.services import ApiSettings, StreamSettings
from engine.commands import Adjust, Announce, Reserve, lines_text
from engine.identity import random_base
from persistence.database_url import psycopg_url
from tests.http.conftest import Shop, assert_problem
from tests.http.listening import Listener
from tests.http.running import ADAPTERS, KEYS, RunningService
from tests.waiting import wait_until

QUICK = StreamSettings(heartbeat_s=0.1, look_s=0.1, stalled_s=0.5)

Listen = Callable[..., Listener]


@pytest.fixture
def listen(request: pytest.FixtureRequest) -> Iterator[Listen]:
    """`listen(shop_or_service, last_event_id, query=..., key=...)`: a listener that has begun; closed afterwards."""
    made: list[Listener] = []

    def start(where: Shop | RunningService, last_event_id: str | None = None, **more: Any) -> Listener:
        shop = where if isinstance(where, Shop) else Shop(where, "protocol")
        listener = Listener(shop.running.address(shop.adapter), last_event_id=last_event_id, **more)
        made.append(listener)
        return listener.begun()

    yield start
    for listener in made:
        listener.close()


def execute(shop: Shop, command: Any) -> Any:
    return shop.running.run(lambda: shop.running.services.engine.execute(command))


def test_every_kind_of_event(shop: Shop, listen: Listen) -> None:
    listener = listen(shop)
    sku = shop.sku(10, safety=1, threshold=3)
    held = shop.reserve(sku, 2, cart_id="cart-1")
    storefront, operator = shop.as_("storefront"), shop.as_("operator")
    storefront.patch(f"/inventory/reserve/{held['id']}", json={"lines": [{"sku": sku, "quantity": 3}]})
    storefront.post(f"/inventory/reserve/{held['id']}/confirm", json={"order_id": "order-1"})
    other = shop.reserve(sku, 1)
    storefront.delete(f"/inventory/reserve/{other['id']}")
    operator.post("/inventory/damage", json={"sku": sku, "quantity": 1, "reason": "broken"})
    execute(shop, Announce(random_base(), "stock.low", '{"sku": "A",\n "available": 3}', "system"))
    heard = listener.wait_for(9)

    def line(quantity: int, on_hand: int, reserved: int) -> list[dict[str, Any]]:
        return [{"sku": sku, "quantity": quantity, "on_hand": on_hand, "reserved": reserved}]

    told = [(event.type, event.document["data"]) for event in heard]
    assert told[0] == (
        "product.changed",
        {
            "sku": sku,
            "safety_stock": 1,
            "low_stock_threshold": 3,
            "active": True,
            "created": True,
            "lines": line(0, 0, 0),
            "actor": "tests",
        },
    )
    assert told[1][0] == "stock.adjusted"
    assert (told[1][1]["transaction_type"], told[1][1]["lines"]) == ("IN", line(10, 10, 0))
    assert told[2] == (
        "reservation.created",
        {
            "id": held["id"],
            "customer_id": "ann",
            "cart_id": "cart-1",
            "lines": line(2, 10, 2),
            "expires_at": held["expires_at"],
            "actor": "storefront",
        },
    )
    assert (told[3][0], told[3][1]["lines"]) == ("reservation.amended", line(3, 10, 3))
    assert told[4] == (
        "reservation.confirmed",
        {"id": held["id"], "order_id": "order-1", "lines": line(3, 7, 0), "late": False, "actor": "storefront"},
    )
    assert told[5][0] == "reservation.created"
    assert told[6] == ("reservation.released", {"id": other["id"], "lines": line(1, 7, 0), "actor": "storefront"})
    assert (told[7][0], told[7][1]["transaction_type"], told[7][1]["reason"]) == ("stock.adjusted", "DAMAGE", "broken")
    assert told[7][1]["lines"] == line(-1, 6, 0)
    assert told[8] == ("stock.low", {"sku": "A", "available": 3})
    first = heard[0].seq
    for place, event in enumerate(heard):
        document = event.document
        assert document["id"] == event.id == f"0-1-{first + place}"
        assert (document["type"], document["partition"], document["epoch"]) == (event.type, 0, 1)
        assert document["seq"] == first + place
        assert document["at"].endswith("Z")
        assert set(document) == {"id", "type", "at", "partition", "epoch", "seq", "data"}


def test_how_the_answer_looks(shop: Shop, listen: Listen) -> None:
    listener = listen(shop)
    assert listener.headers["content-type"] == "text/event-stream"
    assert listener.headers["cache-control"] == "no-store"
    assert listener.headers["x-request-id"]
    assert listener.retry_ms == 1000


def test_it_goes_on_behind_any_event_also_in_the_middle_of_a_batch(shop: Shop, listen: Listen) -> None:
    sku = shop.sku(100)
    listener = listen(shop)
    commands = [Reserve(random_base(), lines_text([(sku, 1)]), 60_000, details='{"c":"ann"}') for _ in range(12)]
    shop.running.run(lambda: shop.running.services.engine.apply(commands))
    heard = list(listener.wait_for(12))
    for place in (0, 1, 5, 10):
        again = listen(shop, heard[place].id)
        assert again.wait_for(11 - place) == heard[place + 1 :]


def test_nothing_is_missed_between_two_connections_though_no_event_came_in_the_first(
    shop: Shop, listen: Listen
) -> None:
    first = listen(shop)
    first.close()
    assert first.heard == []
    sku = shop.sku(1)
    heard = listen(shop, first.last_event_id).wait_for(2)
    assert [event.document["data"]["lines"][0]["sku"] for event in heard] == [sku, sku]


def test_the_header_wins_over_the_parameter(one_shop: Shop, listen: Listen) -> None:
    one_shop.sku(1)
    listener = listen(one_shop, query="?last_event_id=oldest")
    heard = list(listener.wait_for(2))
    assert heard[0].id == "0-1-1", "all events since the service began are kept"
    again = listen(one_shop, heard[0].id, query="?last_event_id=oldest")
    assert again.wait_for(1)[0].id == heard[1].id
    by_parameter = listen(one_shop, query=f"?last_event_id={heard[0].id}")
    assert by_parameter.wait_for(1)[0].id == heard[1].id


def test_only_some_types(one_shop: Shop, listen: Listen) -> None:
    listener = listen(one_shop, query="?types=reservation.created,stock.adjusted")
    sku = one_shop.sku(5)
    held = one_shop.reserve(sku)
    one_shop.as_("storefront").delete(f"/inventory/reserve/{held['id']}")
    one_shop.reserve(sku)
    heard = listener.wait_for(3)
    assert [event.type for event in heard] == ["stock.adjusted", "reservation.created", "reservation.created"]


@pytest.mark.parametrize(
    "given",
    ["", "0", "0-1", "1-1-1", "0-0-5", "0-1--1", "0-1-1.5", "0-1-1e3", "0-01-1", "0-1-x", "0-9999999999-1", "newest",
     "0-1-99999999999999999", "0-1-1 ", "0-1-\u0661", "x" * 41],
)  # fmt: skip
def test_what_is_no_event_id(one_shop: Shop, given: str) -> None:
    for path, headers in (
        (f"/inventory/events?last_event_id={given}", {}),
        ("/inventory/events", {"last-event-id": given.encode()}),
    ):
        if headers and (given == "" or given.endswith(" ")):
            continue  # HTTP itself takes these away
        assert_problem(one_shop.as_("auditor").get(path, headers=headers), 422, "validation-error")


def test_an_event_that_has_not_happened(one_shop: Shop) -> None:
    answer = one_shop.as_("auditor").get("/inventory/events?last_event_id=0-1-9999999")
    assert_problem(answer, 404, "unknown-event")
    answer = one_shop.as_("auditor").get("/inventory/events?last_event_id=0-2-1")
    assert_problem(answer, 404, "unknown-event")


def test_unknown_types(one_shop: Shop) -> None:
    for types in ("stock", "stock.adjusted,", "reservation.*", "STOCK.LOW", "a,b"):
        answer = one_shop.as_("auditor").get("/inventory/events", params={"types": types})
        assert_problem(answer, 422, "validation-error")


def test_a_head_request_ends(shop: Shop) -> None:
    answer = shop.as_("auditor").head("/inventory/events")
    assert (answer.status_code, answer.headers["content-type"], answer.content) == (200, "text/event-stream", b"")


def test_a_stream_is_counted_by_how_long_it_took_to_begin(one_shop: Shop, listen: Listen) -> None:
    listen(one_shop).close()

    def counted() -> bool:
        text = one_shop.as_("nobody").get("/metrics").text
        return 'endpoint="stream_events",status="200"' in text

    wait_until(counted)


@pytest.fixture
def quick(make_service: Callable[..., RunningService]) -> RunningService:
    return make_service(ApiSettings(ledger_timeout_s=30.0, streams=QUICK))


def test_a_heartbeat_tells_the_position(quick: RunningService, listen: Listen) -> None:
    shop = Shop(quick, "protocol")
    listener = listen(quick, query="?types=reservation.expired")
    shop.sku(5)
    # Nothing of the kind that was asked for, and yet the position moves on: less to look through next time.
    wait_until(lambda: listener.comments and listener.last_event_id == "0-1-2")
    assert listener.heard == []
    shop.close()


def test_what_followed_is_gone(quick: RunningService, database_url: str, listen: Listen) -> None:
    shop = Shop(quick, "protocol")
    for _ in range(3):
        shop.sku(1)
    listen(quick, query="?last_event_id=oldest").wait_for(6)
    with psycopg.connect(psycopg_url(database_url)) as connection:
        connection.execute("DELETE FROM journal_archive WHERE last_seq <= 4")
    document = assert_problem(shop.as_("auditor").get("/inventory/events?last_event_id=0-1-2"), 410, "events-gone")
    assert document["oldest_id"] == "0-1-4"
    assert listen(quick, document["oldest_id"]).wait_for(2)[0].id == "0-1-5"
    shop.close()


def test_a_revoked_key_ends_its_stream(quick: RunningService, listen: Listen) -> None:
    shop = Shop(quick, "protocol")
    made = shop.as_("admin").post("/admin/keys", json={"name": "reader", "role": "auditor"}).json()
    listener, other = listen(quick, key=made["key"]), listen(quick)
    assert shop.as_("admin").delete(f"/admin/keys/{made['id']}").status_code == 204
    wait_until(lambda: listener.ended, what="the stream of the revoked key ends")
    assert listener.ended_by is None
    shop.sku(1)
    assert len(other.wait_for(2)) == 2
    assert listener.heard == []
    shop.close()


def test_one_stream_too_many(make_service: Callable[..., RunningService], listen: Listen) -> None:
    running = make_service(ApiSettings(streams=StreamSettings(most=2, look_s=0.1)))
    shop = Shop(running, "protocol")
    first, _ = listen(running), listen(running)
    answer = shop.as_("auditor").get("/inventory/events")
    assert_problem(answer, 503, "too-many-streams")
    first.close()
    wait_until(lambda: running.app.feed.readers == 1, what="the one who left is noticed")
    assert listen(running).status == 200
    shop.close()


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_streams_end_when_the_service_stops(make_service: Callable[..., RunningService], adapter: str) -> None:
    running = make_service(ApiSettings(streams=StreamSettings(look_s=30.0, heartbeat_s=30.0)))
    listener = Listener(running.address(adapter)).begun()
    running.ask_to_stop()
    wait_until(lambda: listener.ended)
    # Cut off after the grace, it would have ended in the middle of its chunks.
    assert (listener.status, listener.ended_by) == (200, None)
    listener.close()


def silent_reader(running: RunningService) -> socket.socket:
    """A client that asks and never reads what comes."""
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    raw.connect(("127.0.0.1", running.ports["protocol"]))
    raw.sendall(
        b"GET /inventory/events?last_event_id=oldest HTTP/1.1\r\nhost: x\r\nauthorization: Bearer "
        + KEYS["auditor"].encode()
        + b"\r\n\r\n"
    )
    return raw


def clients_of(running: RunningService) -> set[Any]:
    return {connection.client for server in running._servers for connection in server.server_state.connections}


def fill(running: RunningService, shop: Shop, events: int) -> None:
    """Events of 2 kB each."""
    sku = shop.sku(1)
    adjustments = [
        Adjust(random_base(), ((sku, "add", 1),), "IN", "x" * 2000, "Count", "c", "tests") for _ in range(events)
    ]
    for start in range(0, events, 500):
        running.run(lambda some=adjustments[start : start + 500]: running.services.engine.apply_raw(some))


def test_a_reader_that_takes_nothing_is_dropped_and_keeps_nobody_waiting(quick: RunningService, listen: Listen) -> None:
    shop = Shop(quick, "protocol")
    silent = silent_reader(quick)
    listener = listen(quick)
    wait_until(lambda: quick.app.feed.readers == 2)
    fill(quick, shop, 4000)
    assert len(listener.wait_for(4002)) == 4002
    wait_until(lambda: quick.app.feed.readers == 1, what="the silent reader is dropped")
    shop.reserve(shop.sku(1))
    # Dropped for good: a connection that is only closed would wait until its client has taken everything.
    wait_until(lambda: silent.getsockname() not in clients_of(quick), what="its connection is gone")
    silent.close()
    shop.close()


def test_postgres_away_is_waited_for(
    make_service: Callable[..., RunningService],
    make_postgres: Callable[..., Any],
    listen: Listen,
) -> None:
    from persistence.migrate import upgrade

    server = make_postgres()
    server.create_database("events")
    upgrade(server.database_url("events"))
    running = make_service(ApiSettings(ledger_timeout_s=30.0, streams=QUICK), database=server.database_url("events"))
    shop = Shop(running, "protocol")
    sku = shop.sku(5)
    listener = listen(running, query="?last_event_id=oldest")
    listener.wait_for(2)
    server.kill()
    shop.reserve(sku)
    with pytest.raises(httpx.HTTPStatusError):
        shop.as_("auditor").get("/inventory/events").raise_for_status()
    assert len(listener.heard) == 2, "told before it was in the ledger"
    server.start()
    assert [event.seq for event in listener.wait_for(3)] == [1, 2, 3]
    shop.close()
