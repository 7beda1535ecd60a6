"""Serves a rival's ASGI app with the uvicorn settings that Holdfast uses: httptools, uvloop, no access log.

Owns the command line of a rival (see bench/servers.py); never knows what the app does.
"""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path
from typing import Any

import uvicorn


class _Server(uvicorn.Server):
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        _tell_ready()


def _tell_ready() -> None:
    Path(os.environ["HOLDFAST_BENCH_READY"]).touch()


def serve(app: Any, *, lifespan: bool = True) -> None:
    """Serve `app` on the listening socket whose descriptor is the first argument, until SIGTERM."""
    config = uvicorn.Config(
        app,
        http="httptools",
        loop="uvloop",
        ws="none",
        lifespan="on" if lifespan else "off",
        log_level="warning",
        access_log=False,
        server_header=False,
    )
    _Server(config).run(sockets=[socket.socket(fileno=int(sys.argv[1]))])
