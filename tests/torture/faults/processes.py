"""Processes and servers that die, stand still, or are restarted in order."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable

from tests.runtime.up_process import command_line, descendants
from tests.torture.faults.fault import Scene, fault
from tests.torture.world import World

PROCESSES = ("api", "worker", "jobs", "redis", "postgres")


def _not_there(name: str) -> Callable[[World], str]:
    return lambda world: "" if name in world.children else f"no {name} in this world"


def _register_kill(name: str) -> None:
    @fault(f"kill-{name}", f"SIGKILL to {name}, which is started again", missing=_not_there(name))
    async def strike(scene: Scene) -> None:
        scene.world.kill(name)
        scene.tell(f"{name} killed")


def _register_stop(name: str) -> None:
    @fault(
        f"stop-{name}",
        f"SIGSTOP to {name} and its children, SIGCONT 0.1 to 0.8 s later",
        missing=_not_there(name),
    )
    async def strike(scene: Scene) -> None:
        pause_s = scene.rng.uniform(0.1, 0.8)
        scene.tell(f"{name} stands still for {pause_s:.2f} s")
        scene.world.signal(name, signal.SIGSTOP)
        try:
            await asyncio.sleep(pause_s)
        finally:
            scene.world.signal(name, signal.SIGCONT)


def _register_restart(name: str) -> None:
    @fault(f"restart-{name}", f"{name} is stopped in order, is away for up to 0.5 s, and comes back")
    async def strike(scene: Scene) -> None:
        pause_s = scene.rng.uniform(0.0, 0.5)
        scene.tell(f"{name} away for {pause_s:.2f} s")
        scene.world.hold_down(name)
        await asyncio.sleep(pause_s)
        scene.world.let_up(name)


for _name in PROCESSES:
    _register_kill(_name)
    _register_stop(_name)
for _name in ("redis", "postgres"):
    _register_restart(_name)


@fault("kill-postgres-backend", "SIGKILL to one of Postgres' own processes: it throws everybody out and recovers")
async def _kill_backend(scene: Scene) -> None:
    postmaster = scene.world.postgres.process.pid
    backends = sorted(pid for pid in descendants(postmaster) if "holdfast holdfast" in command_line(pid))
    victim = scene.rng.choice(backends) if backends else postmaster
    scene.tell(f"process {victim} of {len(backends)} killed")
    with contextlib.suppress(ProcessLookupError):
        os.kill(victim, signal.SIGKILL)


@fault("kill-everything", "SIGKILL to all processes and both servers at once")
async def _kill_everything(scene: Scene) -> None:
    for name in scene.rng.sample(PROCESSES, len(PROCESSES)):
        if name in scene.world.children:
            scene.world.kill(name)
    scene.tell("all killed")


@fault("no-sweeper", "the only worker stands still: holds whose time is over must sell all the same")
async def _no_sweeper(scene: Scene) -> None:
    scene.world.signal("worker", signal.SIGSTOP)
    try:
        # Long enough for the first holds of one second to end.
        await asyncio.sleep(1.3)
    finally:
        scene.world.signal("worker", signal.SIGCONT)
    scene.tell("no worker for 1.3 s")


@fault("many-workers", "one to four more workers: two flushers and up to five sweepers at the same time")
async def _many_workers(scene: Scene) -> None:
    count = scene.rng.randint(1, 4)
    scene.tell(f"{count} more workers")
    scene.world.more_workers(count)
    await scene.world.wait_for(lambda: _all_run(scene), 240, lambda: "more workers run")
    await asyncio.sleep(0.3)
    scene.world.fewer_workers()


@fault("zombie-flusher", "a flusher stands still in the middle, another one takes over, the first one goes on")
async def _zombie(scene: Scene) -> None:
    scene.world.more_workers(1)
    await scene.world.wait_for(lambda: _all_run(scene), 240, lambda: "a second worker runs")
    first = scene.rng.choice(("worker", "worker-2"))
    scene.tell(f"{first} is the zombie")
    scene.world.signal(first, signal.SIGSTOP)
    await asyncio.sleep(0.4)
    scene.world.signal(first, signal.SIGCONT)
    await asyncio.sleep(0.2)
    scene.world.fewer_workers()


def _all_run(scene: Scene) -> bool:
    return all(child.state == "running" for child in scene.world.children.values())
