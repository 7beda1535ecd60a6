"""A proxy between clients and a server that breaks what passes: cuts at a chosen point, black holes, delays.

Owns the breaking; never looks into what passes, but for the words that a cut waits for.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal

from anyio.from_thread import start_blocking_portal

Cut = Literal["before send", "after send"]
"""Before what a client sends arrives; or after that, and before the answer does."""

PIECE: Final = 65_536
ANSWER_WAIT_S: Final = 1.0
"""How long a cut after the send waits for the answer that it drops: a piece may be half of a request, and get none."""


class LinkProxy:
    """One listening socket; every connection through it can be cut, held up or slowed down.

    `server`: a unix socket, or host and port. `cuts_at`: asked what happens to each piece that a client sends; without
    one, `cut_next` says it. Use `start` or `start_tcp`, finally `close`, all on one event loop.
    """

    def __init__(
        self, server: Path | tuple[str, int], name: str = "", cuts_at: Callable[[bytes], Cut | None] | None = None
    ) -> None:
        self.name = name
        self._to = server
        self._cuts_at = cuts_at or self._as_told
        self._server: asyncio.Server | None = None
        self._links: set[_Link] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.cut_next: Cut | None = None
        """What happens to the next piece that a client sends and that holds `cut_word`; None again afterwards."""
        self.cut_word = b""
        self.cuts: Counter[Cut] = Counter({"before send": 0, "after send": 0})
        self.delay_s = 0.0
        """How late every piece arrives, in both directions."""
        self._open = asyncio.Event()
        self._open.set()

    async def start(self, path: Path) -> None:
        """Listen on a unix socket."""
        self._server = await asyncio.start_unix_server(self._accept, str(path))

    async def start_tcp(self) -> int:
        """Listen on a port of 127.0.0.1; the port."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def __aenter__(self) -> LinkProxy:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Stop listening and end every connection. `async with` does it, too."""
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
            link.cut()

    def lead_to(self, server: Path) -> None:
        """New connections go to another server."""
        self._to = server

    def cut_of(self, piece: bytes) -> Cut | None:
        """What happens to a piece that a client has sent."""
        cut = self._cuts_at(piece)
        if cut is not None:
            self.cuts[cut] += 1
        return cut

    def _as_told(self, piece: bytes) -> Cut | None:
        if self.cut_next is None or self.cut_word not in piece:
            return None
        how, self.cut_next = self.cut_next, None
        return how

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._open.wait()
        try:
            if isinstance(self._to, Path):
                there = await asyncio.open_unix_connection(str(self._to))
            else:
                there = await asyncio.open_connection(*self._to)
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


def now_and_then(seed: int, every: int, word: bytes) -> Callable[[bytes], Cut | None]:
    """For `cuts_at`: about one in `every` of the pieces that hold `word` is cut, before or after it was sent."""
    dice = random.Random(seed)

    def cut(piece: bytes) -> Cut | None:
        if word not in piece or dice.randrange(every):
            return None
        return dice.choice(("before send", "after send"))

    return cut


@contextmanager
def in_a_thread(proxy: LinkProxy) -> Iterator[int]:
    """The proxy on an event loop of its own, for tests that have none; the port that it listens on."""
    with start_blocking_portal() as portal:
        port = portal.call(proxy.start_tcp)
        try:
            yield port
        finally:
            portal.call(proxy.close)


Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class _Link:
    """One connection through the proxy."""

    def __init__(self, proxy: LinkProxy, client: Ends, server: Ends) -> None:
        self._proxy = proxy
        self._client = client
        self._server = server
        self._deaf = False
        """The next answer is dropped, and the connection with it."""

    async def run(self) -> None:
        pumps = [asyncio.ensure_future(self._requests()), asyncio.ensure_future(self._answers())]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            for _, writer in (self._client, self._server):
                writer.close()

    def cut(self) -> None:
        """End it, whatever is under way."""
        for _, writer in (self._client, self._server):
            writer.transport.abort()

    async def _requests(self) -> None:
        proxy = self._proxy
        reader, (_, server) = self._client[0], self._server
        with contextlib.suppress(OSError):
            while piece := await reader.read(PIECE):
                await proxy.pass_on()
                cut = None if self._deaf else proxy.cut_of(piece)
                if cut == "before send":
                    self.cut()
                    return
                if cut == "after send":
                    self._deaf = True
                    asyncio.get_running_loop().call_later(ANSWER_WAIT_S, self.cut)
                # What else belongs to the request still goes through: HTTP clients send head and body apart.
                server.write(piece)
                await server.drain()

    async def _answers(self) -> None:
        reader, (_, client) = self._server[0], self._client
        with contextlib.suppress(OSError):
            while piece := await reader.read(PIECE):
                await self._proxy.pass_on()
                if self._deaf:
                    # The server has done what it was told; this answer is the one that is dropped.
                    self.cut()
                    return
                client.write(piece)
                await client.drain()
