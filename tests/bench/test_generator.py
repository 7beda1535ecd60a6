"""The open-loop generator measures from the scheduled instant, also while it waits for a free connection."""

import asyncio
import os
import threading
from collections.abc import Iterator

import pytest

from bench.cpu import cpu_seconds
from bench.generator import Generator, percentile, reserves

ANSWER = b"HTTP/1.1 201 Created\r\ncontent-length: 2\r\n\r\n{}"
DELAY_S = 0.05


class SlowServer:
    """Answers each request `DELAY_S` after it came, in two pieces."""

    def __init__(self) -> None:
        self.requests: list[bytes] = []
        self.port = 0
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> "SlowServer":
        self._thread.start()
        assert self._ready.wait(60)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(60)
        self._loop.close()

    def _serve(self) -> None:
        server = self._loop.run_until_complete(asyncio.start_server(self._answer, "127.0.0.1", 0))
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        self._loop.run_forever()
        server.close()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0))

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            self.requests.append(data)
            await asyncio.sleep(DELAY_S)
            writer.write(ANSWER[:20])
            await writer.drain()
            await asyncio.sleep(0.001)
            writer.write(ANSWER[20:])


@pytest.fixture
def server() -> Iterator[SlowServer]:
    with SlowServer() as running:
        yield running


def test_waiting_for_a_free_connection_counts(server: SlowServer) -> None:
    generator = Generator(server.port, 1, reserves(server.port, "key", 3))
    # One connection serves 20 a second at most; 100 a second are due, so the last waits for all before it.
    timings = generator.open_loop(rate=100, seconds=0.3, seed=1)
    generator.close()
    assert timings.refused == 0
    assert len(timings.latencies_ms) == len(server.requests) > 10
    assert max(timings.latencies_ms) > 1000 * DELAY_S * (len(server.requests) - 1) - 300
    assert min(timings.latencies_ms) >= 1000 * DELAY_S


def test_every_request_has_a_key_of_its_own(server: SlowServer) -> None:
    generator = Generator(server.port, 4, reserves(server.port, "key", 3))
    answers, refused, _ = generator.closed_loop(0.2)
    generator.close()
    assert (answers, refused) == (len(server.requests), 0)
    keys = {line for data in server.requests for line in data.split(b"\r\n") if line.startswith(b"Idempotency-Key")}
    assert len(keys) == answers


def test_percentile_is_a_value_that_was_seen() -> None:
    values = [float(value) for value in range(100, 0, -1)]
    assert percentile(values, 0.5) == 51.0
    assert percentile(values, 0.99) == 100.0
    assert percentile([7.0], 0.999) == 7.0


def test_cpu_time_grows_with_work() -> None:
    before = cpu_seconds(os.getpid())
    sum(number * number for number in range(300_000))
    assert cpu_seconds(os.getpid()) > before
