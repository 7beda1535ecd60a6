"""A proxy before a real Redis that, when told, answers every command with an error as Redis would.

For the refusals that a single healthy server cannot be brought to give: LOADING, CLUSTERDOWN, MOVED and their like.
Owns sockets and threads; never decides what an error must lead to.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from urllib.parse import unquote, urlsplit

import hiredis

from engine.link import encode


class RefusingProxy:
    """Use `url`; set `refusal` to an error (`LOADING Redis is loading ...`) or back to the empty text."""

    def __init__(self, redis_url: str) -> None:
        self._upstream = unquote(urlsplit(redis_url).path)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._open: set[socket.socket] = set()
        self.refusal = ""
        self.refused = 0
        """Commands that were answered so."""
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self._listening.getsockname()[1]}/0"

    def close(self) -> None:
        self._listening.close()
        for one in list(self._open):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                server = socket.socket(socket.AF_UNIX)
                server.connect(self._upstream)
                self._open |= {client, server}
                threading.Thread(target=self._commands, args=(client, server), daemon=True).start()
                threading.Thread(target=self._replies, args=(client, server), daemon=True).start()

    def _commands(self, client: socket.socket, server: socket.socket) -> None:
        reader = hiredis.Reader()
        with contextlib.suppress(OSError):
            while data := client.recv(1 << 16):
                reader.feed(data)
                while (command := reader.gets()) is not False:
                    if self.refusal:
                        self.refused += 1
                        client.sendall(f"-{self.refusal}\r\n".encode())
                    else:
                        server.sendall(encode(command))
        self._end(client, server)

    def _replies(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(1 << 16):
                client.sendall(data)
        self._end(client, server)

    def _end(self, *both: socket.socket) -> None:
        for one in both:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
            self._open.discard(one)
