"""What customers asked for and could not have, by SKU: counted where a reserve is refused, and nowhere else.

Owns the counts of the busiest SKUs since the start of the process, and how many it remembers; never sees a success.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Iterable
from operator import itemgetter
from typing import Any, Final

from inventory.pulse.sheets import MOST_SKUS, LostDemand

FORGOTTEN_S: Final = 3600.0
"""A SKU that nobody was refused for this long makes room first."""


class LostDemandCounts:
    """SKU -> requests and units that were refused. Bounded: past twice `most` the least busy are forgotten."""

    def __init__(self, most: int = MOST_SKUS) -> None:
        self._most = most
        self._counts: dict[str, list[float]] = {}
        """SKU -> requests, units, Unix seconds of the latest."""
        self.lines = 0
        """Lines that were short, all SKUs."""
        self.units = 0

    def count(self, shortages: Iterable[dict[str, Any]]) -> None:
        """Note the short lines of one refused reserve, as its problem document has them."""
        now = time.time()
        for shortage in shortages:
            sku, units = shortage["sku"], shortage["requested"]
            self.lines += 1
            self.units += units
            counts = self._counts.get(sku)
            if counts is None:
                counts = self._counts[sku] = [0, 0, 0.0]
            counts[0] += 1
            counts[1] += units
            counts[2] = now
        if len(self._counts) > 2 * self._most:
            self._make_room(now)

    def busiest(self) -> tuple[LostDemand, ...]:
        """The SKUs most often refused, at most `most`, the busiest first."""
        found = heapq.nlargest(self._most, self._counts.items(), key=itemgetter(1))
        return tuple(LostDemand(sku, int(n), int(units), round(at * 1000)) for sku, (n, units, at) in found)

    def _make_room(self, now: float) -> None:
        lately = {sku: counts for sku, counts in self._counts.items() if now - counts[2] < FORGOTTEN_S}
        self._counts = dict(heapq.nlargest(self._most, lately.items(), key=lambda item: (item[1][0], item[1][2])))
