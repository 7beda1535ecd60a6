"""A proxy on a unix socket between one kind of client and its server, that breaks what passes at a chosen point.

Owns the breaking; never looks into what passes, but for the word that a cut may wait for.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable
from pathlib import Path
from typing import Final, Literal

Cut = Literal["before send", "after send"]

PIECE: Final = 65_536
ANSWER_WAIT_S: Final = 0.5
"""How long a cut after the send lets the server answer before the connection goes: the answer is dropped."""


class LinkProxy:
    """One listening socket; every connection through it can be cut, held up or slowed down."""

    def __init__(self, name: str, listen: Path, server: Path) -> None:
        self.name = name
        self._listen = listen
        self._server_socket = server
        self._server: asyncio.Server | None = None
        self._links: set[_Link] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.cut_next: Cut | None = None
        """What happens to the next piece that a client sends and that holds `cut_word`; None again afterwards."""
        self.cut_word = b""
        self.cuts = 0
        self.delay_s = 0.0
        """How late every piece arrives, in both directions."""
        self._open = asyncio.Event()
        self._open.set()

    async def start(self) -> None:
        self._server = await asyncio.start_unix_server(self._accept, str(self._listen))

    async def start_tcp(self) -> int:
        """Listen on a port of 127.0.0.1 in place of the socket, for clients that know nothing else; the port."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        self.drop_all()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def black_hole(self, on: bool) -> None:
        """While on, nothing passes in either direction, and nobody is told."""
        if on:
            self._open.clear()
        else:
            self._open.set()

    def drop_all(self) -> None:
        """End every connection at once."""
        for link in list(self._links):
            link.end()

    def lead_to(self, server: Path) -> None:
        """New connections go to another server."""
        self._server_socket = server

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._open.wait()
        try:
            there = await asyncio.open_unix_connection(str(self._server_socket))
        except OSError:
            writer.transport.abort()
            return
        link = _Link(self, (reader, writer), there)
        self._links.add(link)
        try:
            await link.run()
        finally:
            self._links.discard(link)

    async def pass_on(self) -> None:
        """Wait as long as the proxy holds things up."""
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        await self._open.wait()


Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class _Link:
    def __init__(self, proxy: LinkProxy, client: Ends, server: Ends) -> None:
        self._proxy = proxy
        self._client = client
        self._server = server
        self._deaf = False

    async def run(self) -> None:
        pumps = [asyncio.ensure_future(self._requests()), asyncio.ensure_future(self._answers())]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            self.end()

    def end(self) -> None:
        for _, writer in (self._client, self._server):
            writer.transport.abort()

    async def _requests(self) -> None:
        proxy = self._proxy
        reader, (_, server) = self._client[0], self._server
        with contextlib.suppress(OSError):
            while piece := await reader.read(PIECE):
                await proxy.pass_on()
                if proxy.cut_next is not None and proxy.cut_word in piece:
                    how, proxy.cut_next = proxy.cut_next, None
                    proxy.cuts += 1
                    if how == "after send":
                        self._deaf = True
                        server.write(piece)
                        await _within(server.drain())
                        # The server must have had its chance to do what it was told.
                        await asyncio.sleep(ANSWER_WAIT_S / 10)
                    return
                server.write(piece)
                await server.drain()

    async def _answers(self) -> None:
        reader, (_, client) = self._server[0], self._client
        with contextlib.suppress(OSError):
            while piece := await reader.read(PIECE):
                await self._proxy.pass_on()
                if self._deaf:
                    continue
                client.write(piece)
                await client.drain()


async def _within(work: Awaitable[None]) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(work, ANSWER_WAIT_S)
