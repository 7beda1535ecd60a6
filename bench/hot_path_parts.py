"""Where the microseconds of an HTTP reserve go, part by part, in the API process.

    python -m bench.hot_path_parts

Compares nothing: it feeds the real protocol class and the real endpoint the bytes of a request, cut off behind each
part in turn, and takes the differences; then the real engine with batches of 64, its steps timed one by one. The rest,
up to the cost measured over HTTP (bench/http_reserve.py), is sockets and the event loop. Caveat: caches are warmer here
than in a server that also does other things; least of five passes each.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Callable, Iterable
from functools import partial
from itertools import islice, pairwise
from typing import Any, Final, cast

import httptools
import uvloop
from msgspec import Struct
from rich.console import Console
from rich.table import Table
from uvicorn import Config
from uvicorn.server import ServerState

from api.auth import KeyStore, digest_of
from api.hot.endpoints import Hot
from api.hot.protocol import hot_protocol
from api.hot.table import make_hot
from api.metrics import Metrics
from api.services import ApiSettings, Services
from bench.commands import reserves, sku_names, stock_up
from bench.cores import SERVER, on_core
from bench.servers import STOREFRONT_KEY, valkey
from engine import Engine, EngineSettings
from engine.results import Reply
from inventory.context import Inventory, InventorySettings

PASSES: Final = 5
BATCH: Final = 64
_BODY: Final = b'{"customer_id":"customer-123456","sku":"SKU-00001","quantity":1}'
REQUEST: Final = (
    b"POST /inventory/reserve HTTP/1.1\r\nHost: 127.0.0.1:8000\r\nAuthorization: Bearer %b\r\n"
    b"Content-Type: application/json\r\nIdempotency-Key: 0123456789ab-123456\r\nContent-Length: %d\r\n\r\n%b"
) % (STOREFRONT_KEY.encode(), len(_BODY), _BODY)


class Part(Struct, frozen=True):
    """One part of the way."""

    name: str
    microseconds: float


class _Key(Struct, frozen=True):
    id: str
    role: Any
    key_hash: bytes


class _Keys:
    async def active(self) -> Iterable[_Key]:
        return [_Key("storefront", "storefront", digest_of(STOREFRONT_KEY))]

    async def by_hash(self, key_hash: bytes) -> _Key | None:
        return None


class _Silent:
    """A parser's listener that wants to know nothing."""


class _Transport:
    """A connection whose client takes everything at once."""

    def is_closing(self) -> bool:
        return False

    def write(self, data: bytes) -> None:
        """Throw it away."""

    def get_extra_info(self, name: str, default: object = None) -> object:
        return default

    def close(self) -> None:
        """Nothing is open."""


class _AnswersAtOnce:
    """Stands for the engine where only what comes before or after it is timed."""

    def __init__(self, answers: bool) -> None:
        self._reply = Reply("ok", (), int(time.time() * 1000), 1)
        self.submit = self._answer if answers else self._drop

    def _answer(self, command: Any, on_reply: Callable[[Any, Any], None]) -> None:
        on_reply(command, self._reply)

    def _drop(self, command: Any, on_reply: Callable[[Any, Any], None]) -> None:
        """Cut off here."""


def http_parts(requests: int) -> list[Part]:
    """What the HTTP side costs a request."""
    return asyncio.run(_http_parts(requests))


