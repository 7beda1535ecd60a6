"""engine/link.py: URLs, the handshake, order of replies, and connections that end or lie."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import hiredis
import pytest
import redis
import trustme

from engine import Engine, InvalidCommand
from engine.errors import Disconnected
from engine.link import Address, Link, encode, open_link, parse_url
from runtime.embedded_redis import EmbeddedRedis
from tests.engine.conftest import FakeServer

StartFake = Callable[..., Awaitable[FakeServer]]


def address(**parts: Any) -> Address:
    given = {"host": "127.0.0.1", "port": 6379, "path": "", "username": "", "password": "", "database": 0, "tls": False}
    return Address(**{**given, **parts})


def at(path: Path, **parts: Any) -> Address:
    return address(path=str(path), **parts)


# -- URLs


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://", address()),
        ("redis://example.org", address(host="example.org")),
        ("redis://example.org:7000/3", address(host="example.org", port=7000, database=3)),
        ("redis://example.org?db=2", address(host="example.org", database=2)),
        ("redis://:p%40ss@h", address(host="h", password="p@ss")),
        ("redis://ann:secret@h:1/0", address(host="h", port=1, username="ann", password="secret")),
        ("redis://[::1]:7000/1", address(host="::1", port=7000, database=1)),
        ("rediss://h", address(host="h", tls=True)),
        ("unix:///run/a%20b.sock", address(path="/run/a b.sock")),
        ("unix:///run/r.sock?db=4", address(path="/run/r.sock", database=4)),
        ("unix://ann:secret@/run/r.sock", address(path="/run/r.sock", username="ann", password="secret")),
    ],
)
def test_urls(url: str, expected: Address) -> None:
    assert parse_url(url) == expected


@pytest.mark.parametrize(
    "url",
    ["", "localhost:6379", "http://secret@h", "redis://:secret@h:x/0", "redis://:secret@h/x", "redis://h?db=secret"],
)
def test_a_bad_url_is_refused_without_being_repeated(url: str) -> None:
    with pytest.raises(InvalidCommand) as refused:
        parse_url(url)

    assert "secret" not in str(refused.value)


# -- the wire


def test_a_command_on_the_wire() -> None:
    assert encode([b"GET", b"a\r\nb", b""]) == b"*3\r\n$3\r\nGET\r\n$4\r\na\r\nb\r\n$0\r\n\r\n"


async def test_replies_come_in_the_order_of_the_sends(own_server: EmbeddedRedis) -> None:
    link = await open_link(at(own_server.socket_path), lambda _: None)
    got: list[Any] = []
    done = asyncio.Event()

    for n in range(100):
        link.send(encode([b"ECHO", b"%d" % n]), got.append)
    link.send(encode([b"NOSUCH"]), lambda reply: (got.append(reply), done.set()))
    await asyncio.wait_for(done.wait(), 10)

    assert got[:100] == [b"%d" % n for n in range(100)]
    assert isinstance(got[100], hiredis.ReplyError)
    link.close()


async def test_a_reply_larger_than_a_read(own_server: EmbeddedRedis) -> None:
    link = await open_link(at(own_server.socket_path), lambda _: None)
    big = b"x" * 5_000_000

    assert await link.call(b"ECHO", big) == big
    link.close()


async def test_the_database_is_selected(own_server: EmbeddedRedis, own_client: redis.Redis) -> None:
    link = await open_link(at(own_server.socket_path, database=5), lambda _: None)

    await link.call(b"SET", b"k", b"v")

    assert own_client.get("k") is None
    assert [one["db"] for one in own_client.client_list() if one["name"] == "holdfast"] == ["5"]
    link.close()


# -- the handshake refused


async def test_auth(make_redis: Callable[..., EmbeddedRedis]) -> None:
    server = make_redis()
    with server.client() as client:
        client.config_set("requirepass", "s3cret")
        client.acl_setuser("ann", enabled=True, passwords=["+hers"], commands=["+@all"], keys=["*"])
        for user, password in (("", "s3cret"), ("ann", "hers")):
            link = await open_link(at(server.socket_path, username=user, password=password), lambda _: None)
            assert await link.call(b"PING") == b"PONG"
            link.close()
        for user, password in (("", "wrong"), ("ann", "s3cret"), ("", "")):
            with pytest.raises(hiredis.ReplyError):
                await open_link(at(server.socket_path, username=user, password=password), lambda _: None)
        with pytest.raises(Disconnected) as refused:
            await Engine.connect(f"unix://:wr0ng@{server.socket_path}")
        assert "wr0ng" not in str(refused.value)
        client.config_set("requirepass", "")


async def test_a_database_that_is_not(own_server: EmbeddedRedis) -> None:
    with pytest.raises(hiredis.ReplyError):
        await open_link(at(own_server.socket_path, database=999), lambda _: None)


async def test_nobody_listens(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        await open_link(at(tmp_path / "none.sock"), lambda _: None)


async def test_a_server_that_never_answers(fake_server: StartFake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.link.CONNECT_TIMEOUT_S", 0.1)
    fake = await fake_server(b"")

    with pytest.raises(TimeoutError):
        await open_link(at(fake.path), lambda _: None)


# -- TLS


@pytest.fixture
async def tls_server() -> AsyncIterator[tuple[int, trustme.CA]]:
    """A server on a loopback port that says OK to everything, and the authority that signed its name."""
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(65536):
            writer.write(b"+OK\r\n")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    yield server.sockets[0].getsockname()[1], authority
    server.close()


async def test_a_tls_server_that_is_who_it_says(
    tls_server: tuple[int, trustme.CA], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port, authority = tls_server
    authority.cert_pem.write_to_path(tmp_path / "authority.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))

    link = await open_link(parse_url(f"rediss://localhost:{port}"), lambda _: None)

    assert await link.call(b"PING") == b"OK"
    link.close()


async def test_a_tls_server_that_nobody_vouches_for(tls_server: tuple[int, trustme.CA]) -> None:
    port, _ = tls_server

    with pytest.raises(ssl.SSLCertVerificationError):
        await open_link(parse_url(f"rediss://localhost:{port}"), lambda _: None)


async def test_a_tls_server_under_another_name(
    tls_server: tuple[int, trustme.CA], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port, authority = tls_server
    authority.cert_pem.write_to_path(tmp_path / "authority.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))

    with pytest.raises(ssl.SSLCertVerificationError):
        await open_link(parse_url(f"rediss://127.0.0.1:{port}"), lambda _: None)


# -- a connection that ends, or lies


async def test_what_waits_learns_that_the_link_is_lost(fake_server: StartFake) -> None:
    fake = await fake_server(b"+OK\r\n", b"+first\r\n", None)
    lost: list[Link] = []
    link = await open_link(at(fake.path), lost.append)
    assert await link.call(b"ONE") == b"first"

    with pytest.raises(ConnectionError):
        await link.call(b"TWO")

    assert lost == [link]
    assert not link.is_open
    with pytest.raises(ConnectionError):
        link.send(encode([b"THREE"]), lambda _: None)


@pytest.mark.parametrize("lie", [b"?what\r\n", b"\x00\x01\x02\r\n", b"$abc\r\n", b"+one\r\n+one too many\r\n"])
async def test_bytes_that_cannot_be_placed_end_the_link(
    fake_server: StartFake, lie: bytes, eventually: Callable[..., Any]
) -> None:
    fake = await fake_server(b"+OK\r\n", lie)
    lost: list[Link] = []
    link = await open_link(at(fake.path), lost.append)
    got: list[Any] = []

    link.send(encode([b"ONE"]), got.append)

    await eventually(lambda: lost == [link])
    assert len(got) == 1
    assert got[0] == b"one" or isinstance(got[0], ConnectionError)


async def test_closing_tells_what_waits(own_server: EmbeddedRedis) -> None:
    link = await open_link(at(own_server.socket_path), lambda _: None)
    waiting = asyncio.ensure_future(link.call(b"BLPOP", b"nothing", b"0"))
    await asyncio.sleep(0)

    link.close()

    with pytest.raises(ConnectionError):
        await waiting
