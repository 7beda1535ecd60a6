"""A client that a process shares with those forked from it: each has connections of its own."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from holdfast_client import Client


@contextmanager
def listener() -> Iterator[tuple[str, list[int]]]:
    """A service that is alive: its address, and the client's port of each request."""
    ports: list[int] = []

    class Alive(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            ports.append(self.client_address[1])
            body = b'{"status":"alive"}'
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Nothing on standard error."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Alive)
    serving = threading.Thread(target=server.serve_forever, daemon=True)
    serving.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", ports
    finally:
        server.shutdown()
        serving.join()
        server.server_close()


def test_a_forked_process_asks_over_connections_of_its_own() -> None:
    with listener() as (url, ports), Client(url) as client:
        client.health()
        child = os.fork()
        if child == 0:
            failed = 1
            try:
                with client:
                    client.health()
                    client.health()
                failed = 0
            finally:
                os._exit(failed)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        # Whatever the child has closed was its own.
        client.health()
    first, *of_the_child, last = ports
    assert len(set(of_the_child)) == 1
    assert first not in of_the_child
    assert first == last, "the connection before the fork is still good"
