"""Wall clocks that jump: far ahead, back, and the small steps that NTP makes."""

from __future__ import annotations

import asyncio

from tests.torture.calls import Allowed
from tests.torture.faults.fault import Scene, fault
from tests.torture.shims import Shims
from tests.torture.world import World


def _no_shim(world: World) -> str:
    return world.shims_missing


def _clock(scene: Scene) -> Shims:
    assert scene.world.shims is not None
    return scene.world.shims


@fault("clock-forward", "the clock of Redis jumps ahead by a minute to an hour and stays there", missing=_no_shim)
async def _forward(scene: Scene) -> None:
    ahead_ms = scene.rng.choice((60_000, 600_000, 3_600_000))
    scene.tell(f"{ahead_ms / 1000:+g} s")
    _clock(scene).offset_ms += ahead_ms
    scene.allowed = Allowed(early_expiry=True)
    await asyncio.sleep(0.5)


@fault("clock-back", "the clock of Redis jumps back by up to an hour, and comes right later", missing=_no_shim)
async def _back(scene: Scene) -> None:
    back_ms = scene.rng.choice((1_000, 10_000, 3_600_000))
    scene.tell(f"{-back_ms / 1000:+g} s")
    _clock(scene).offset_ms -= back_ms
    try:
        await asyncio.sleep(scene.rng.uniform(0.3, 1.0))
    finally:
        _clock(scene).offset_ms += back_ms


@fault("clock-steps", "the clock of Redis is set by up to 0.5 s, back and forth, many times", missing=_no_shim)
async def _steps(scene: Scene) -> None:
    before = _clock(scene).offset_ms
    for _ in range(20):
        _clock(scene).offset_ms = before + scene.rng.randint(-500, 500)
        await asyncio.sleep(0.03)
    _clock(scene).offset_ms = before
    scene.tell("20 steps")
