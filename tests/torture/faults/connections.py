"""Connections that break: before a request is sent, after it was sent, without an answer, in silence, or slowly."""

from __future__ import annotations

import asyncio

from tests.link_proxy import Cut, LinkProxy
from tests.torture.faults.fault import Scene, fault

ENOUGH_S = 1.0
"""A cut waits this long for something to cut."""


def _link(scene: Scene, server: str) -> LinkProxy:
    side = scene.rng.choice(("api", "worker"))
    return scene.world.proxies[f"{side}-{server}"]


async def _cut(scene: Scene, proxy: LinkProxy, how: Cut, word: bytes, times: int) -> None:
    before = proxy.cuts.total()
    for _ in range(times):
        proxy.cut_word, proxy.cut_next = word, how
        waited = 0.0
        while proxy.cut_next is not None and waited < ENOUGH_S:
            await asyncio.sleep(0.005)
            waited += 0.005
        proxy.cut_next = None
    scene.tell(f"{proxy.name}: {proxy.cuts.total() - before} cuts {how} {word.decode()}".rstrip())


def _register(server: str) -> None:
    @fault(f"{server}-cut-before-send", f"a connection to {server} ends before what was sent arrives")
    async def cut_before(scene: Scene) -> None:
        await _cut(scene, _link(scene, server), "before send", b"", scene.rng.randint(1, 4))

    @fault(f"{server}-reply-dropped", f"{server} does what it was told, its answer never arrives")
    async def cut_after(scene: Scene) -> None:
        await _cut(scene, _link(scene, server), "after send", b"", scene.rng.randint(1, 4))

    @fault(f"{server}-all-cut", f"every connection to {server} ends at once, several times")
    async def all_cut(scene: Scene) -> None:
        times = scene.rng.randint(1, 5)
        for _ in range(times):
            for side in ("api", "worker"):
                scene.world.proxies[f"{side}-{server}"].drop_all()
            await asyncio.sleep(scene.rng.uniform(0, 0.1))
        scene.tell(f"{times} times")

    @fault(f"{server}-black-hole", f"nothing passes to {server} or back, nobody is told; then all of it does")
    async def black_hole(scene: Scene) -> None:
        proxy = _link(scene, server)
        seconds = scene.rng.uniform(0.2, 1.2)
        scene.tell(f"{proxy.name}: {seconds:.2f} s")
        proxy.black_hole(True)
        try:
            await asyncio.sleep(seconds)
            if scene.rng.random() < 0.5:
                proxy.drop_all()
                scene.tell("then cut")
        finally:
            proxy.black_hole(False)

    @fault(f"{server}-slow", f"everything to and from {server} takes 5 to 60 ms longer")
    async def slow(scene: Scene) -> None:
        proxy = _link(scene, server)
        proxy.delay_s = scene.rng.uniform(0.005, 0.06)
        scene.tell(f"{proxy.name}: {proxy.delay_s * 1000:.0f} ms")
        try:
            await asyncio.sleep(0.8)
        finally:
            proxy.delay_s = 0.0


for _server in ("redis", "postgres"):
    _register(_server)


@fault("commit-cut-before", "the worker's connection to Postgres ends before COMMIT arrives")
async def _commit_before(scene: Scene) -> None:
    await _cut(scene, scene.world.proxies["worker-postgres"], "before send", b"COMMIT", scene.rng.randint(1, 3))


@fault("commit-cut-after", "the worker's connection to Postgres ends after COMMIT was sent: its outcome is unknown")
async def _commit_after(scene: Scene) -> None:
    await _cut(scene, scene.world.proxies["worker-postgres"], "after send", b"COMMIT", scene.rng.randint(1, 3))
