"""Buyers and a clerk on a few scarce SKUs: random verbs, many at once, repeating what got no answer.

Owns what is sent and when it stops; never looks at what comes back but to know which holds there are.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Sequence
from typing import Final, Protocol

from msgspec import Struct

from tests.checkers.history import NOT_APPLIED, UNKNOWN, Answer, Lines

SHORTEST_TTL_MS: Final = 1_000
_VERBS: Final = {
    "reserve": 34,
    "confirm": 12,
    "release": 20,
    "amend": 9,
    "expire": 4,
    "adjust": 9,
    "read": 5,
    "availability": 7,
}


class Client(Protocol):
    """What sends: EngineClient, HttpClient."""

    async def send(
        self, verb: str, base: str = "", lines: Lines = (), *, created_ms: int = 0, **more: object
    ) -> Answer:
        """One operation, written down."""


class Known(Struct, frozen=True):
    """A hold that somebody was told of."""

    base: str
    created_ms: int
    lines: Lines


class Shoppers:
    """All clients share what they know of each other's holds, so that they meddle with them."""

    def __init__(
        self, clients: Sequence[Client], choices: Sequence[Lines], seed: int, verbs: set[str] | None = None
    ) -> None:
        """`choices`: what a reserve may ask for. `verbs`: those the clients can send; None: all."""
        self._clients = clients
        self._choices = choices
        self._seed = seed
        self._known: deque[Known] = deque(maxlen=30)
        self._bases = self._runs = 0
        self._brief: deque[Known] = deque(maxlen=1_000)
        """Holds of a second: somebody must still ask for them when that is over."""
        self._left_alone: list[Known] = []
        self._weights = {verb: weight for verb, weight in _VERBS.items() if verbs is None or verb in verbs}
        self.left = 0

    async def run(self, operations: int) -> None:
        """Until that many operations were answered."""
        self.left = operations
        self._runs += 1
        await asyncio.gather(*(self._shop(place, client) for place, client in enumerate(self._clients)))

    async def walk_away(self) -> None:
        """A few holds of a second that nobody else hears of: on a fast machine all others are ended long before."""
        lines = self._choices[0]
        for client in self._clients:
            await client.send("adjust", self._base(), tuple((sku, units) for sku, units in lines), operation="add")
            base = self._base()
            answer = await client.send("reserve", base, lines, ttl_ms=SHORTEST_TTL_MS, partial=False)
            if answer.status == "ok":
                self._left_alone.append(Known(base, int(answer.id[24:], 16), answer.held))

    async def look_back(self) -> None:
        """Try to buy every hold of a second that is remembered: most are over by then."""
        for hold in [*self._brief, *self._left_alone]:
            await self._clients[0].send("confirm", hold.base, created_ms=hold.created_ms, order_id="order-0")

    async def _shop(self, place: int, client: Client) -> None:
        dice = random.Random(f"{self._seed} {self._runs} {place}")
        while self.left > 0:
            self.left -= 1
            await self._one(client, dice)

    async def _one(self, client: Client, dice: random.Random) -> None:
        (verb,) = dice.choices(list(self._weights), list(self._weights.values()))
        lines = dice.choice(self._choices)
        if not self._known and verb not in {"availability", "adjust"}:
            verb = "reserve"  # there is no hold yet to do anything with
        if verb == "availability":
            await client.send(verb, lines=lines)
        elif verb == "reserve":
            ttl_ms = SHORTEST_TTL_MS if dice.random() < 0.2 else 60_000
            await self._send(client, dice, verb, self._base(), lines, ttl_ms=ttl_ms, partial=dice.random() < 0.1)
        elif verb == "adjust":
            operation = dice.choice(["add", "add", "remove", "set"])
            units = tuple((sku, dice.randint(5, 9) if operation == "set" else number) for sku, number in lines)
            await self._send(client, dice, verb, self._base(), units, operation=operation)
        else:
            hold = dice.choice(self._brief if self._brief and dice.random() < 0.1 else self._known)
            more: dict[str, object] = {}
            lines = ()
            if verb == "confirm":
                more["order_id"] = f"order-{dice.randrange(3)}"
            elif verb == "expire":
                lines = hold.lines
            elif verb == "amend":
                lines = tuple((sku, dice.randint(1, 3)) for sku, _ in hold.lines)
                more["ttl_ms"] = dice.choice([0, 60_000, SHORTEST_TTL_MS])
            await self._send(client, dice, verb, hold.base, lines, created_ms=hold.created_ms, **more)

    async def _send(
        self, client: Client, dice: random.Random, verb: str, base: str, lines: Lines, **more: object
    ) -> None:
        """Once, and again while it is not known to have happened; most clients are patient, some give up."""
        while True:
            answer = await client.send(verb, base, lines, **more)  # type: ignore[arg-type]
            if answer.status == NOT_APPLIED:
                await asyncio.sleep(0.002)  # there is no connection; this one costs nothing to send again
            elif answer.status != UNKNOWN or dice.random() < 0.2:
                break
        if verb == "reserve" and answer.status in {"ok", "replayed"} and answer.held:
            known = Known(base, int(answer.id[24:], 16), answer.held)
            self._known.append(known)
            if more["ttl_ms"] == SHORTEST_TTL_MS:
                self._brief.append(known)
        elif verb == "reserve" and answer.status == UNKNOWN:
            return
        elif dice.random() < 0.05:
            await client.send(verb, base, lines, **more)  # type: ignore[arg-type]

    def _base(self) -> str:
        self._bases += 1
        return f"{self._seed & 0xFFFFFFFF:08x}{self._bases:016x}"
