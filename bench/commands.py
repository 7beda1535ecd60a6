"""The reservations that benchmarks make: what the HTTP hot path makes of a keyed reserve of one unit.

Owns the shape of the load, so that every benchmark measures the same reserve; never sends anything.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count, cycle
from typing import Final

from engine import Engine
from engine.commands import Configure, Reserve
from engine.identity import fingerprint, random_base

PLENTY: Final = 100_000_000
"""Units on hand: no benchmark runs out."""

OWNER: Final = "storefront"
_customers = count(100_000)


def sku_names(how_many: int) -> list[str]:
    """Names of the length a shop uses."""
    return [f"SKU-{number:05d}" for number in range(how_many)]


def reserve(sku: str) -> Reserve:
    """One unit of `sku` for a customer of its own, as a keyed request arrives from the API."""
    details = f'{{"c":"customer-{next(_customers)}","t":1800000}}'
    lines = f"{sku}=1"
    return Reserve(random_base(), lines, 1_800_000, False, OWNER, fingerprint(details.encode()), details)


def reserves(skus: list[str]) -> Iterator[Reserve]:
    """An endless supply, SKU after SKU."""
    return (reserve(sku) for sku in cycle(skus))


async def stock_up(engine: Engine, skus: list[str]) -> None:
    """Make the SKUs, with plenty of each."""
    results = await engine.apply([Configure(sku, 0, 0, True, PLENTY, "admin") for sku in skus])
    if any(result.status != "ok" for result in results):
        raise RuntimeError("the SKUs of the benchmark could not be made")
