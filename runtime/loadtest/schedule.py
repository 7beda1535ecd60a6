"""Who comes when, and what they will do: a flash sale made from a seed before it begins.

Owns arrivals and behaviours. Never sends anything; the same seed always gives the same sale.
"""

from __future__ import annotations

import random
from enum import StrEnum
from typing import Final

from msgspec import Struct


class Behaviour(StrEnum):
    """What a buyer does with a hold."""

    CONFIRM = "confirms"
    RETRY = "retries"
    """Sends the same reserve again under the same key, confirms twice, then tries to release what is sold."""
    DOUBLE_CLICK = "double-clicks"
    """Sends reserve twice at the same moment under one key, and the confirm twice as well."""
    RELEASE = "releases"
    """Releases twice, then tries to confirm what is gone."""
    WALK_AWAY = "walks away"
    LATE = "comes late"
    """Confirms after the deadline."""


SHARES: Final[dict[Behaviour, int]] = {
    Behaviour.CONFIRM: 42,
    Behaviour.RETRY: 13,
    Behaviour.DOUBLE_CLICK: 13,
    Behaviour.RELEASE: 10,
    Behaviour.WALK_AWAY: 16,
    Behaviour.LATE: 6,
}
"""Per cent of the buyers."""

TWO_UNITS: Final = 0.2
"""Share of the buyers that want two units; the others want one."""


class Sale(Struct, frozen=True):
    """A flash sale."""

    run: str
    """Makes the SKU, the keys and the order ids of this run its own."""
    buyers: int
    units: int
    rate: float
    """Arrivals a second, on average; the instants are random (Poisson) and wait for nobody's answer."""
    ttl_s: int
    think_s: float
    """Buyers think from 0 to this long before they confirm or release."""
    seed: int

    @property
    def sku(self) -> str:
        """The SKU on sale."""
        return f"FLASH-{self.run}"

    @property
    def duration_s(self) -> float:
        """How long the arrivals take, about."""
        return self.buyers / self.rate


class Buyer(Struct, frozen=True, array_like=True, gc=False):
    """One buyer."""

    number: int
    at_s: float
    """Instant of arrival, from the start of the sale."""
    behaviour: Behaviour
    quantity: int
    think_s: float


def key_of(sale: Sale, buyer: int) -> str:
    """The buyer's Idempotency-Key."""
    return f"{sale.run}-{buyer}"


def order_of(sale: Sale, buyer: int) -> str:
    """The buyer's order id."""
    return f"order-{sale.run}-{buyer}"


def make_buyers(sale: Sale) -> list[Buyer]:
    """Every buyer of the sale, in order of arrival."""
    chance = random.Random(sale.seed)  # noqa: S311 - reproducible, not secret
    behaviours, weights = list(SHARES), list(SHARES.values())
    buyers = []
    at_s = 0.0
    for number in range(sale.buyers):
        at_s += chance.expovariate(sale.rate)
        behaviour = chance.choices(behaviours, weights)[0]
        quantity = 2 if chance.random() < TWO_UNITS else 1
        buyers.append(Buyer(number, at_s, behaviour, quantity, chance.uniform(0, sale.think_s)))
    return buyers
