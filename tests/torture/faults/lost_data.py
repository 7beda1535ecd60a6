"""A Redis that has forgotten: empty, cut off, damaged, put back from an old copy.

Owns faults that lose what Redis held, and says for each what may be lost with it: at most answers whose events had not
reached the ledger. Whatever had is restored from there. Changes that wait for the ledger are never lost, and at level
`ledger` nothing is; at `fsync` nothing is lost by a power cut; at `replicated` nothing by the promotion of the replica.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from pathlib import Path

from tests.torture.calls import Allowed
from tests.torture.evidence import position, written
from tests.torture.faults.fault import Scene, fault
from tests.torture.world import Level, World

UNSYNCED: frozenset[Level] = frozenset({"journal", "replicated", "ledger"})
"""Levels that do not promise that the file is on the disk."""
IN_THE_LEDGER: frozenset[Level] = frozenset({"ledger"})
"""The level that promises something even without any file."""


async def _known_to_the_ledger(scene: Scene) -> float:
    """A moment (monotonic) before which every answer is in the ledger by now, and so may not be lost."""
    moment = time.monotonic()
    at = written(scene.world)
    await scene.world.wait_for(lambda: position(scene.world) >= at, 120, lambda: "the ledger has what was answered")
    return moment


async def _may_lose(scene: Scene, after_s: float, kept_at: frozenset[Level] = IN_THE_LEDGER) -> None:
    """To be called while nothing is served: answers that were given before may still be on their way.

    At the levels `kept_at` no answer may be lost.
    """
    await asyncio.sleep(0.3)
    until_s = time.monotonic()
    if scene.world.level in kept_at:
        scene.tell("no answer may be lost")
        return
    scene.allowed = Allowed(lost_after_s=after_s, lost_until_s=until_s)
    scene.tell(f"answers of {(until_s - after_s) * 1000:.0f} ms may be lost")


def _newest_file(world: World) -> Path:
    return max((world.redis.folder / "appendonlydir").glob("*.incr.aof"), key=lambda path: path.stat().st_mtime)


def _down(world: World) -> None:
    """Killed, and not started again before `let_up`."""
    world.kill("redis")
    world.hold_down("redis")


@fault("flushall", "FLUSHALL under load: nothing is served from an empty Redis, all is rebuilt")
async def _flushall(scene: Scene) -> None:
    after_s = await _known_to_the_ledger(scene)
    with scene.world.client() as client:
        client.flushall()
    await _may_lose(scene, after_s)


@fault("redis-empty", "Redis is killed and comes back without its files")
async def _empty(scene: Scene) -> None:
    after_s = await _known_to_the_ledger(scene)
    _down(scene.world)
    await _may_lose(scene, after_s)
    shutil.rmtree(scene.world.redis.folder / "appendonlydir")
    scene.world.let_up("redis")


@fault(
    "aof-cut",
    "Redis is killed and loses the end of its file, up to 60,000 bytes: its last writes",
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


def _no_notes(world: World) -> str:
    return world.shims_missing


@fault(
    "power-cut",
    "Redis is killed, and of its file only what it had synced to the disk comes back",
    missing=_no_notes,
)
async def _power_cut(scene: Scene) -> None:
    world = scene.world
    assert world.shims is not None
    after_s = await _known_to_the_ledger(scene)
    await asyncio.sleep(scene.rng.uniform(0.05, 1.2))
    _down(world)
    await _may_lose(scene, after_s, frozenset({"fsync", "ledger"}))
    newest = _newest_file(world)
    whole = newest.stat().st_size
    synced = min(whole, world.shims.synced_bytes(newest))
    with newest.open("r+b") as file:
        file.truncate(synced)
    scene.tell(f"{whole - synced} of {whole} bytes were not on the disk")
    world.let_up("redis")


@fault(
    "replica-promotion",
    "a replica that has heard nothing for a while, its link a black hole, takes the place of a Redis that was killed",
)
async def _promotion(scene: Scene) -> None:
    world = scene.world
    link = await world.start_replica()
    after_s = await _known_to_the_ledger(scene)
    link.black_hole(True)
    await asyncio.sleep(scene.rng.uniform(0.2, 1.0))
    _down(world)
    # What a client was told before the link went is in the ledger; behind it, `replicated` has told nobody anything.
    await _may_lose(scene, after_s, frozenset({"replicated", "ledger"}))
    await world.promote_replica()


REPLICATED: frozenset[Level] = frozenset({"replicated"})


@fault("kill-replica", "SIGKILL to the replica, which is started again", levels=REPLICATED)
async def _kill_replica(scene: Scene) -> None:
    scene.world.kill("replica")
    scene.tell("replica killed")


@fault(
    "replica-black-hole",
    "nothing passes between Redis and its replica, nobody is told; then all of it does",
    levels=REPLICATED,
)
async def _replica_black_hole(scene: Scene) -> None:
    link = scene.world.proxies["replica-redis"]
    seconds = scene.rng.uniform(0.3, 1.5)
    scene.tell(f"{seconds:.2f} s")
    link.black_hole(True)
    try:
        await asyncio.sleep(seconds)
        if scene.rng.random() < 0.3:
            link.drop_all()
            scene.tell("then cut")
    finally:
        link.black_hole(False)
