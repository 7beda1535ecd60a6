"""A flash sale during which the API, Valkey and the worker are killed, one after the other: every promise is kept.

The whole service as `holdfast up` runs it; the buyers learn nothing but unknown outcomes, and repeat under their keys.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from runtime.loadtest.schedule import Sale
from runtime.loadtest.session import flash_sale
from runtime.throwaway_service import throwaway_service

FELT_S = 0.2
"""A request that waits this long met a process that was away."""

VICTIMS = ("process_main api", "valkey-server", "process_main worker")


def children_of(parent: int) -> dict[int, str]:
    """Process ids and command lines of the direct children of `parent`."""
    return {pid: words for pid, of, words in processes() if of == parent}


def processes() -> Iterator[tuple[int, int, str]]:
    """Every process: id, its parent's, command line."""
    if not Path("/proc/self/stat").exists():
        listed = subprocess.run(["ps", "-A", "-o", "pid=,ppid=,args="], capture_output=True, text=True, check=True)
        for line in listed.stdout.splitlines():
            pid, of, words = line.split(maxsplit=2)
            yield int(pid), int(of), words
        return
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                stat = (folder / "stat").read_text()
                words = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue  # it has ended meanwhile
            yield int(folder.name), int(stat.rpartition(")")[2].split()[1]), words


@pytest.mark.timeout(300)  # three restarts take their time on a busy machine
async def test_every_promise_is_kept_while_each_process_is_killed(eventually: Callable[..., object]) -> None:
    seed = secrets.randbelow(2**31)
    print(f"seed {seed}")
    sale = Sale(secrets.token_hex(4).upper(), buyers=1_200, units=900, rate=150, ttl_s=2, think_s=0.5, seed=seed)
    killed = []
    with throwaway_service() as service:

        async def kill() -> None:
            for victim in VICTIMS:
                before = {pid for pid, words in children_of(service.pid).items() if victim in words}
                assert before, f"{victim} does not run"
                await asyncio.sleep(1)  # some buyers come between two kills; not a wait for anything
                os.kill(min(before), signal.SIGKILL)
                killed.append(victim)
                await eventually(  # type: ignore[misc]
                    lambda victim=victim, before=before: any(
                        victim in words for pid, words in children_of(service.pid).items() if pid not in before
                    ),
                    20,
                    f"{victim} runs again",
                )

        killing = asyncio.create_task(kill())
        outcome = await flash_sale(service, sale, 32, 1, print, patience_s=90)
        await killing
    assert killed == list(VICTIMS)
    broken = {promise.name: promise.objections for promise in outcome.verdict.promises if promise.objections}
    assert broken == {}
    assert outcome.verdict.account.sold_units == sale.units
    felt = [one for one in outcome.seen if one.repeat or one.answered_s - one.scheduled_s > FELT_S]
    assert felt, "no kill was felt: the test proves nothing"