async def _http_parts(requests: int) -> list[Part]:
    keys = KeyStore(_Keys())
    await keys.refresh()
    loop = asyncio.get_running_loop()

    def make(*, answers: bool) -> Hot:
        engine = cast("Engine", _AnswersAtOnce(answers))
        nothing = cast("Any", None)  # a reserve asks neither Postgres nor the queue
        inventory = Inventory(engine, nothing, nothing, InventorySettings())
        return make_hot(Services(inventory, keys, ApiSettings(), jobs=nothing), Metrics(None))

    def feed(hot: Hot) -> float:
        protocol = hot_protocol(hot)(Config(_no_app), ServerState(), {}, loop)
        protocol.connection_made(cast("Any", _Transport()))

        def one() -> None:
            # A request that was cut off is never answered; the connection must not wait for it.
            protocol.cycle = cast("Any", None)
            protocol.data_received(REQUEST)

        return _least(one, requests)

    # `dispatch` and `run` are replaced by nothing, so that the way ends there.
    parsed, known = make(answers=False), make(answers=False)
    parsed.dispatch = _nothing  # type: ignore[method-assign,assignment]
    found = known.route(b"POST", b"/inventory/reserve")
    if found is None:
        raise RuntimeError("the reserve endpoint is not where it was")
    found[0].run = _nothing
    parser = httptools.HttpRequestParser(_Silent())
    reached = [
        0.0,
        _least(lambda: parser.feed_data(REQUEST), requests),
        feed(parsed),
        feed(known),
        feed(make(answers=False)),
        feed(make(answers=True)),
    ]
    names = (
        "parse HTTP (httptools alone)",
        "headers, route, the connection's books",
        "authenticate, permission",
        "decode and check the body, derive id and fingerprint, make the command",
        "build the answer, count it, write it",
    )
    return [Part(name, after - before) for name, (before, after) in zip(names, pairwise(reached), strict=True)]


async def _no_app(scope: Any, receive: Any, send: Any) -> None:
    """Never asked."""


def _nothing(*_: object) -> None:
    """Cut off here."""


def _least(work: Callable[[], object], times: int) -> float:
    """Microseconds of CPU a call, the least of the passes."""
    best = float("inf")
    for _ in range(PASSES):
        started = time.process_time_ns()
        for _ in range(times):
            work()
        best = min(best, (time.process_time_ns() - started) / times / 1000)
    return best


def engine_parts(reservations: int) -> list[Part]:
    """What the engine costs a command, in the process that uses it."""
    with valkey() as server:
        return min(
            (uvloop.run(_engine_parts(server.url, reservations)) for _ in range(PASSES)),
            key=lambda parts: sum(part.microseconds for part in parts),
        )


async def _engine_parts(redis_url: str, reservations: int) -> list[Part]:
    engine = await Engine.connect(redis_url, EngineSettings(links=1))
    skus = sku_names(1000)
    await stock_up(engine, skus)
    spent: dict[str, int] = {}
    batcher: Any = engine.batcher
    for step in ("_take", "_encode", "_deliver"):
        setattr(batcher, step, partial(_timed, getattr(batcher, step), step, spent))
    commands = list(islice(reserves(skus), reservations))
    loop = asyncio.get_running_loop()
    started = time.process_time_ns()
    for start in range(0, reservations, BATCH):
        some = commands[start : start + BATCH]
        done = loop.create_future()
        left = len(some)

        def on_reply(_: object, reply: object) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                done.set_result(None)  # noqa: B023 - called before the next turn of the loop

        before = time.process_time_ns()
        for command in some:
            engine.submit(command, on_reply)
        spent["submit"] = spent.get("submit", 0) + time.process_time_ns() - before
        await done
    whole = time.process_time_ns() - started
    await engine.close()
    names = {
        "submit": "submit to the queue",
        "_take": "take the batch",
        "_encode": "encode the batch",
        "_deliver": "decode the replies, call back",
    }
    parts = [Part(name, spent[step] / reservations / 1000) for step, name in names.items()]
    rest = whole / reservations / 1000 - sum(part.microseconds for part in parts)
    return [*parts, Part("its socket, hiredis, the event loop (batches of 64)", rest)]


def _timed(step: Callable[..., Any], name: str, spent: dict[str, int], *arguments: Any) -> Any:
    started = time.process_time_ns()
    try:
        return step(*arguments)
    finally:
        spent[name] = spent.get(name, 0) + time.process_time_ns() - started


def print_parts(requests: int) -> None:
    """Measure and print."""
    table = Table("part", "us a request", title="An HTTP reserve inside the API process")
    total = 0.0
    with on_core(SERVER):
        parts = [*http_parts(requests), *engine_parts(requests)]
    for part in parts:
        table.add_row(part.name, f"{part.microseconds:.2f}")
        total += part.microseconds
    table.add_row("sum, without the client's sockets", f"{total:.2f}")
    Console().print(table)


if __name__ == "__main__":
    command_line = argparse.ArgumentParser(description="Where the microseconds of an HTTP reserve go")
    command_line.add_argument("--quick", action="store_true", help="a smoke test, the numbers mean nothing")
    print_parts(500 if command_line.parse_args().quick else 20_000)
