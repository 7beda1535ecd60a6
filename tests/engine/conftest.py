"""What the engine tests share: engines with settings of a test's own, and a server that says what a test wants."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from engine import Engine, EngineSettings
from engine.bootstrap import open_partition
from runtime.embedded_redis import EmbeddedRedis

OpenEngine = Callable[..., Awaitable[Engine]]


@pytest.fixture
async def open_engine(redis_url: str, redis_client: redis.Redis) -> AsyncIterator[OpenEngine]:
    """`await open_engine(**EngineSettings)`: an engine on the session's server, closed afterwards."""
    open_partition(redis_client, epoch=1, ledger_seq=0)
    engines: list[Engine] = []

    async def connect(url: str = redis_url, **chosen: Any) -> Engine:
        engines.append(await Engine.connect(url, EngineSettings(**chosen)))
        return engines[-1]

    yield connect
    for engine in engines:
        await engine.close()


@pytest.fixture
def own_server(make_redis: Callable[..., EmbeddedRedis]) -> EmbeddedRedis:
    """A server that the test may stop, kill and restart; its partition is open."""
    server = make_redis()
    with server.client() as client:
        open_partition(client, epoch=1, ledger_seq=0)
    return server


@pytest.fixture
def own_client(own_server: EmbeddedRedis) -> Iterator[redis.Redis]:
    with own_server.client() as client:
        yield client


def pause(server: EmbeddedRedis) -> None:
    """Stop the process, and return once it is stopped: until then it may still answer."""
    os.kill(server.process.pid, signal.SIGSTOP)
    _, status = os.waitpid(server.process.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)


class FakeServer:
    """Answers each chunk it reads with the next of its answers; an answer of None closes the connection."""

    def __init__(self, path: Path, answers: list[bytes | None]) -> None:
        self.path = path
        self.answers = answers
        self.received = b""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            self.received += data
            answer = self.answers.pop(0) if self.answers else None
            if answer is None:
                break
            writer.write(answer)
        writer.close()


@pytest.fixture
async def fake_server(server_folder: Path) -> AsyncIterator[Callable[..., Awaitable[FakeServer]]]:
    """`await fake_server(*answers)`: a server on a unix socket."""
    servers: list[asyncio.Server] = []

    async def start(*answers: bytes | None) -> FakeServer:
        fake = FakeServer(server_folder / f"fake{len(servers)}.sock", list(answers))
        servers.append(await asyncio.start_unix_server(fake.serve, fake.path))
        return fake

    yield start
    for server in servers:
        server.close()
