"""What goes over the wire byte by byte: pieces, pipelines, sizes, slow and vanishing clients."""

from __future__ import annotations

import json
import random
import resource
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from api.auth import digest_of, new_key
from api.services import ApiSettings
from persistence.queries.api_keys import ApiKeys
from tests.http.conftest import Shop
from tests.http.running import KEYS, RunningService
from tests.waiting import wait_until

KEY = f"Authorization: Bearer {KEYS['storefront']}\r\n"


class Wire:
    """A bare connection."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.buffer = b""

    def send(self, data: bytes | str) -> None:
        self.socket.sendall(data.encode() if isinstance(data, str) else data)

    def read_answer(self, *, head_only: bool = False) -> tuple[int, dict[str, str], bytes]:
        """The next answer: status, headers, body."""
        while b"\r\n\r\n" not in self.buffer:
            self._more()
        head, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        length = 0 if head_only else int(headers.get("content-length", "0"))
        while len(self.buffer) < length:
            self._more()
        body, self.buffer = self.buffer[:length], self.buffer[length:]
        return int(first.split(" ")[1]), headers, body

    def is_closed(self) -> bool:
        """True once the other side has closed and everything was read."""
        try:
            return self.socket.recv(1, socket.MSG_PEEK) == b""
        except ConnectionResetError:
            return True

    def _more(self) -> None:
        data = self.socket.recv(65536)
        if not data:
            raise ConnectionError(f"closed after {self.buffer[:200]!r}")
        self.buffer += data

    def close(self) -> None:
        self.socket.close()


@pytest.fixture
def wire(shop: Shop) -> Iterator[Wire]:
    wire = Wire(shop.running.ports[shop.adapter])
    yield wire
    wire.close()


def reserve(body: object, more: str = "") -> str:
    text = body if isinstance(body, str) else json.dumps(body)
    return (
        f"POST /inventory/reserve HTTP/1.1\r\nHost: x\r\n{KEY}Content-Type: application/json\r\n{more}"
        f"Content-Length: {len(text.encode())}\r\n\r\n{text}"
    )


def good(sku: str) -> dict[str, object]:
    return {"customer_id": "ann", "sku": sku, "quantity": 1}


def test_many_requests_over_one_connection(shop: Shop, wire: Wire) -> None:
    sku = shop.sku(50)
    for _ in range(20):
        wire.send(reserve(good(sku)))
        status, headers, _ = wire.read_answer()
        assert status == 201
        assert "date" in headers
        wire.send(f"GET /healthz HTTP/1.1\r\nHost: x\r\n{KEY}\r\n")
        assert wire.read_answer()[0] == 200
    assert shop.level(sku) == (50, 20)


def test_a_request_in_single_bytes(shop: Shop, wire: Wire) -> None:
    sku = shop.sku()
    for byte in reserve(good(sku)).encode():
        wire.send(bytes([byte]))
    assert wire.read_answer()[0] == 201


def test_pipelined_requests_are_answered_in_order(shop: Shop, wire: Wire) -> None:
    skus = [shop.sku() for _ in range(10)]
    mixed = []
    for sku in skus:
        mixed += [reserve(good(sku)), f"GET /inventory/availability/{sku} HTTP/1.1\r\nHost: x\r\n{KEY}\r\n"]
        mixed += ["GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"]
    wire.send("".join(mixed))
    for sku in skus:
        status, _, body = wire.read_answer()
        assert (status, json.loads(body)["lines"][0]["sku"]) == (201, sku)
        status, _, body = wire.read_answer()
        assert (status, json.loads(body)["available"]) == (200, 9)
        assert wire.read_answer()[0] == 200


def test_connection_close_is_obeyed(shop: Shop, wire: Wire) -> None:
    wire.send(reserve(good(shop.sku()), "Connection: close\r\n"))
    status, headers, _ = wire.read_answer()
    assert (status, headers["connection"]) == (201, "close")
    wait_until(wire.is_closed, what="the server to close")


def test_http_1_0(shop: Shop, wire: Wire) -> None:
    wire.send(reserve(good(shop.sku())).replace("HTTP/1.1", "HTTP/1.0"))
    assert wire.read_answer()[0] == 201
    wait_until(wire.is_closed, what="the server to close")


def test_expect_100_continue(shop: Shop, wire: Wire) -> None:
    text = json.dumps(good(shop.sku()))
    head, _, body = reserve(text, "Expect: 100-continue\r\n").partition("\r\n\r\n")
    wire.send(head + "\r\n\r\n")
    assert wire.read_answer(head_only=True)[0] == 100
    wire.send(body)
    assert wire.read_answer()[0] == 201


def test_chunked_bodies(shop: Shop, wire: Wire) -> None:
    sku = shop.sku()
    text = json.dumps(good(sku))
    head = f"POST /inventory/reserve HTTP/1.1\r\nHost: x\r\n{KEY}Content-Type: application/json\r\n"
    chunks = "".join(f"{len(part):x}\r\n{part}\r\n" for part in (text[:10], text[10:])) + "0\r\n\r\n"
    wire.send(f"{head}Transfer-Encoding: chunked\r\n\r\n{chunks}")
    assert wire.read_answer()[0] == 201
    assert shop.level(sku) == (10, 1)


def test_an_upgrade_is_ignored(shop: Shop, wire: Wire) -> None:
    wire.send(reserve(good(shop.sku()), "Connection: Upgrade\r\nUpgrade: h2c\r\n"))
    assert wire.read_answer()[0] in {201, 400, 415, 422}


def test_length_and_chunks_together_are_refused(shop: Shop, wire: Wire) -> None:
    sku = shop.sku()
    wire.send(reserve(good(sku), "Transfer-Encoding: chunked\r\n"))
    assert wire.read_answer()[0] == 400
    assert shop.level(sku) == (10, 0)


@pytest.mark.parametrize("length", ["-1", "1e3", "99999999999999999999999", "5, 6", "0x10", ""])
def test_lengths_that_are_none(shop: Shop, wire: Wire, length: str) -> None:
    wire.send(f"POST /inventory/reserve HTTP/1.1\r\nHost: x\r\n{KEY}Content-Length: {length}\r\n\r\n")
    assert wire.read_answer()[0] == 400


@pytest.mark.parametrize("garbage", [b"\x00" * 50, b"GET\r\n\r\n", b"hello\r\n\r\n", b"\x16\x03\x01\x02\x00\x01"])
def test_garbage(shop: Shop, wire: Wire, garbage: bytes) -> None:
    wire.send(garbage + b"\r\n\r\n")
    assert wire.read_answer()[0] == 400
    wait_until(wire.is_closed, what="the server to close")


@pytest.mark.parametrize(
    ("path", "limit"),
    [("/inventory/reserve", 1_048_576), ("/inventory/reserve/batch", 8_388_608), ("/admin/keys", 1_048_576)],
)
def test_a_declared_body_past_the_limit(shop: Shop, wire: Wire, path: str, limit: int) -> None:
    wire.send(
        f"POST {path} HTTP/1.1\r\nHost: x\r\n{KEY}Content-Type: application/json\r\nContent-Length: {limit + 1}\r\n\r\n"
    )
    status, headers, body = wire.read_answer()
    assert (status, headers["connection"], json.loads(body)["code"]) == (413, "close", "payload-too-large")
    wait_until(wire.is_closed, what="the server to close")


def test_a_refusal_before_the_end_counts_with_its_own_time(shop: Shop, wire: Wire) -> None:
    metrics = shop.running.app.metrics

    def spent_s() -> float:
        return sum(metrics.snapshot().seconds.values())

    before = spent_s()
    head = f"POST /inventory/reserve HTTP/1.1\r\nHost: x\r\n{KEY}Content-Type: application/json\r\n"
    wire.send(f"{head}Content-Length: 1048577\r\n\r\n")
    assert wire.read_answer()[0] == 413
    assert spent_s() - before < 60, "not since the machine was started"


@pytest.mark.parametrize("key", ["", "Authorization: Bearer a-key-that-nobody-knows-0123456789\r\n"])
@pytest.mark.parametrize("length", ["Content-Length: 900000", "Transfer-Encoding: chunked"])
@pytest.mark.parametrize("path", ["/inventory/reserve", "/inventory/reserve/batch"])
def test_a_large_body_is_not_taken_in_for_somebody_unknown(
    shop: Shop, wire: Wire, path: str, length: str, key: str
) -> None:
    # The rest of the body never comes: who waited for it would not answer.
    start = "5\r\n     \r\n" if "chunked" in length else "     "
    wire.send(f"POST {path} HTTP/1.1\r\nHost: x\r\n{key}Content-Type: application/json\r\n{length}\r\n\r\n{start}")
    status, headers, body = wire.read_answer()
    assert (status, headers["connection"], json.loads(body)["code"]) == (401, "close", "unauthenticated")
    assert headers["www-authenticate"].startswith("Bearer")
    wait_until(wire.is_closed, what="the server to close")


def test_a_large_body_of_a_key_that_was_made_elsewhere(shop: Shop, wire: Wire) -> None:
    key, keys = new_key(), ApiKeys(shop.running.services.database)
    made = partial(keys.create, f"key_{uuid.uuid4().hex[:16]}", name="x", role="storefront", created_by="tests")
    shop.running.run(lambda: made(key_hash=digest_of(key)))
    sku = shop.sku()
    text = json.dumps(good(sku)) + " " * 200_000
    wire.send(
        f"POST /inventory/reserve HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(text)}\r\n\r\n{text}"
    )
    assert wire.read_answer()[0] == 201
    wire.send(f"GET /inventory/availability/{sku} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n\r\n")
    assert wire.read_answer()[0] == 200, "the connection stays open"


def test_a_body_at_the_limit(shop: Shop, wire: Wire) -> None:
    sku = shop.sku()
    text = json.dumps(good(sku))
    wire.send(reserve(text + " " * (1_048_576 - len(text))))
    assert wire.read_answer()[0] == 201


def test_chunks_for_ever(shop: Shop, wire: Wire) -> None:
    """Refused once they are too many, without keeping them."""
    wire.send(
        f"POST /inventory/reserve HTTP/1.1\r\nHost: x\r\n{KEY}Content-Type: application/json\r\n"
        "Transfer-Encoding: chunked\r\n\r\n"
    )
    chunk = b"10000\r\n" + b" " * 65536 + b"\r\n"
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        for _ in range(4000):  # 250 MB, if anybody took them
            wire.send(chunk)
    except (BrokenPipeError, ConnectionResetError):
        pass  # the server hung up, as it should
    else:
        pytest.fail("the server took a quarter of a gigabyte")
    grown_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown_kb < 50_000


def test_clients_that_vanish_take_nobody_along(shop: Shop, request: pytest.FixtureRequest) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    sku = shop.sku(100_000)
    port = shop.running.ports[shop.adapter]
    stop = threading.Event()
    failures: list[object] = []
    served = 0

    def steady() -> None:
        nonlocal served
        wire = Wire(port)
        while not stop.is_set():
            wire.send(reserve(good(sku)))
            status, _, body = wire.read_answer()
            if status != 201 or json.loads(body)["lines"][0]["sku"] != sku:
                failures.append((status, body))
            served += 1
        wire.close()

    thread = threading.Thread(target=steady)
    thread.start()
    for _ in range(200):
        wire = Wire(port)
        data = reserve(good(sku)).encode()
        wire.send(data[: chance.randrange(1, len(data) + 1)])
        time.sleep(chance.random() / 500)  # not waiting for anything: the moment of vanishing is the point
        if chance.random() < 0.5:
            wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
        wire.close()
    wait_until(lambda: served > 50, what="the steady client to be served")
    stop.set()
    thread.join()
    assert not failures
    on_hand, reserved = shop.level(sku)
    assert on_hand == 100_000
    assert reserved >= served


def test_a_request_that_never_ends_is_dropped(make_service: Callable[..., RunningService]) -> None:
    running = make_service(ApiSettings(body_timeout_s=0.3))
    hot = reserve(good("A"))
    cold = hot.replace("/inventory/reserve ", "/inventory/orders ")
    for adapter, request in [("protocol", hot), ("asgi", hot), ("protocol", cold), ("asgi", cold)]:
        wire = Wire(running.ports[adapter])
        wire.socket.settimeout(20)
        wire.send(request[:-5])
        status, headers, body = wire.read_answer()
        assert (status, headers["connection"], json.loads(body)["code"]) == (408, "close", "request-timeout")
        wait_until(wire.is_closed, what="the server to close")
        wire.close()
