"""Data that is not as it was written: poison in the journal, entries of the version before, counters that drift."""

from __future__ import annotations

import asyncio
import signal

import msgspec
import psycopg

from engine.events import SCHEMA
from engine.keys import partition_keys
from inventory.reconciliation.reconcile import reconcile
from inventory.reconciliation.repair import plan_repair, repair
from tests.torture.calls import Allowed
from tests.torture.evidence import position, written
from tests.torture.faults.fault import Scene, fault

KEYS = partition_keys(0)

POISON = {
    "no bytes": {"b": b""},
    "text": {"b": b"not msgpack"},
    "another field": {"x": b"1"},
    "a map": {"b": msgspec.msgpack.encode({"schema": 1})},
    "random bytes": {"b": bytes(range(256))},
    "nested far too deep": {"b": b"\x91" * 50_000},
    "an unknown schema": {"b": msgspec.msgpack.encode([99, 1, 1, 1_800_000_000_000, []])},
}


@fault("poison", "entries in the journal that nobody can read: set aside, and the rest flows on")
async def _poison(scene: Scene) -> None:
    forms = scene.rng.sample(sorted(POISON), scene.rng.randint(1, 4))
    with scene.world.client() as client:
        for form in forms:
            client.xadd(KEYS.journal, POISON[form])  # type: ignore[arg-type]
            await asyncio.sleep(0.02)
    scene.allowed = Allowed(quarantined=len(forms))
    scene.tell(", ".join(forms))


_REWRITE = """
local entries = redis.call('XRANGE', KEYS[1], '(' .. ARGV[1], '+')
for _, entry in ipairs(entries) do redis.call('XDEL', KEYS[1], entry[1]) end
local kept = redis.call('XRANGE', KEYS[1], '-', '+')
redis.call('DEL', KEYS[1])
for _, entry in ipairs(kept) do redis.call('XADD', KEYS[1], entry[1], unpack(entry[2])) end
for _, entry in ipairs(entries) do
  local body = entry[2][2]
  redis.call('XADD', KEYS[1], entry[1], 'b', string.sub(body, 1, 1) .. ARGV[2] .. string.sub(body, 3))
end
return #entries
"""


@fault("version-skew", "what is not yet in the ledger was written by the version before: it is read all the same")
async def _version_skew(scene: Scene) -> None:
    scene.world.signal("worker", signal.SIGSTOP)
    try:
        await asyncio.sleep(0.4)
        with psycopg.connect(scene.world.postgres.url) as connection:
            row = connection.execute("SELECT stream_id FROM journal_cursors").fetchone()
        assert row is not None
        with scene.world.client() as client:
            count = client.eval(_REWRITE, 1, KEYS.journal, row[0], bytes([SCHEMA - 1]))
    finally:
        scene.world.signal("worker", signal.SIGCONT)
    scene.tell(f"{count} entries of schema {SCHEMA - 1}")


@fault("counter-drift", "a counter in Redis is off by one: found at the next look, repaired, on record")
async def _counter_drift(scene: Scene) -> None:
    sku, by = scene.shop.quiet_sku, scene.rng.choice((-1, 1, 3))
    scene.tell(f"on_hand of {sku} {by:+d}")
    with scene.world.client() as client:
        on_hand, rest = (client.hget(KEYS.stock, sku) or b"").split(b" ", 1)
        client.hset(KEYS.stock, sku, b"%d %s" % (int(on_hand) + by, rest))
    async with scene.world.inventory() as inventory:
        found = await reconcile(inventory, "levels")
        drifted = [drift for drift in found.drift if drift.sku == sku]
        if [(drift.counter, drift.actual - drift.expected) for drift in drifted] != [("on_hand", by)]:
            scene.object(f"drift of {by:+d} was reported as {drifted}")
        outcomes = await repair(
            inventory,
            reason="torture: drift put there by hand",
            actor="torture",
            agreed=await plan_repair(inventory, found),
        )
        scene.tell(", ".join(f"{one.what}: {one.outcome}" for one in outcomes))
        if [(one.what, one.outcome) for one in outcomes] != [(sku, "repaired")]:
            scene.object(f"the repair did {outcomes}")


@fault(
    "journal-trimmed",
    "entries vanish from the journal before they are in the ledger: the flusher halts, loudly",
    spoils=True,
)
async def _trimmed(scene: Scene) -> None:
    world = scene.world
    world.signal("worker", signal.SIGSTOP)
    await asyncio.sleep(0.3)
    with world.client() as client:
        gone = client.xtrim(KEYS.journal, maxlen=0, approximate=False)
    last_gone = written(world)[1]
    lost = last_gone - position(world)[1]
    world.signal("worker", signal.SIGCONT)
    scene.tell(f"{gone} entries gone, {lost} events of them not in the ledger")
    scene.world_is_over = True
    # What the flusher had read before it stood still is its own; what it had not is gone for good.
    for _ in range(6000):
        status, said = await world.ready()
        if status == 503 and "halted" in str(said.get("flusher")):
            break
        await asyncio.sleep(0.02)
    else:
        scene.object(f"a gap in the journal was not told: readyz says {status} {said}")
    if position(world)[1] > last_gone:
        scene.object(f"the ledger went on past a gap: to {position(world)}, {last_gone} was the last that vanished")
