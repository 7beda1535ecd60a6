"""Runs wrk, the load generator of the HTTP benchmarks, on the load core.

Owns its command line and its summary; never starts a server. Closed loop: 64 connections, each with one request under
way, so its latencies are no latencies at a rate (bench/latency_half_peak.py measures those). Without wrk our own
generator takes its place: too slow for rates, good enough to ask what a request costs the server.
"""

from __future__ import annotations

import secrets
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from bench.cores import LOAD, on_core
from bench.generator import Generator, confirms, hellos, reserves

CONNECTIONS: Final = 64
_SCRIPTS: Final = Path(__file__).parent / "load"


class Load(Struct, frozen=True):
    """What wrk counted."""

    requests: int
    seconds: float
    refused: int
    """Answers with a status outside 2xx."""
    broken: int
    """Connections, reads and writes that failed, and timeouts."""

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.requests / self.seconds


class LoadFailed(RuntimeError):
    """Some requests were not answered as they should be: a rate made of refusals is no rate."""


MISSING: Final = (
    "wrk is not on PATH, so rates over HTTP and latency at half of peak cannot be measured. Install the package `wrk` "
    "(Debian, Ubuntu, Fedora, Homebrew), or build it from github.com/wg/wrk."
)


def is_there() -> bool:
    """True if wrk can be run."""
    return shutil.which("wrk") is not None


def require_wrk() -> None:
    """Raise SystemExit, saying what to do, when there is no wrk."""
    if not is_there():
        raise SystemExit(MISSING)


def hello(port: int, seconds: float) -> Load:
    """GET / for `seconds`."""
    if not is_there():
        return _our_own(port, seconds, hellos(port))
    return _run("hello.lua", port, seconds, [])


def reserve(port: int, seconds: float, api_key: str, skus: int) -> Load:
    """POST /inventory/reserve, a new key and customer each, over `skus` SKUs in turn."""
    if not is_there():
        return _our_own(port, seconds, reserves(port, api_key, skus))
    return _run("reserve.lua", port, seconds, [api_key, str(skus), secrets.token_hex(6)])


def confirm(port: int, seconds: float, api_key: str, durability: str, ids: Path) -> Load:
    """POST /inventory/reserve/{id}/confirm with a durability; `ids` has more reservation ids than will be asked for."""
    if not is_there():
        return _our_own(port, seconds, confirms(port, api_key, durability, ids.read_text().split()))
    return _run("confirm.lua", port, seconds, [api_key, durability, str(ids)])


def _run(script: str, port: int, seconds: float, arguments: list[str]) -> Load:
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{max(1, round(seconds))}s", "-s", str(_SCRIPTS / script)]
    command += [f"http://127.0.0.1:{port}/", "--", *arguments]
    with on_core(LOAD):
        finished = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = [line for line in finished.stdout.splitlines() if line.startswith("{")]
    if finished.returncode or len(lines) != 1:
        raise LoadFailed(f"wrk ended with {finished.returncode}: {(finished.stdout + finished.stderr)[-1000:]}")
    return _checked(msgspec.json.decode(lines[0], type=Load))


def _our_own(port: int, seconds: float, make: Callable[[], bytes]) -> Load:
    with on_core(LOAD):
        generator = Generator(port, CONNECTIONS, make)
        answers, refused, took = generator.closed_loop(seconds)
        generator.close()
    return _checked(Load(requests=answers, seconds=took, refused=refused, broken=0))


def _checked(load: Load) -> Load:
    if load.refused or load.broken or not load.requests:
        raise LoadFailed(f"{load.refused} refused and {load.broken} broken of {load.requests} requests")
    return load
