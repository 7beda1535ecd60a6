"""What a lost connection leaves behind: nothing, and at once. An error that came through a frame which holds it would
stay, with link, buffers and requests, until the garbage collector comes, which in the API is seldom.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import redis

from engine import Engine, Unavailable
from engine.link import Link, open_link, parse_url
from runtime.embedded_redis import EmbeddedRedis
from tests.engine.calls import holding, stock
from tests.engine.conftest import FakeServer, pause
from tests.leftovers import alive

RECONNECTS = 10


async def failed(call: Awaitable[Any]) -> bool:
    # Not pytest.raises, which keeps the error and with it the frames.
    try:
        await call
    except (ConnectionError, Unavailable):
        return True
    return False


@pytest.mark.usefixtures("without_collector")
async def test_a_link_that_is_lost_while_somebody_waits(
    fake_server: Callable[..., Awaitable[FakeServer]], eventually: Callable[..., Any]
) -> None:
    fake = await fake_server(b"+OK\r\n", None)
    before = alive(Link)
    link = await open_link(parse_url(f"unix://{fake.path}"), lambda _: None)

    assert await failed(link.call(b"PING"))
    del link

    await eventually(lambda: alive(Link) == before, what="the link is gone")


@pytest.mark.usefixtures("without_collector")
async def test_an_engine_that_has_reconnected_often_has_its_links_and_no_more(
    own_server: EmbeddedRedis, own_client: redis.Redis, eventually: Callable[..., Any]
) -> None:
    before, errors = alive(Link), alive(Unavailable)
    engine = await Engine.connect(own_server.url)
    await stock(engine)
    links = alive(Link) - before
    assert links > 0

    def names() -> set[str]:
        return {one["id"] for one in own_client.client_list() if one["name"] == "holdfast"}

    for _ in range(RECONNECTS):
        known = names()
        pause(own_server)
        waiting = [asyncio.ensure_future(failed(engine.execute(holding()))) for _ in range(20)]
        await eventually(lambda: engine.in_flight > 0, what="a batch is under way")
        own_server.process.send_signal(signal.SIGCONT)
        own_client.client_kill_filter(_type="normal", skipme=True)
        await asyncio.gather(*waiting)
        del waiting
        await eventually(
            lambda known=known: len(names()) == links and not names() & known, what="every link is a new one"
        )

    await eventually(lambda: alive(Link) - before == links, what=f"{links} links are left")
    await eventually(lambda: alive(Unavailable) <= errors, what="no error is left of those that its callers had")
    await engine.close()
