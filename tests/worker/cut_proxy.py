"""A proxy before Postgres that cuts the connection at COMMIT: before the server sees it, or before its answer is seen.

Owns only that; every other byte passes as it is.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from pathlib import Path
from typing import Literal


class CutProxy:
    """Listens on a TCP port of its own and talks to the server's unix socket."""

    def __init__(self, server_socket: Path) -> None:
        self._server_socket = server_socket
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self.cut: Literal["before", "after"] | None = None
        """What to do to the next COMMIT; then it is None again."""
        self.cuts = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listening.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            server.connect(str(self._server_socket))
            threading.Thread(target=self._requests, args=(client, server), daemon=True).start()

    def _requests(self, client: socket.socket, server: socket.socket) -> None:
        answers = threading.Thread(target=_pump, args=(server, client), daemon=True)
        answers.start()
        try:
            while data := client.recv(65536):
                if self.cut is not None and b"COMMIT" in data:
                    how, self.cut = self.cut, None
                    self.cuts += 1
                    # The client hears nothing more from here on.
                    client.shutdown(socket.SHUT_RDWR)
                    if how == "after":
                        server.sendall(data)
                        server.shutdown(socket.SHUT_WR)
                        answers.join()
                    break
                server.sendall(data)
        except OSError:
            pass  # either side may be gone at any moment: that is what this proxy is for
        finally:
            _end(client)
            _end(server)


def _end(side: socket.socket) -> None:
    with contextlib.suppress(OSError):
        # Closing alone tells nobody while another thread still reads from it.
        side.shutdown(socket.SHUT_RDWR)
    side.close()


def _pump(source: socket.socket, target: socket.socket) -> None:
    while True:
        try:
            data = source.recv(65536)
        except OSError:
            return
        if not data:
            return
        try:
            target.sendall(data)
        except OSError:
            continue  # the target was cut; the source must still be heard to its end
