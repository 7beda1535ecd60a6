"""What a fault is: a name, what it needs, what it may cost, and how it is done to a running world.

Owns the list of all faults; each file beside this one owns some of them.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable

from msgspec import Struct

from tests.torture.calls import Allowed
from tests.torture.shoppers import Shop
from tests.torture.world import Level, World


class Scene(Struct):
    """A run as its fault meets it."""

    world: World
    shop: Shop
    rng: random.Random
    details: list[str] = []
    """What exactly was done, for the report."""
    allowed: Allowed = Allowed()
    objections: list[str] = []
    """What the fault itself saw that must not be."""
    world_is_over: bool = False
    """Nothing more may run in this world; the fault has judged it."""

    def tell(self, text: str) -> None:
        self.details.append(text)
        self.world.note(text)

    def object(self, text: str) -> None:
        self.objections.append(text)


class Fault(Struct, frozen=True):
    """One way to hurt the service."""

    name: str
    what: str
    strike: Callable[[Scene], Awaitable[None]]
    """Does it, and returns when it is over (the service may still be recovering)."""
    missing: Callable[[World], str] = lambda _world: ""
    """Why it cannot be done here; empty when it can."""
    levels: frozenset[Level] = frozenset({"journal", "fsync", "replicated", "ledger"})
    spoils: bool = False
    """The world is of no use afterwards."""


ALL: dict[str, Fault] = {}


def fault(
    name: str,
    what: str,
    *,
    missing: Callable[[World], str] | None = None,
    levels: frozenset[Level] | None = None,
    spoils: bool = False,
) -> Callable[[Callable[[Scene], Awaitable[None]]], Callable[[Scene], Awaitable[None]]]:
    """Register the function below as a fault."""

    def register(strike: Callable[[Scene], Awaitable[None]]) -> Callable[[Scene], Awaitable[None]]:
        assert name not in ALL, name
        kept = Fault(name, what, strike)
        ALL[name] = Fault(name, what, strike, missing or kept.missing, levels or kept.levels, spoils)
        return strike

    return register
