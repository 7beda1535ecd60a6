"""A proxy that cuts connections: before a request arrives, or before its answer does. Before Redis on a unix socket,
before any TCP service on a port of its own.

Owns only that; every other byte passes as it is.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from pathlib import Path
from typing import Literal
from urllib.parse import quote

Cut = Literal["before", "after"]


class CuttingProxy:
    """`async with CuttingProxy(server_socket, path, seed, every=50)`: about one request chunk in `every` is cut.

    `server`: a unix socket or (host, port). `path`: where it listens; None: a TCP port of its own, told by `port`.
    `marker`: what a chunk has in it that may be cut. For Redis only batches are: a connection must get through its
    opening.
    """

    def __init__(
        self, server: Path | tuple[str, int], path: Path | None, seed: int, every: int, marker: bytes = b"EVALSHA"
    ) -> None:
        self._to = server
        self._path = path
        self._marker = marker
        self.port = 0
        self._dice = random.Random(seed)
        self._every = every
        self._tasks: list[asyncio.Task[None]] = []
        self.cuts: dict[Cut, int] = {"before": 0, "after": 0}

    @property
    def url(self) -> str:
        return f"unix://{quote(str(self._path))}?db=0"

    async def __aenter__(self) -> CuttingProxy:
        if self._path is not None:
            self._server = await asyncio.start_unix_server(self._accept, self._path)
        else:
            self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
            self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        self._tasks.append(asyncio.create_task(self._serve(client, to_client)))

    async def _serve(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        if isinstance(self._to, Path):
            server, to_server = await asyncio.open_unix_connection(self._to)
        else:
            server, to_server = await asyncio.open_connection(*self._to)
        deaf = asyncio.Event()
        answers = asyncio.create_task(self._answers(server, to_client, deaf))
        with contextlib.suppress(OSError):
            while data := await client.read(1 << 20):
                cut: Cut | None = None
                if self._marker in data and self._dice.randrange(self._every) == 0:
                    cut = self._dice.choice(["before", "after"])
                    self.cuts[cut] += 1
                if cut == "before":
                    break
                if cut == "after":
                    deaf.set()
                to_server.write(data)
                await to_server.drain()
                if cut == "after":
                    rest = asyncio.create_task(_forward(client, to_server))
                    await answers  # ends with the first bytes of the answer: by then the server has run it
                    rest.cancel()
                    break
        answers.cancel()
        to_client.close()
        to_server.close()

    async def _answers(
        self, server: asyncio.StreamReader, to_client: asyncio.StreamWriter, deaf: asyncio.Event
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await server.read(1 << 20):
                if deaf.is_set():
                    return
                to_client.write(data)
                await to_client.drain()


async def _forward(client: asyncio.StreamReader, to_server: asyncio.StreamWriter) -> None:
    """What else belongs to the request: HTTP clients send head and body one after the other."""
    with contextlib.suppress(OSError):
        while data := await client.read(1 << 20):
            to_server.write(data)
            await to_server.drain()
