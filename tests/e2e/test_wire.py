"""The lean HTTP client against a server that answers, stalls, cuts connections and talks nonsense."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest

from runtime.service_client import ServiceClient, Unreachable
from runtime.wire import Origin, RequestMaker, Wire, parse_origin

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
CHUNKED = (
    b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\nIdempotency-Replayed: true\r\n\r\n"
    b'3\r\n{"a\r\n4\r\n":1}\r\n0\r\n\r\n'
)

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]


@asynccontextmanager
async def served(talk: Talk, connections: int = 2, timeout_s: float = 0.5) -> AsyncIterator[Wire]:
    async def guarded(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await talk(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client has gone: the end of the talk
        finally:
            writer.close()

    server = await asyncio.start_server(guarded, "127.0.0.1", 0)
    wire = Wire(Origin("127.0.0.1", server.sockets[0].getsockname()[1], tls=False, path=""), connections, timeout_s)
    await wire.start()
    try:
        yield wire
    finally:
        await wire.close()
        server.close()


def request(path: str = "/") -> bytes:
    return RequestMaker(Origin("127.0.0.1", 80, tls=False, path=""), "key").make("GET", path)


async def request_head(reader: asyncio.StreamReader) -> bytes:
    return await reader.readuntil(b"\r\n\r\n")


async def test_answers_come_back_on_kept_connections() -> None:
    seen: list[asyncio.StreamWriter] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(writer)
        while True:
            head = await request_head(reader)
            assert b"Authorization: Bearer key\r\n" in head
            writer.write(CHUNKED if b"GET /chunked" in head else ANSWER)

    async with served(talk) as wire:
        answers = await asyncio.gather(*(wire.ask(request("/chunked" if n % 2 else "/")) for n in range(50)))
    assert [answer.status for answer in answers] == [200, 201] * 25
    assert {answer.body for answer in answers} == {b"{}", b'{"a":1}'}
    assert [answer.replayed for answer in answers] == [False, True] * 25
    assert all(answer.answered_s >= answer.sent_s > 0 for answer in answers)
    assert len(seen) == 2


@pytest.mark.parametrize("reply", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}", b"nonsense\r\n\r\n"])
async def test_a_cut_or_senseless_answer_is_an_unknown_outcome_and_the_connection_is_replaced(reply: bytes) -> None:
    first = True

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal first
        while True:
            await request_head(reader)
            if first:
                first = False
                writer.write(reply)
                await writer.drain()
                return
            writer.write(ANSWER)

    async with served(talk, connections=1) as wire:
        assert (await wire.ask(request())).status == 0
        assert (await wire.ask(request())).status == 200


async def test_a_stalled_answer_is_given_up_and_what_waited_behind_it_goes_on() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            if b"GET /stall" in await request_head(reader):
                await reader.read()
            writer.write(ANSWER)

    async with served(talk, connections=1, timeout_s=0.3) as wire:
        stalled, behind = await asyncio.gather(wire.ask(request("/stall")), wire.ask(request()))
    assert stalled.status == 0
    assert stalled.answered_s - stalled.sent_s > 0.3
    assert behind.status in {0, 200}


async def test_closing_answers_what_still_waits() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with served(talk, connections=1, timeout_s=30) as wire:
        asked = [asyncio.create_task(wire.ask(request())) for _ in range(3)]
        await asyncio.sleep(0)
        await wire.close()
        assert [answer.status for answer in await asyncio.gather(*asked)] == [0, 0, 0]


async def test_a_service_client_repeats_what_is_unknown_and_gives_up_in_time() -> None:
    refused = b"HTTP/1.1 503 x\r\nContent-Length: 21\r\nRetry-After: 1\r\n\r\n" + b'{"code":"overloaded"}'
    replies = [b"", refused, ANSWER]

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = await request_head(reader)
            reply = refused if b"/never" in head else replies.pop(0)
            if not reply:
                return
            writer.write(reply)

    async with served(talk) as wire:
        url = f"http://127.0.0.1:{wire._origin.port}"
        async with ServiceClient(url, "key", connections=1, patience_s=1) as client:
            assert (await client.call("GET", "/once")).status == 200
            assert (client.requests, client.repeats) == (3, 2)
            with pytest.raises(Unreachable, match="503 overloaded for 1 s"):
                await client.call("GET", "/never")


def test_addresses() -> None:
    assert parse_origin("http://127.0.0.1:8000") == Origin("127.0.0.1", 8000, tls=False, path="")
    assert parse_origin("https://shop.example/stock/") == Origin("shop.example", 443, tls=True, path="/stock")
    assert b"Host: [::1]:8000\r\n" in RequestMaker(parse_origin("http://[::1]:8000"), "k").make("GET", "/")
    with pytest.raises(ValueError, match="not an address"):
        parse_origin("shop.example:80")
