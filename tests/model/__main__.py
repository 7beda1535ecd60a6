"""`python -m tests.model --steps 2000000`: the engine against the model for a long time, without Hypothesis.

Owns the dice for long plays, three times as fast as Hypothesis; what is compared stands in engine_machine.py. Each shop
has a seed of its own, which the message of a failing one gives.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import secrets
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from engine import Engine, EngineSettings
from engine.scripts import Script, compose
from runtime.embedded_redis import EmbeddedRedis
from tests.model.engine_machine import KEEPS, SKUS, UNKNOWN, EngineMachine, bound

STEPS_A_SHOP: Final = 40
"""Of batches, waits and sweeps; some 250 commands."""
OWNERS: Final = ("", "", "", "ann", "bob")
TTLS_MS: Final = (1_000, 5_000, 60_000, 3_600_000)


class Dice:
    """Everything that can be asked for, at random; what engine_machine.py lets Hypothesis draw, in the same shares."""

    def __init__(self, seed: str) -> None:
        self._dice = random.Random(seed)

    def stock(self) -> tuple[int, ...]:
        return tuple(self._dice.randint(0, 40) for _ in SKUS)

    def step(self, shop: EngineMachine) -> None:
        """One thing that happens."""
        kind = self._dice.choices(("ask", "wait", "deadline", "sweep"), (5, 1, 2, 1))[0]
        if kind == "ask":
            shop.ask([self.intent() for _ in range(self._dice.randint(4, 14))])
        elif kind == "wait":
            shop.wait(self._dice.choice((1, 999, 1_000, 4_999, 60_000, -3_000)))
        elif kind == "deadline":
            shop.wait_for_a_deadline(self._dice.randint(0, 3), self._dice.choice((-1, 0, 1)))
        else:
            shop.sweep()

    def intent(self) -> tuple[Any, ...]:
        """A verb and what it is given."""
        dice = self._dice
        verb = dice.choices(
            (
                "reserve",
                "keyed",
                "amend",
                "confirm",
                "release",
                "expire",
                "read",
                "availability",
                "adjust",
                "configure",
            ),
            (3, 1, 1, 1, 1, 1, 1, 1, 1, 1),
        )[0]
        which, owner, ttl_ms = dice.randint(0, 30), dice.choice(OWNERS), dice.choice(TTLS_MS)
        more: dict[str, tuple[Any, ...]] = {
            "reserve": (self._lines(), ttl_ms, dice.random() < 0.5, dice.choice(("ann", "bob"))),
            "keyed": (dice.randint(0, 12), dice.randint(0, 3), ttl_ms, dice.random() < 0.5),
            "amend": (which, self._lines() if dice.random() < 0.5 else (), dice.choice((0, ttl_ms)), owner),
            "confirm": (
                [dice.randint(0, 30) for _ in range(dice.randint(1, 3))],
                dice.choice(("", "o-1", "o-1", "o-2")),
                owner,
                dice.random() < 0.5,
            ),
            "release": (which, owner),
            "expire": (which,),
            "read": (which, owner, dice.choice((0, 0, 0, 1))),
            "availability": (sorted({self._sku() for _ in range(dice.randint(1, 3))}),),
            "adjust": (
                {self._sku(): (dice.choice(("add", "remove", "set")), dice.randint(1, 9)) for _ in range(3)},
                dice.choice((-1, -1, 0, 1, 2)),
                dice.choice((0, 0, 4, 12)),
                dice.choice((None, None, 0, 1)),
            ),
            "configure": (dice.choice(SKUS), dice.randint(0, 3), dice.randint(0, 9), dice.choice(KEEPS)),
        }
        return (verb, *more[verb])

    def _sku(self) -> str:
        return self._dice.choice((*SKUS[:-1] * 6, *SKUS, UNKNOWN))

    def _lines(self) -> tuple[tuple[str, int], ...]:
        chosen = {self._sku(): self._dice.randint(1, 6) for _ in range(self._dice.randint(1, 3))}
        return tuple(chosen.items())


def play_shop(machine: type[EngineMachine], seed: str) -> None:
    """One shop from its opening to its last step. AssertionError, with the seed as a note, where the two differ."""
    dice = Dice(seed)
    try:
        shop = machine()
        shop.open_shop(dice.stock())
        for _ in range(STEPS_A_SHOP):
            dice.step(shop)
    except BaseException as error:
        error.add_note(f"again: python -m tests.model --shop {seed}")
        raise


def play(steps: int, seed: int, shop: str = "", script: Script | None = None) -> int:
    """Shops until `steps` commands were compared, or the one named `shop`. Gives the number of commands."""
    with tempfile.TemporaryDirectory(prefix="holdfast-model-") as folder, asyncio.Runner() as runner:
        server = EmbeddedRedis(Path(folder) / "redis", extra=["appendonly no"])
        server.start()
        try:
            engine = runner.run(Engine.connect(server.url, EngineSettings(script=script or compose())))
            with server.client() as client:
                machine = bound(runner, engine, client)
                if shop:
                    play_shop(machine, shop)
                else:
                    _play_shops(machine, steps, seed)
            runner.run(engine.close())
        finally:
            server.kill()
        return machine.commands


def _play_shops(machine: type[EngineMachine], steps: int, seed: int) -> None:
    began, shops, told = time.monotonic(), 0, 0
    while machine.commands < steps:
        play_shop(machine, f"{seed}/{shops}")
        shops += 1
        if machine.commands >= told + 50_000:
            told = machine.commands
            rate = told / (time.monotonic() - began)
            print(f"{told:,} of {steps:,} commands in {shops:,} shops, {rate:,.0f} a second", flush=True)


def main() -> int:
    """0 when engine and model agreed on every command; a difference is raised."""
    parser = argparse.ArgumentParser(prog="python -m tests.model", description=__doc__)
    parser.add_argument("--steps", type=int, default=100_000, help="commands to compare (default 100,000)")
    parser.add_argument("--seed", type=int, help="of all shops (default: any)")
    parser.add_argument("--shop", default="", help="only this one, as a failing one was named")
    given = parser.parse_args()
    seed = given.seed if given.seed is not None else secrets.randbelow(2**31)
    print(f"seed {seed}", flush=True)
    began = time.monotonic()
    commands = play(given.steps, seed, given.shop)
    print(f"{commands:,} commands, engine and model agree on each; seed {seed}, {time.monotonic() - began:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
