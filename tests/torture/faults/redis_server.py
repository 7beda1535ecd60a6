"""What a Redis does to those who trust it: forgets scripts, throws clients out, runs out of memory or disk."""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path

import redis

from tests.torture.faults.fault import Scene, fault
from tests.torture.world import World


@fault("script-flush", "SCRIPT FLUSH, again and again")
async def _script_flush(scene: Scene) -> None:
    times = scene.rng.randint(1, 10)
    with scene.world.client() as client:
        for _ in range(times):
            client.script_flush()
            await asyncio.sleep(0.03)
    scene.tell(f"{times} times")


@fault("client-kill", "CLIENT KILL of every connection to Redis, several times")
async def _client_kill(scene: Scene) -> None:
    times = scene.rng.randint(1, 5)
    with scene.world.client() as client:
        for _ in range(times):
            client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            await asyncio.sleep(0.05)
    scene.tell(f"{times} times")


@fault("out-of-memory", "maxmemory far below what is used: no reserve, while confirm, release and expiry go on")
async def _out_of_memory(scene: Scene) -> None:
    with scene.world.client() as client:
        client.config_set("maxmemory", "1mb")
        try:
            await asyncio.sleep(scene.rng.uniform(0.3, 0.8))
        finally:
            client.config_set("maxmemory", "0")
    scene.tell("maxmemory 1mb")


def _no_disk(world: World) -> str:
    return world.disk_missing


@fault(
    "disk-full", "the disk of Redis is full for a moment: what cannot be written must not be promised", missing=_no_disk
)
async def _disk_full(scene: Scene) -> None:
    filler = scene.world.redis.folder / "filler"
    _fill(filler)
    scene.tell("disk full")
    try:
        await asyncio.sleep(scene.rng.uniform(1.0, 1.8))
        with contextlib.suppress(redis.RedisError), scene.world.client() as client:
            status = client.info("persistence")
            scene.tell(f"aof_last_write_status {status.get('aof_last_write_status')}")
    finally:
        filler.unlink(missing_ok=True)
    await scene.world.replica_mended()


def _fill(path: Path) -> None:
    """Take every byte that is left, of a disk that was made for this and of no other."""
    assert os.statvfs(path.parent).f_blocks * os.statvfs(path.parent).f_frsize < 1 << 27, "not the small disk"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        for size in (1 << 20, 4096, 1):
            with contextlib.suppress(OSError):
                while True:
                    os.write(descriptor, bytes(size))
    finally:
        os.close(descriptor)


@fault(
    "aof-torn-tail", "Redis is killed while it writes: its file ends in the middle of a command that nobody was told of"
)
async def _torn_tail(scene: Scene) -> None:
    world = scene.world
    world.kill("redis")
    child = world.children["redis"]
    child.stop(5.0, 0.0)
    newest = max((world.redis.folder / "appendonlydir").glob("*.incr.aof"), key=lambda path: path.stat().st_mtime)
    torn = b"*1\r\n$5\r\nMULTI\r\n*4\r\n$4\r\nHSET\r\n$9\r\n{h00}:st"
    torn = torn[: scene.rng.randint(1, len(torn))]
    with newest.open("ab") as file:
        file.write(torn)
    scene.tell(f"{len(torn)} bytes of a command at the end of {newest.name}")
    world.let_up("redis")
