"""One request to an endpoint: to the checked address and nowhere else, within limits, whatever the other side does."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading

import pytest
import trustme

from inventory.webhooks import sender as sender_module
from inventory.webhooks.addresses import Resolver
from inventory.webhooks.endpoint_url import Endpoint, parse_endpoint
from inventory.webhooks.sender import MAX_ANSWER_BYTES, Attempt, Sender
from tests.inventory.webhooks.receiver import Receiver

BODY = b'{"type":"webhook.test"}'
HEADERS = {"webhook-id": "x"}


class Names:
    """A resolver that knows what it is told, answer by answer; the last one stays."""

    def __init__(self, *answers: tuple[str, ...]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    async def __call__(self, host: str, port: int) -> tuple[str, ...]:
        self.asked.append(host)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


async def post(url: str, *, allow_private: bool = True, **options: object) -> Attempt:
    async with Sender(allow_private=allow_private, **options) as sender:  # type: ignore[arg-type]
        return await sender.post(parse_endpoint(url, allow_private=True), BODY, HEADERS)


async def test_what_arrives(receiver: Receiver) -> None:
    assert await post(receiver.url("/hook?a=1")) == Attempt(204)
    (got,) = receiver.requests
    assert (got.path, got.body) == ("/hook?a=1", BODY)
    assert got.headers["content-type"] == "application/json"
    assert got.headers["host"] == f"127.0.0.1:{receiver.port}"
    assert got.headers["webhook-id"] == "x"
    assert "cookie" not in got.headers
    assert "authorization" not in got.headers


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
async def test_any_2xx_is_a_delivery(receiver: Receiver, status: int) -> None:
    receiver.otherwise = status
    assert (await post(receiver.url())).delivered


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_a_failure_and_is_not_followed(receiver: Receiver, status: int) -> None:
    receiver.otherwise = (status, {"location": receiver.url("/elsewhere")}, b"")
    attempt = await post(receiver.url())
    assert attempt == Attempt(status, f"HTTP {status}: redirects are not followed")
    assert [got.path for got in receiver.requests] == ["/hook"]


@pytest.mark.parametrize("status", [400, 401, 404, 410, 429, 500, 503])
async def test_other_answers_are_failures(receiver: Receiver, status: int) -> None:
    receiver.otherwise = status
    attempt = await post(receiver.url())
    assert attempt == Attempt(status, f"HTTP {status}")
    assert attempt.gone == (status == 410)


@pytest.mark.parametrize(("value", "seconds"), [("120", 120), ("0", 0), ("99999999", 86_400), ("-5", 0), ("soon", 0),
                                                ("9" * 5000, 0), ("Wed, 21 Oct 2026 07:28:00 GMT", 0)])  # fmt: skip
async def test_retry_after_is_heeded_within_reason(receiver: Receiver, value: str, seconds: int) -> None:
    receiver.otherwise = (503, {"retry-after": value}, b"")
    assert (await post(receiver.url())).retry_after_s == seconds


async def test_connections_are_kept_between_requests(receiver: Receiver) -> None:
    names = Names(("127.0.0.1",))
    async with Sender(allow_private=True, resolve=names) as sender:
        for _ in range(5):
            assert (await sender.post(parse_endpoint(receiver.url(), allow_private=True), BODY, {})).delivered
    assert len({got.connection for got in receiver.requests}) == 1
    assert len(names.asked) == 1


async def test_an_endless_answer_is_not_read_to_its_end(receiver: Receiver) -> None:
    receiver.otherwise = (200, {}, b"x" * (MAX_ANSWER_BYTES * 1000))
    async with Sender(allow_private=True) as sender:
        for _ in range(2):
            assert (await sender.post(parse_endpoint(receiver.url(), allow_private=True), BODY, {})).delivered
    first, second = receiver.requests
    assert first.connection != second.connection


async def test_the_name_is_kept_and_the_checked_address_is_called(receiver: Receiver) -> None:
    names = Names(("127.0.0.1",))
    assert (await post(receiver.url(host="receiver.example"), resolve=names)).delivered
    assert names.asked == ["receiver.example"]
    assert receiver.requests[0].headers["host"] == f"receiver.example:{receiver.port}"


async def test_the_next_address_is_tried_where_one_takes_no_connection(receiver: Receiver) -> None:
    names = Names(("127.0.0.2", "127.0.0.1"))
    assert (await post(receiver.url(host="receiver.example"), resolve=names)).delivered


async def test_a_name_that_turns_to_a_private_address_is_not_called(receiver: Receiver) -> None:
    """DNS rebinding: good when it was saved, loopback when it is to be called."""
    names = Names(("8.8.8.8",), ("127.0.0.1",))
    assert await names("rebound.example", 443) == ("8.8.8.8",)
    attempt = await post(receiver.url(host="rebound.example"), allow_private=False, resolve=names)
    assert "may not reach" in attempt.error
    assert receiver.requests == []


async def test_what_was_checked_is_what_is_called(receiver: Receiver) -> None:
    """The other rebinding: good while it is checked, another answer a moment later. Nobody asks a second time."""
    names = Names(("127.0.0.1",), ("10.255.255.1",))
    assert (await post(receiver.url(host="rebound.example"), resolve=names)).delivered
    assert names.asked == ["rebound.example"]


async def test_proxies_of_the_environment_are_ignored(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    with Receiver() as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url(""))
        assert (await post(receiver.url())).delivered
        assert proxy.requests == []


async def test_nobody_listens() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        attempt = await post(f"http://127.0.0.1:{bound.getsockname()[1]}/")
    assert attempt.status is None
    assert "refused" in attempt.error.lower()


async def test_a_resolver_that_fails_is_a_failed_attempt() -> None:
    async def resolve(host: str, port: int) -> tuple[str, ...]:
        raise socket.gaierror(-3, "Temporary failure in name resolution")

    attempt = await post("https://receiver.example/", resolve=resolve)
    assert "Temporary failure" in attempt.error


async def test_an_answer_that_never_comes(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sender_module, "TOTAL_TIMEOUT_S", 0.2)
    held = threading.Event()
    receiver.before_answer = held.wait
    assert await post(receiver.url()) == Attempt(error="no answer in time")
    held.set()


async def test_an_answer_that_drips_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sender_module, "TOTAL_TIMEOUT_S", 0.3)

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nx: ")
        try:
            while True:
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(0.01)
        except OSError:
            writer.close()

    async with await asyncio.start_server(drip, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        assert await post(f"http://127.0.0.1:{port}/") == Attempt(error="no answer in time")


@pytest.mark.parametrize("answer", [b"", b"SSH-2.0-OpenSSH_9.6\r\n", b"HTTP/1.1 abc\r\n\r\n",
                                    b"HTTP/1.1 200 OK\r\n" + b"x: " + b"y" * 300_000])  # fmt: skip
async def test_something_else_than_http_answers(answer: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        attempt = await post(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
    assert attempt.status is None
    assert attempt.error


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


class TestTls:
    """Certificates are checked against the name, though an address is called."""

    @staticmethod
    def endpoint(receiver: Receiver, host: str) -> Endpoint:
        return parse_endpoint(receiver.url(host=host), allow_private=True)

    @staticmethod
    def serving(authority: trustme.CA, name: str) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(name).configure_cert(context)
        return context

    async def test_the_name_is_asked_for_and_checked(self, authority: trustme.CA, trusting: ssl.SSLContext) -> None:
        asked_for: list[str | None] = []
        context = self.serving(authority, "receiver.example")
        context.sni_callback = lambda _socket, name, _context: asked_for.append(name)
        resolve: Resolver = Names(("127.0.0.1",))
        with Receiver(context) as receiver:
            async with Sender(allow_private=True, resolve=resolve, tls=trusting) as sender:
                assert (await sender.post(self.endpoint(receiver, "receiver.example"), BODY, {})).delivered
                refused = await sender.post(self.endpoint(receiver, "other.example"), BODY, {})
        assert asked_for == ["receiver.example", "other.example"]
        assert "certificate" in refused.error.lower()
        assert len(receiver.requests) == 1

    async def test_an_unknown_authority_is_not_believed(self, authority: trustme.CA) -> None:
        with Receiver(self.serving(authority, "receiver.example")) as receiver:
            async with Sender(allow_private=True, resolve=Names(("127.0.0.1",))) as sender:
                refused = await sender.post(self.endpoint(receiver, "receiver.example"), BODY, {})
        assert "certificate" in refused.error.lower()
        assert receiver.requests == []
