"""What a connection may cost: endless heads, silence, requests without end, too many of them. Over both adapters."""

from __future__ import annotations

import json
import resource
import select
import socket
from collections.abc import Callable, Iterator

import pytest

from api.services import ApiSettings
from tests.http.conftest import Shop
from tests.http.running import ADAPTERS, RunningService
from tests.http.test_connections import KEY, Wire, good, reserve
from tests.waiting import wait_until

HEAD = f"POST /inventory/reserve HTTP/1.1\r\nHost: x\r\n{KEY}"


@pytest.fixture(params=ADAPTERS)
def shop_with(
    request: pytest.FixtureRequest, make_service: Callable[..., RunningService]
) -> Iterator[Callable[..., Shop]]:
    """`shop_with(settings of the API)`: over the adapter at hand."""
    made = []

    def make(**settings: object) -> Shop:
        made.append(Shop(make_service(ApiSettings(**settings)), request.param))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for shop in made:
        shop.close()


@pytest.fixture
def dial() -> Iterator[Callable[[Shop], Wire]]:
    """`dial(shop)`: a connection that is closed in the end."""
    wires = []

    def connect(to: Shop) -> Wire:
        wires.append(Wire(to.running.ports[to.adapter]))
        wires[-1].socket.settimeout(20)
        return wires[-1]

    yield connect
    for wire in wires:
        wire.close()


def assert_refused(wire: Wire, status: int, code: str) -> None:
    answered, headers, body = wire.read_answer()
    assert (answered, headers["connection"], json.loads(body)["code"]) == (status, "close", code)
    wait_until(wire.is_closed, what="the server to close")


def flood(wire: Wire, piece: bytes, most: int) -> int:
    """Send `piece` again and again until the server hangs up; bytes that it took. Fails after `most` bytes."""
    sent = 0
    try:
        while sent < most:
            wire.send(piece)
            sent += len(piece)
    except (BrokenPipeError, ConnectionResetError):
        return sent
    pytest.fail(f"the server took {sent} bytes")


@pytest.mark.parametrize(
    ("start", "piece"),
    [
        (HEAD, b"X-Name: " + b"v" * 8_000 + b"\r\n"),
        (HEAD + "X-Long: ", b"v" * 8_192),
        (HEAD, b"n" * 8_192),
        ("GET /", b"a" * 8_192),
        ("GET /healthz HTTP/1.1\r\n", b"A: b\r\n" * 1_000),
    ],
    ids=["many-headers", "long-value", "long-name", "long-path", "tiny-headers"],
)
def test_a_head_without_an_end(shop: Shop, dial: Callable[[Shop], Wire], start: str, piece: bytes) -> None:
    wire = dial(shop)
    wire.send(start)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    flood(wire, piece, 64 * 1024 * 1024)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 30_000


def test_a_head_too_large_is_told_so(shop: Shop, dial: Callable[[Shop], Wire]) -> None:
    wire = dial(shop)
    wire.send(HEAD)
    wire.send("X-Long: " + "v" * 30_000)
    # What comes with the first bytes is not counted: how much that is, the machine decides.
    while not select.select([wire.socket], [], [], 0.05)[0]:
        wire.send("v" * 20_000)
    assert_refused(wire, 431, "head-too-large")


def test_a_head_within_the_limit(shop: Shop, dial: Callable[[Shop], Wire]) -> None:
    wire = dial(shop)
    request = reserve(good(shop.sku()), f"X-Long: {'v' * 50_000}\r\n")
    wire.send(request[:1000])
    wire.send(request[1000:])
    assert wire.read_answer()[0] == 201


def test_a_head_that_takes_for_ever(shop_with: Callable[..., Shop], dial: Callable[[Shop], Wire]) -> None:
    shop = shop_with(body_timeout_s=0.3)
    for start in ("P", "POST /inventory/reserve HTTP/1.1\r\nHost:", HEAD, "GET /inventory/products HTT"):
        wire = dial(shop)
        wire.send(start)
        assert_refused(wire, 408, "request-timeout")


