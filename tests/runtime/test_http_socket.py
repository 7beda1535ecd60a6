"""The listening socket: shared, or refused in words."""

from __future__ import annotations

import socket

import pytest

from runtime.http_socket import AddressRefused, bind_http_socket, http_url, listen


@pytest.mark.parametrize(
    ("host", "shown"),
    [
        ("127.0.0.1", "http://127.0.0.1:"),
        ("0.0.0.0", "http://127.0.0.1:"),  # noqa: S104 - what it is shown as is the point
        ("localhost", "http://localhost:"),
    ],
)
def test_the_address_is_written_so_that_it_can_be_called(host: str, shown: str) -> None:
    with bind_http_socket(host, 0) as bound:
        listen(bound)
        url = http_url(bound, host)
        assert url.startswith(shown)
        with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), timeout=5):
            pass


def test_an_ipv6_address_gets_its_brackets() -> None:
    with bind_http_socket("127.0.0.1", 0) as bound:  # a machine may have no IPv6
        assert http_url(bound, "::1") == f"http://[::1]:{bound.getsockname()[1]}"


def test_a_port_that_is_listened_on_is_refused_with_advice() -> None:
    with bind_http_socket("127.0.0.1", 0) as first:
        listen(first)
        with pytest.raises(AddressRefused, match="--port"):
            bind_http_socket("127.0.0.1", first.getsockname()[1])


@pytest.mark.parametrize("host", ["203.0.113.7", "no-such-host.invalid"])
def test_an_address_of_another_machine_is_refused(host: str) -> None:
    with pytest.raises(AddressRefused, match="no address of this machine"):
        bind_http_socket(host, 0)


def test_a_port_whose_last_owner_just_ended_is_free() -> None:
    with bind_http_socket("127.0.0.1", 0) as bound:
        listen(bound)
        port = bound.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            accepted, _ = bound.accept()
            accepted.close()  # our side closes first: the port stays in TIME_WAIT
    with bind_http_socket("127.0.0.1", port) as again:
        listen(again)
