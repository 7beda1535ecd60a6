"""What a round trip costs the client: the engine's own link against redis-py's asyncio client.

    python -m bench.link_cost

Compares the process CPU of one EVALSHA after another, the same script and the same arguments, in turn. Caveat: one
round trip at a time, so each side pays its full cost of waking up; a batch shares this cost among its commands.
"""

from __future__ import annotations

import asyncio
import time

import uvloop
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from bench.cores import SERVER, on_core
from bench.figures import Figure
from bench.rounds import Scale, compare, run_alone
from bench.servers import valkey
from engine.link import encode, open_link, parse_url
from runtime.embedded_redis import EmbeddedRedis

COMMAND = "python -m bench.link_cost"
SCRIPT = b"return ARGV[1]"
ARGUMENT = b"x" * 1000
CALLS = 5_000


def measure(scale: Scale) -> list[Figure]:
    """Microseconds of client CPU a round trip."""
    with valkey() as server, on_core(SERVER):
        pairs = [
            (uvloop.run(_ours(server, scale.of(CALLS))), uvloop.run(_redis_py(server, scale.of(CALLS))))
            for _ in range(scale.rounds)
        ]
    result = compare(pairs)
    return [
        result.figure(
            what="a script call from Python, client CPU",
            rival="redis-py asyncio client",
            unit="us",
            command=COMMAND,
        )
    ]


async def _ours(server: EmbeddedRedis, calls: int) -> float:
    link = await open_link(parse_url(server.url), lambda _: None)
    sha = await link.call(b"SCRIPT", b"LOAD", SCRIPT)
    parts = encode([b"EVALSHA", sha, b"0", ARGUMENT])
    if await link.call(b"EVALSHA", sha, b"0", ARGUMENT) != ARGUMENT:
        raise RuntimeError("the link gave back something else")
    started = time.process_time()
    for _ in range(calls):
        done = asyncio.get_running_loop().create_future()
        link.send(parts, done.set_result)
        await done
    took = time.process_time() - started
    link.close()
    return took / calls * 1e6


async def _redis_py(server: EmbeddedRedis, calls: int) -> float:
    client = Redis.from_url(server.url, retry=Retry(NoBackoff(), 0))
    sha = await client.script_load(SCRIPT)
    if await client.evalsha(sha, 0, ARGUMENT) != ARGUMENT:
        raise RuntimeError("redis-py gave back something else")
    started = time.process_time()
    for _ in range(calls):
        await client.evalsha(sha, 0, ARGUMENT)
    took = time.process_time() - started
    await client.aclose()
    return took / calls * 1e6


if __name__ == "__main__":
    run_alone(measure, "The link")
