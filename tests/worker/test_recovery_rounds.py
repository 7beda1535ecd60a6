"""Recoveries that are killed, stopped and gone on with, several at once, over servers that restart: rounds by chance.

Each round prints its seed. `make recovery ROUNDS=500` plays more of them than the tests do (it sets
HOLDFAST_RECOVERY_ROUNDS); HOLDFAST_RECOVERY_SEED=n plays one of them again.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import traceback
from collections.abc import AsyncIterator, Callable
from typing import Any, Literal

import pytest
import redis

from engine import Engine
from engine.fenced import FenceLost
from engine.results import Reservation
from persistence import recovery_ledger
from persistence.ledger_writer import LedgerError
from runtime.embedded_redis import EmbeddedRedis
from tests.waiting import wait_until
from tests.worker.recovering_shop import KEYS, RecoveringShop
from worker.failpoints import RECOVERY_STEPS
from worker.recovery import Admitted

ROUNDS = int(os.environ.get("HOLDFAST_RECOVERY_ROUNDS", "6"))
SEED = os.environ.get("HOLDFAST_RECOVERY_SEED")

Damage = Literal["none", "restart", "flushall", "older", "meta", "counters", "nonsense"]
OVERTAKEN = 3
"""Exit code of a recovery that another one was faster than."""
DAMAGES: tuple[Damage, ...] = ("none", "restart", "flushall", "older", "meta", "counters", "nonsense")


@pytest.fixture
async def shop(
    make_redis: Callable[..., EmbeddedRedis], database_url: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[RecoveringShop]:
    # A process that was stopped keeps the lock this long: the others need not wait as they would in earnest.
    monkeypatch.setattr(recovery_ledger, "LOCK_HELD_MS", 1_000)
    shop = RecoveringShop(make_redis(appendfsync="always"), database_url)
    yield shop
    await shop.close()


def recovered(shop: RecoveringShop) -> Admitted:
    """What a keeper does: look until it is admitted."""
    found: list[Admitted] = []

    def looked() -> bool:
        try:
            found.append(shop.recover())
        except (FenceLost, LedgerError):
            return False
        return True

    wait_until(looked, 90, "the recovery")
    return found[0]


def child(shop: RecoveringShop, step: str, ending: signal.Signals, by_hand: bool) -> int | None:
    """A process that recovers, or rebuilds by hand, and gets `ending` at `step`. Its id if it has stopped there."""
    pid = os.fork()
    if pid == 0:
        code = 70
        try:
            recovery = shop.recovery(passed=lambda name: os.kill(os.getpid(), ending) if name == step else None)
            if by_hand:
                recovery.rebuild("asked for")
            else:
                recovery.look()
            code = 0
        except (FenceLost, LedgerError, redis.RedisError):
            code = OVERTAKEN
        except BaseException:  # noqa: BLE001 - told by the exit code, which `ended` looks at
            traceback.print_exc()
        finally:
            os._exit(code)
    return pid if ended(pid, os.WUNTRACED) is None else None


def ended(pid: int, options: int) -> int | None:
    """Wait for a child's end; None when it has stopped instead. It may be killed or overtaken, never fail."""
    _, status = os.waitpid(pid, options)
    if os.WIFSTOPPED(status):
        return None
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) in {0, OVERTAKEN}, status
    return status


async def trade(shop: RecoveringShop, engine: Engine, chance: random.Random, turn: int) -> dict[str, Reservation]:
    """Some of everything; what keyed requests have made."""
    made: dict[str, Reservation] = {}
    for number in range(chance.randint(3, 12)):
        key = f"{turn}-{number}" if chance.random() < 0.6 else ""
        held = await shop.hold(engine, f"S{chance.randrange(6)}", chance.randint(1, 2), key=key)
        if key:
            made[key] = held
        then = chance.random()
        if then < 0.2:
            await engine.confirm(held.id, order_id=f"o-{turn}-{number}", caller="shop")
        elif then < 0.4:
            await engine.release(held.id, caller="shop")
        elif then < 0.5:
            await engine.amend(held.id, [("S0", 1), ("S5", 1)], caller="shop")
    await shop.adjust(engine, f"a-{turn}", chance.randint(1, 9))
    return made


def damage(shop: RecoveringShop, kind: Damage, earlier: int) -> None:
    """`earlier`: how long the append-only file was when the round began."""
    if kind == "restart":
        shop.restart()
        return
    if kind == "older":
        shop.flush()
        shop.server.kill()
        os.truncate(shop.journal_file(), earlier)
        shop.server.start()
        return
    with shop.client() as client:
        if kind == "flushall":
            # What the ledger does not have is gone for good: here everything is in it.
            shop.flush()
            client.flushall()
        elif kind == "meta":
            client.delete(KEYS.meta)
        elif kind == "counters":
            client.delete(KEYS.stock)
        elif kind == "nonsense":
            shop.flush()
            client.hset(KEYS.meta, "seq", "many")


@pytest.mark.timeout(120 + 30 * ROUNDS)
async def test_whatever_interrupts_a_recovery_the_next_one_makes_it_good(shop: RecoveringShop) -> None:
    admitted = recovered(shop)
    engine = await shop.open_engine(admitted)
    await shop.stock(engine, units=100_000)
    shop.flush()
    for turn in range(1 if SEED else ROUNDS):
        seed = int(SEED) if SEED else random.SystemRandom().randrange(2**32)
        chance = random.Random(seed)
        earlier = shop.journal_file().stat().st_size
        made = await trade(shop, engine, chance, turn)
        if chance.random() < 0.5:
            shop.flush()
        before = shop.picture()
        kind = chance.choice(DAMAGES)
        print("seed", seed, "damage", kind)
        if kind == "counters":
            shop.flush()
        damage(shop, kind, earlier)
        stopped: list[int] = []
        for _ in range(chance.randint(0, 3)):
            step, ending = chance.choice(RECOVERY_STEPS), chance.choice([signal.SIGKILL, signal.SIGSTOP])
            print("  ", ending.name, "at", step)
            pid = child(shop, step, ending, chance.random() < 0.5)
            if pid is not None:
                stopped.append(pid)
            if chance.random() < 0.3:
                print("   restart")
                shop.restart()
        lookers = [threading.Thread(target=recovered, args=(shop,)) for _ in range(chance.randint(0, 2))]
        for looker in lookers:
            looker.start()
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
            ended(pid, 0)
        for looker in lookers:
            looker.join(120)
        epoch = admitted.epoch
        admitted = recovered(shop)

        assert shop.state()[:2] == ("OPEN", "")
        assert shop.cursor()[0] == admitted.epoch >= epoch
        assert _same(shop.picture(), before)
        engine = await shop.open_engine(admitted)
        for key, first in made.items():
            # It meets what it has made, whatever became of that since.
            again = await shop.hold(engine, first.lines[0][0], first.lines[0][1], key=key)
            assert again.id == first.id
        shop.flush()
        shop.check()
        await shop.engines.pop(0).close()


def _same(now: Any, before: Any) -> bool:
    """Counters, deadlines and live records as they were."""
    assert now[0] == before[0]
    assert now[1] == before[1]
    assert now[2] == before[2]
    return True
