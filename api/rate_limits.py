"""How many requests a key may make: the numbers, and the text of a setting that gives them.

Owns what can be said of limits (`HOLDFAST_RATE_LIMIT`); never counts a request (api/rate_limiter.py).
"""

from __future__ import annotations

import math
import re
from typing import Final

from msgspec import Struct

ROLES: Final = ("storefront", "auditor", "operator", "manager", "admin")
MIN_RATE: Final = 0.01
MAX_RATE: Final = 1_000_000.0
MAX_BURST: Final = 10_000_000

_LIMIT = re.compile(r"(\d{1,7}(?:\.\d{1,3})?)(?:/(\d{1,8}))?", re.ASCII)


class Limit(Struct, frozen=True):
    """A token bucket: `burst` requests at once, `rate` a second in the long run."""

    rate: float
    """Requests a second, 0.01 to 10^6."""
    burst: int
    """Requests, 1 to 10^7."""


class RateLimits(Struct, frozen=True):
    """A limit for the keys of each role; a role that is not named has none. Each key has a bucket of its own."""

    by_role: dict[str, Limit]
    processes: int = 1
    """Processes that share the limit: each gives out its part."""


def parse_limits(text: str, processes: int = 1) -> RateLimits | None:
    """`RATE[/BURST]` for every role, `ROLE=RATE[/BURST]` or `ROLE=off` for one; several with commas. Empty: None.

    Without BURST it is as large as RATE, at least 1. Raises ValueError, saying what cannot be read.
    """
    by_role: dict[str, Limit] = {}
    named: dict[str, Limit | None] = {}
    general: Limit | None = None
    seen: set[str] = set()
    for part in filter(None, (part.strip() for part in text.split(","))):
        role, equals, value = (piece.strip() for piece in part.rpartition("="))
        if role in seen or (equals and role not in ROLES):
            raise ValueError(f"{role or part!r} is given twice" if role in seen else f"there is no role {role!r}")
        seen.add(role)
        if role:
            named[role] = None if value == "off" else _limit(value)
        else:
            general = _limit(value)
    for role in ROLES:
        limit = named.get(role, general)
        if limit is not None:
            by_role[role] = limit
    return RateLimits(by_role, processes) if by_role else None


def _limit(text: str) -> Limit:
    match = _LIMIT.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not requests a second, such as 100 or 100/500")
    rate = float(match[1])
    burst = int(match[2]) if match[2] else max(1, math.ceil(rate))
    if not MIN_RATE <= rate <= MAX_RATE or not 1 <= burst <= MAX_BURST:
        raise ValueError(f"{text!r}: a rate is 0.01 to 1000000 a second, a burst 1 to 10000000")
    return Limit(rate, burst)
