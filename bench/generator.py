"""A load generator in Python: requests at scheduled instants over HTTP (open loop), or as fast as they are answered.

Owns keep-alive connections, arrivals of a Poisson process, and how late it was itself. In the open loop a latency
counts from the scheduled instant, and a request that finds no free connection waits for one: it is what a customer
would wait. One thread; it sleeps with microsecond timeouts, since it shares its core with the database.
"""

from __future__ import annotations

import random
import secrets
import select
import socket
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import count

from msgspec import Struct

_END_OF_HEAD = b"\r\n\r\n"
_LENGTH = b"content-length: "
_LEAST_SLEEP_S = 0.000_02


class Timings(Struct, frozen=True):
    """What a run saw. Milliseconds."""

    latencies_ms: list[float]
    """From the scheduled instant to the last byte of the answer, in order of answers."""
    lateness_ms: list[float]
    """From the scheduled instant to the send, for requests that found a connection free: the generator's own fault."""
    refused: int


def percentile(values: list[float], share: float) -> float:
    """The value below which `share` (0 to 1) of the values lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def reserves(port: int, api_key: str, skus: int) -> Callable[[], bytes]:
    """Makes requests: each a reserve of one unit with an idempotency key and a customer of its own."""
    head = (
        f"POST /inventory/reserve HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {api_key}\r\n"
        f"Content-Type: application/json\r\nIdempotency-Key: {secrets.token_hex(6)}-"
    )
    numbers = count(1)

    def make() -> bytes:
        number = next(numbers)
        body = f'{{"customer_id":"customer-{number % 1_000_000:06d}","sku":"SKU-{number % skus:05d}","quantity":1}}'
        return f"{head}{number}\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()

    return make


def confirms(port: int, api_key: str, durability: str, ids: Iterable[str]) -> Callable[[], bytes]:
    """Makes requests: each the confirm of the next of `ids`; past the last one they are refused."""
    tail = (
        f"/confirm HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {api_key}\r\n"
        f"Holdfast-Durability: {durability}\r\nContent-Length: 0\r\n\r\n"
    )
    left = iter(ids)

    def make() -> bytes:
        return f"POST /inventory/reserve/{next(left, 'none-is-left')}{tail}".encode()

    return make


def hellos(port: int) -> Callable[[], bytes]:
    """Makes requests: GET /, always the same."""
    request = f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode()
    return lambda: request


class Generator:
    """Connections to one server. Not for more than one run at a time."""

    def __init__(self, port: int, connections: int, make: Callable[[], bytes]) -> None:
        self._make = make
        self._epoll = select.epoll()
        self._sockets: dict[int, socket.socket] = {}
        for _ in range(connections):
            connection = socket.create_connection(("127.0.0.1", port))
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.setblocking(False)
            self._sockets[connection.fileno()] = connection
            self._epoll.register(connection.fileno(), select.EPOLLIN)

    def close(self) -> None:
        """Close every connection."""
        for connection in self._sockets.values():
            connection.close()
        self._epoll.close()

    def open_loop(self, rate: float, seconds: float, seed: int) -> Timings:
        """Send at `rate` a second on average for `seconds`. Raises RuntimeError when the server hangs up."""
        chance = random.Random(seed)
        clock = time.perf_counter
        first = clock() + 0.01

        def arrivals() -> Iterator[float]:
            at = first
            while at < first + seconds:
                yield at
                at += chance.expovariate(rate)

        schedule = arrivals()
        due = next(schedule, None)
        waiting: deque[float] = deque()
        free = list(self._sockets)
        under_way: dict[int, float] = {}
        latencies: list[float] = []
        lateness: list[float] = []
        refused = 0
        while due is not None or waiting or under_way:
            now = clock()
            while due is not None and due <= now:
                if free:
                    # Taken before the send: what this request waited for is us, not the server.
                    lateness.append((clock() - due) * 1000)
                    self._send(free.pop(), due, under_way)
                else:
                    waiting.append(due)
                due = next(schedule, None)
            for handle in self._readable(due):
                good = self._receive(handle)
                latencies.append((clock() - under_way.pop(handle)) * 1000)
                refused += not good
                if waiting:
                    self._send(handle, waiting.popleft(), under_way)
                else:
                    free.append(handle)
        return Timings(latencies_ms=latencies, lateness_ms=lateness, refused=refused)

    def closed_loop(self, seconds: float) -> tuple[int, int, float]:
        """Send on every connection as soon as it was answered: (answers, refusals among them, seconds taken)."""
        started = time.perf_counter()
        under_way: dict[int, float] = {}
        answers = refused = 0
        for handle in self._sockets:
            self._send(handle, started, under_way)
        while under_way:
            more = time.perf_counter() < started + seconds
            for handle in self._readable(None):
                del under_way[handle]
                answers += 1
                refused += not self._receive(handle)
                if more:
                    self._send(handle, started, under_way)
        return answers, refused, time.perf_counter() - started

    def one_at_a_time(self, requests: int) -> Timings:
        """The idle round trip: the next request is sent when the last was answered."""
        handle = next(iter(self._sockets))
        under_way: dict[int, float] = {}
        latencies = []
        refused = 0
        for _ in range(requests):
            self._send(handle, time.perf_counter(), under_way)
            while handle not in self._readable(None):
                pass
            refused += not self._receive(handle)
            latencies.append((time.perf_counter() - under_way.pop(handle)) * 1000)
        return Timings(latencies_ms=latencies, lateness_ms=[], refused=refused)

    def _send(self, handle: int, scheduled: float, under_way: dict[int, float]) -> None:
        under_way[handle] = scheduled
        self._sockets[handle].send(self._make())

    def _readable(self, due: float | None) -> list[int]:
        """Connections with an answer; sleeps until there is one or the next request is due."""
        timeout = 1.0 if due is None else due - time.perf_counter()
        if timeout > _LEAST_SLEEP_S:
            # epoll counts in milliseconds, select in microseconds, and an epoll can be selected on.
            select.select([self._epoll], [], [], timeout)
        return [handle for handle, _ in self._epoll.poll(0)]

    def _receive(self, handle: int) -> bool:
        """Read one whole answer; whether its status is 2xx."""
        connection = self._sockets[handle]
        data = connection.recv(65_536)
        while not _is_whole(data):
            if not data:
                raise RuntimeError("the server closed a connection")
            select.select([connection], [], [], 1.0)
            data += connection.recv(65_536)
        return data.startswith(b"HTTP/1.1 2")


def _is_whole(data: bytes) -> bool:
    head, found, body = data.partition(_END_OF_HEAD)
    if not found:
        return False
    at = head.lower().find(_LENGTH)
    return len(body) >= int(head[at + len(_LENGTH) :].partition(b"\r\n")[0])
