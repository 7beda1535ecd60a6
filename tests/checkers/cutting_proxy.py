"""A proxy before Redis, on a unix socket, that cuts connections: before a request arrives, or before its answer does.

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
    """`async with CuttingProxy(server_socket, path, seed, every=50)`: about one request chunk in `every` is cut."""

    def __init__(self, server_socket: Path, path: Path, seed: int, every: int) -> None:
        self._server_socket = server_socket
        self._path = path
        self._dice = random.Random(seed)
        self._every = every
        self._tasks: list[asyncio.Task[None]] = []
        self.cuts: dict[Cut, int] = {"before": 0, "after": 0}

    @property
    def url(self) -> str:
        return f"unix://{quote(str(self._path))}?db=0"

    async def __aenter__(self) -> CuttingProxy:
        self._server = await asyncio.start_unix_server(self._accept, self._path)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        self._tasks.append(asyncio.create_task(self._serve(client, to_client)))

    async def _serve(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        server, to_server = await asyncio.open_unix_connection(self._server_socket)
        deaf = asyncio.Event()
        answers = asyncio.create_task(self._answers(server, to_client, deaf))
        with contextlib.suppress(OSError):
            while data := await client.read(1 << 20):
                cut: Cut | None = None
                # Only batches are worth it: a connection must get through its opening.
                if b"EVALSHA" in data and self._dice.randrange(self._every) == 0:
                    cut = self._dice.choice(["before", "after"])
                    self.cuts[cut] += 1
                if cut == "before":
                    break
                if cut == "after":
                    deaf.set()
                to_server.write(data)
                await to_server.drain()
                if cut == "after":
                    await answers  # ends with the first bytes of the answer: by then the server has run it
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