def test_a_second_head_that_takes_for_ever(shop_with: Callable[..., Shop], dial: Callable[[Shop], Wire]) -> None:
    shop = shop_with(body_timeout_s=0.3)
    wire = dial(shop)
    wire.send(reserve(good(shop.sku())) + "GET /inventory/pro")
    assert wire.read_answer()[0] == 201
    assert_refused(wire, 408, "request-timeout")


def test_silence_and_blank_lines_keep_no_connection(
    shop_with: Callable[..., Shop], dial: Callable[[Shop], Wire], monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = shop_with(body_timeout_s=2.0)  # and uvicorn's own 5 s between two requests
    silent, blank, used = dial(shop), dial(shop), dial(shop)
    used.send("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
    assert used.read_answer()[0] == 200

    def drip(wire: Wire) -> bool:
        try:
            wire.send("\r\n")
        except (BrokenPipeError, ConnectionResetError):
            return True
        wire.socket.settimeout(0.1)
        try:
            return wire.is_closed()
        except TimeoutError:
            return False

    wait_until(silent.is_closed, 30, what="the silent one is closed")
    wait_until(lambda: drip(blank), 30, what="blank lines do not help")
    wait_until(lambda: drip(used), 30, what="nor do they later")


def test_requests_sent_ahead_without_end(shop_with: Callable[..., Shop], dial: Callable[[Shop], Wire]) -> None:
    shop = shop_with(stalled_s=0.5)
    for path in ("/healthz", "/inventory/availability/A"):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        wire = dial(shop)
        flood(wire, f"GET {path} HTTP/1.1\r\n\r\n".encode() * 2_000, 64 * 1024 * 1024)
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 80_000


@pytest.mark.parametrize("end", ["no request\r\n\r\n", "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"])
def test_a_connection_that_closes_waits_for_no_reader(shop_with: Callable[..., Shop], end: str) -> None:
    shop = shop_with(stalled_s=0.5)
    wire = Wire.__new__(Wire)
    wire.socket, wire.buffer = socket.socket(), b""
    # Little room in the client, so that its answers wait in the server.
    wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2_048)
    wire.socket.connect(("127.0.0.1", shop.running.ports[shop.adapter]))
    sent = 0
    # Until a little waits, so little that the transport never says that it stands still.
    while not any(waiting := shop.running.unsent(shop.adapter)):
        wire.send("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" * 150)
        sent += 150
        wait_until(lambda n=sent: shop.running.answered(shop.adapter) >= n, what="the answers")  # type: ignore[misc]
    assert len(waiting) == 1
    assert waiting[0] < 60_000
    wire.send(end)
    wait_until(lambda: not shop.running.unsent(shop.adapter), 30, "the connection to be dropped")
    wire.close()


def test_hundreds_sent_ahead_are_answered(shop: Shop, dial: Callable[[Shop], Wire]) -> None:
    wire = dial(shop)
    wire.send("GET /inventory/availability/A HTTP/1.1\r\nHost: x\r\n\r\n" * 900)
    assert [wire.read_answer()[0] for _ in range(900)] == [401] * 900


def test_one_connection_too_many(shop_with: Callable[..., Shop], dial: Callable[[Shop], Wire]) -> None:
    shop = shop_with(max_connections=3)
    ask = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    open_ones = [dial(shop) for _ in range(3)]
    for wire in open_ones:
        wire.send(ask)
        assert wire.read_answer()[0] == 200
    late = dial(shop)
    status, headers, body = late.read_answer()
    assert (status, json.loads(body)["code"], headers["retry-after"]) == (503, "overloaded", "1")
    wait_until(late.is_closed, what="the server to close")
    open_ones[0].send(ask)
    assert open_ones[0].read_answer()[0] == 200
    open_ones[1].close()

    def served() -> bool:
        wire = dial(shop)
        wire.send(ask)
        return wire.read_answer()[0] == 200

    wait_until(served, what="room for another")
