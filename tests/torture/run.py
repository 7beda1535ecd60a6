"""One run: a shop, a fault at a seeded moment, recovery, quiet, and the verdict.

Owns that order; the faults, the buyers and the auditor own the rest.
"""

from __future__ import annotations

import asyncio
import random
import time
from typing import Literal

from msgspec import Struct

from engine.errors import HoldfastError
from inventory.reconciliation.findings import Reconciliation
from inventory.reconciliation.reconcile import Depth, reconcile
from inventory.refusals import Refusal
from persistence.database import DatabaseUnavailable
from tests.torture.auditor import Auditor
from tests.torture.evidence import Evidence, gather, position, quarantined, reserved, written
from tests.torture.faults import Fault, Scene
from tests.torture.shoppers import Shop
from tests.torture.world import NotSettled, World

Verdict = Literal["kept", "broken", "not settled"]

AFTER = 120
"""Answers that are waited for once the fault is over: the service must work again, under load."""
AFTER_S = 3.0
QUIET_S = 120.0


class Report(Struct, frozen=True):
    """What a run was and what came of it."""

    fault: str
    level: str
    seed: int
    verdict: Verdict
    moment: int
    """Answers that the buyers had when the fault struck."""
    details: str
    calls: int
    unknown: int
    """Calls that were without a definite answer at some time: how much the fault was felt."""
    events: int
    took_s: float
    back_s: float
    """From the end of the fault until the service said it was ready."""
    objections: tuple[str, ...] = ()


async def run(
    world: World, fault: Fault, seed: int, depth: Depth = "levels", *, lasts_s: float = 0.0, think_s: float = 0.01
) -> Report:
    """Do it. The world can be used again if the verdict is `kept` and the fault does not spoil it.

    `lasts_s`: the buyers stay at least this long. `think_s`: the longest they think between two steps.
    """
    began = time.monotonic()
    rng = random.Random(seed)
    world.runs += 1
    shop = Shop(world, f"R{world.runs}-{seed % 1_000_000}", rng, think_s)
    scene = Scene(world, shop, rng, [], objections=[])
    moment = rng.randint(20, 150)
    back_s = 0.0
    world.note(f"run {world.runs}: {fault.name} seed {seed}")
    objections: list[str] = []
    verdict: Verdict = "kept"
    events = 0
    people: list[asyncio.Task[None]] = []
    try:
        await shop.stock_up()
        await _caught_up(world)
        before = position(world), quarantined(world)
        people = shop.open()
        await _answers(shop, moment, 30.0)
        await fault.strike(scene)
        over = time.monotonic()
        if not scene.world_is_over:
            await world.settled()
            back_s = time.monotonic() - over
            await _answers(shop, shop.answers + AFTER, AFTER_S)
            await asyncio.sleep(max(0.0, began + lasts_s - time.monotonic()))
        shop.closing = True
        await asyncio.gather(*people)
        if not scene.world_is_over:
            await world.settled()
            await shop.resolve(scene.allowed)
            await _quiet(world, shop)
            evidence = gather(world, shop.name, sorted(shop.all_stock), *before)
            events = sum(len(entry.events) for entry in evidence.entries)
            objections += await _judge(world, shop, scene, before[0], evidence, depth)
        objections += scene.objections
        if objections:
            verdict = "broken"
    except (NotSettled, HoldfastError, DatabaseUnavailable, Refusal) as error:
        verdict = "not settled"
        objections.append(f"{type(error).__name__}: {error}")
    finally:
        shop.closing = True
        for person in people:
            person.cancel()
        await asyncio.gather(*people, return_exceptions=True)
    return Report(
        fault.name,
        world.level,
        seed,
        verdict,
        moment,
        "; ".join(scene.details),
        len(shop.calls),
        sum(any(one.outcome == "unknown" or one.status == 503 for one in call.tries) for call in shop.calls),
        events,
        time.monotonic() - began,
        back_s,
        tuple(objections),
    )


async def _answers(shop: Shop, count: int, at_most_s: float) -> None:
    deadline = time.monotonic() + at_most_s
    while shop.answers < count and time.monotonic() < deadline:  # noqa: ASYNC110 - both ends are looked at
        await asyncio.sleep(0.005)


async def _caught_up(world: World) -> None:
    await world.wait_for(lambda: position(world) == written(world), QUIET_S, lambda: _lag(world))


def _lag(world: World) -> str:
    return f"the ledger has caught up: it stands at {position(world)}, Redis at {written(world)}"


async def _quiet(world: World, shop: Shop) -> None:
    """Until every hold of the shop has ended and the ledger has all of it. A hold that stays is the auditor's."""
    skus = sorted(shop.all_stock)
    deadline = time.monotonic() + QUIET_S
    while any(reserved(world, skus).values()) and time.monotonic() < deadline:  # noqa: ASYNC110 - asks Redis
        await asyncio.sleep(0.02)
    await _caught_up(world)


async def _judge(
    world: World, shop: Shop, scene: Scene, since: tuple[int, int], evidence: Evidence, depth: Depth
) -> list[str]:
    objections = Auditor(shop.calls, shop.all_stock, evidence, since, scene.allowed).judge()
    async with world.inventory() as inventory:
        found = await reconcile(inventory, depth)
    return objections + _drift(found)


def _drift(found: Reconciliation) -> list[str]:
    return [
        f"invariant {check.invariant}, {check.statement}: {drift.counter} {drift.sku} {drift.reservation_id}"
        f" is {drift.actual}, expected {drift.expected} {drift.detail}"
        for check in found.checks
        for drift in check.drift
        if drift.counter != "quarantine"  # the auditor counts what was set aside, and knows what was put there
    ]
