"""What 100 readers of GET /inventory/events cost the reserves of the same API process.

    python -m bench.event_readers

Compares with the same reserves and no reader, in turn: 64 connections in a closed loop, flusher running. The readers
are plain sockets in a process of their own on the load core; each must have had every event in the end, none twice.
Caveat: the generator, the readers, Valkey, Postgres and the worker share one core, so the rate without readers is no
peak.
"""

from __future__ import annotations

import multiprocessing
import select
import socket
import statistics
import time
from contextlib import ExitStack
from multiprocessing.connection import Connection
from typing import Final

import uvloop

from bench.commands import sku_names, stock_up
from bench.cores import LOAD, on_core
from bench.figures import Figure, number
from bench.generator import Generator, reserves
from bench.rounds import Scale, compare, run_alone
from bench.servers import ADMIN_KEY, STOREFRONT_KEY, holdfast_api, holdfast_worker, postgres, valkey
from bench.whole_store import wait_flushed
from engine import Engine, EngineSettings

COMMAND = "python -m bench.event_readers"
READERS: Final = 100
CONNECTIONS: Final = 64
SECONDS: Final = 4.0
SKUS: Final = 1_000
QUIET_S: Final = 3.0
"""Without a byte for this long a reader has had all."""


def measure(scale: Scale) -> list[Figure]:
    """Reserves a second with readers and without."""
    readers, seconds = max(5, scale.of(READERS)), scale.seconds(SECONDS)
    pairs: list[tuple[float, float]] = []
    told: list[float] = []
    with ExitStack() as stack:
        redis_server = stack.enter_context(valkey())
        database = stack.enter_context(postgres())
        uvloop.run(_stock(redis_server.url))
        stack.enter_context(holdfast_worker(redis_server.url, database.url))
        server = stack.enter_context(holdfast_api(redis_server.url, database.url))

        def rate() -> tuple[float, int]:
            generator = Generator(server.port, CONNECTIONS, reserves(server.port, STOREFRONT_KEY, SKUS))
            with on_core(LOAD):
                answers, refused, took = generator.closed_loop(seconds)
            generator.close()
            if refused:
                raise RuntimeError(f"{refused} requests were refused")
            return answers / took, answers

        for _ in range(scale.rounds):
            wait_flushed(redis_server.url, database.url)
            alone, _ = rate()
            wait_flushed(redis_server.url, database.url)
            ours, theirs = multiprocessing.Pipe()
            process = multiprocessing.get_context("spawn").Process(target=_read, args=(server.port, readers, theirs))
            process.start()
            if ours.recv() != "ready":
                raise RuntimeError("the readers did not begin")
            began = time.perf_counter()
            beside, answers = rate()
            ours.send(answers)
            counts: list[int] = ours.recv()
            told.append(sum(counts) / (time.perf_counter() - began - QUIET_S))
            process.join(30)
            if set(counts) != {answers}:
                raise RuntimeError(f"{answers} events, and readers had from {min(counts)} to {max(counts)}")
            pairs.append((beside, alone))
    found = compare(pairs)
    return [
        found.figure(
            what=f"HTTP reserves a second beside {readers} readers of all events",
            rival="the same without a reader",
            unit="/s",
            note=f"{number(statistics.median(told))} events a second told, all readers together; no gap, no repeat",
            command=COMMAND,
        )
    ]


async def _stock(redis_url: str) -> None:
    engine = await Engine.connect(redis_url, EngineSettings())
    await stock_up(engine, sku_names(SKUS))
    await engine.close()


def _read(port: int, readers: int, parent: Connection) -> None:
    """Count the events of each reader until all have had as many as the parent says, or nothing comes any more."""
    request = (
        f"GET /inventory/events?types=reservation.created HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
        f"Authorization: Bearer {ADMIN_KEY}\r\n\r\n"
    ).encode()
    with on_core(LOAD), select.epoll() as polled:
        sockets: dict[int, socket.socket] = {}
        counts: dict[int, int] = {}
        tails: dict[int, bytes] = {}
        for _ in range(readers):
            connection = socket.create_connection(("127.0.0.1", port))
            connection.sendall(request)
            head = b""
            while b"\nid: " not in head:
                head += connection.recv(65_536)
            connection.setblocking(False)
            sockets[connection.fileno()] = connection
            counts[connection.fileno()], tails[connection.fileno()] = 0, b""
            polled.register(connection.fileno(), select.EPOLLIN)
        parent.send("ready")
        wanted, last = -1, time.monotonic()
        while True:
            if parent.poll():
                wanted, last = parent.recv(), time.monotonic()
            for handle, _ in polled.poll(0.05):
                data = tails[handle] + sockets[handle].recv(1 << 20)
                counts[handle] += data.count(b"\nevent: ")
                # What may be the beginning of the mark is looked at again together with what comes next.
                tails[handle] = data[-7:] if b"\nevent: "[:1] in data[-7:] else b""
                last = time.monotonic()
            if wanted >= 0 and (time.monotonic() - last > QUIET_S):
                break
        parent.send(list(counts.values()))
        for connection in sockets.values():
            connection.close()


if __name__ == "__main__":
    run_alone(measure, "Readers of events")
