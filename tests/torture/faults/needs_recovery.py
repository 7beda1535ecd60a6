"""A Redis that has forgotten: empty, cut off, damaged, put back from an old copy.

Owns faults that lose what Redis held, and says for each what may be lost with it: at most answers whose events had not
reached the ledger. Whatever had is restored from there. Changes that wait for the ledger are never lost, and at level
`ledger` nothing is.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from importlib.util import find_spec
from pathlib import Path

from tests.torture.calls import Allowed
from tests.torture.evidence import position, written
from tests.torture.faults.fault import Scene, fault
from tests.torture.world import Level, World

UNSYNCED: frozenset[Level] = frozenset({"journal", "ledger"})
"""Levels that do not promise that the file is on the disk."""


def no_recovery(_world: World) -> str:
    return "" if find_spec("engine.admission") else "needs recovery"


async def _known_to_the_ledger(scene: Scene) -> float:
    """A moment (monotonic) before which every answer is in the ledger by now, and so may not be lost."""
    moment = time.monotonic()
    at = written(scene.world)
    await scene.world.wait_for(lambda: position(scene.world) >= at, 20, lambda: "the ledger has what was answered")
    return moment


async def _may_lose(scene: Scene, after_s: float) -> None:
    """To be called while nothing is served: answers that were given before may still be on their way."""
    await asyncio.sleep(0.3)
    until_s = time.monotonic()
    if scene.world.level != "ledger":
        scene.allowed = Allowed(lost_after_s=after_s, lost_until_s=until_s)
    scene.tell(f"answers of {(until_s - after_s) * 1000:.0f} ms may be lost")


def _newest_file(world: World) -> Path:
    return max((world.redis.folder / "appendonlydir").glob("*.incr.aof"), key=lambda path: path.stat().st_mtime)


def _down(world: World) -> None:
    """Killed, and not started again before `let_up`."""
    world.kill("redis")
    world.hold_down("redis")


@fault("flushall", "FLUSHALL under load: nothing is served from an empty Redis, all is rebuilt", missing=no_recovery)
async def _flushall(scene: Scene) -> None:
    after_s = await _known_to_the_ledger(scene)
    with scene.world.client() as client:
        client.flushall()
    await _may_lose(scene, after_s)


@fault("redis-empty", "Redis is killed and comes back without its files", missing=no_recovery)
async def _empty(scene: Scene) -> None:
    after_s = await _known_to_the_ledger(scene)
    _down(scene.world)
    await _may_lose(scene, after_s)
    shutil.rmtree(scene.world.redis.folder / "appendonlydir")
    scene.world.let_up("redis")


@fault(
    "aof-cut",
    "Redis is killed and loses the end of its file, up to 60,000 bytes: its last writes",
    missing=no_recovery,
    levels=UNSYNCED,
)
async def _cut(scene: Scene) -> None:
    # Only what was written since then is cut off: the promise is about the last seconds, not about old files.
    size = _newest_file(scene.world).stat().st_size
    after_s = time.monotonic()
    await asyncio.sleep(scene.rng.uniform(0.05, 0.5))
    _down(scene.world)
    await _may_lose(scene, after_s)
    newest = _newest_file(scene.world)
    whole = newest.stat().st_size
    cut = min(scene.rng.randint(1, 60_000), max(0, whole - size))
    with newest.open("r+b") as file:
        file.truncate(whole - cut)
    scene.tell(f"{cut} bytes cut off")
    scene.world.let_up("redis")


@fault(
    "aof-corrupted",
    "bytes in the middle of Redis' file are other ones: it does not start, somebody moves the file away",
    missing=no_recovery,
)
async def _corrupted(scene: Scene) -> None:
    world = scene.world
    after_s = await _known_to_the_ledger(scene)
    _down(world)
    await _may_lose(scene, after_s)
    newest = _newest_file(world)
    at = newest.stat().st_size // 2
    with newest.open("r+b") as file:
        file.seek(at)
        file.write(bytes(scene.rng.randrange(256) for _ in range(64)))
    scene.tell(f"64 bytes at {at}")
    world.let_up("redis")
    await asyncio.sleep(0.3)
    status, _ = await world.ready()
    if status == 200:
        scene.object("ready although the file of Redis cannot be read")
    world.hold_down("redis")
    newest.parent.rename(newest.parent.with_name(f"damaged-{world.runs}"))
    world.let_up("redis")


@fault(
    "aof-old-copy",
    "Redis comes back with a copy of its files that is up to a second old: older than the ledger",
    missing=no_recovery,
    levels=UNSYNCED,
)
async def _old_copy(scene: Scene) -> None:
    world = scene.world
    folder = world.redis.folder / "appendonlydir"
    copy = world.redis.folder / "old-copy"
    after_s = time.monotonic()
    shutil.copytree(folder, copy)
    await asyncio.sleep(scene.rng.uniform(0.1, 1.0))
    await _known_to_the_ledger(scene)
    _down(world)
    await _may_lose(scene, after_s)
    shutil.rmtree(folder)
    copy.rename(folder)
    scene.tell("old files put back")
    world.let_up("redis")


@fault(
    "replica-promotion",
    "a replica that has heard nothing for a while, its link a black hole, takes the place of a Redis that was killed",
    missing=no_recovery,
)
async def _promotion(scene: Scene) -> None:
    world = scene.world
    link = await world.start_replica()
    link.black_hole(True)
    await asyncio.sleep(scene.rng.uniform(0.2, 1.0))
    after_s = await _known_to_the_ledger(scene)
    await asyncio.sleep(scene.rng.uniform(0.0, 0.1))
    _down(world)
    await _may_lose(scene, after_s)
    await world.promote_replica()
