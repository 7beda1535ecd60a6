"""Counts what each API key asks for and says when it is too much: a token bucket a key, in this process alone.

Owns the buckets and the RateLimit headers. Never waits, asks nobody, and does not exist where no limit is set.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from api.problems import Problem

if TYPE_CHECKING:
    from api.auth import Caller
    from api.hot.exchange import Headers
    from api.rate_limits import RateLimits

SCOPE_KEY: Final = "holdfast.rate_limit"
"""Where a cold request's RateLimit headers wait in its scope for the answer."""
MAX_BUCKETS: Final = 10_000
"""Buckets kept before the full ones, which say nothing, are let go."""
ROUNDING: Final = 1e-6
"""What adding to a time and taking away again may lose of it: no reason to refuse, or to tell a second more."""
_NOTHING: Final = float("-inf")


class _Share:
    """What one process gives out of one role's limit."""

    def __init__(self, rate: float, burst: int, processes: int) -> None:
        self.interval_s = processes / rate
        """Seconds until another request is allowed."""
        self.burst = max(1.0, burst / processes)
        self.depth_s = self.burst * self.interval_s
        """Seconds an empty bucket takes to be full."""
        window_s = max(1, math.ceil(burst / rate))
        self._policy = (b"ratelimit-policy", b'"key";q=%d;w=%d' % (burst, window_s))
        self._told: dict[int, Headers] = {}

    def headers(self, fills_in_s: float) -> Headers:
        """RateLimit-Policy and RateLimit: requests left at once, seconds until the bucket is full."""
        left = int((self.depth_s - fills_in_s) / self.interval_s + ROUNDING)
        told = self._told.get(left)
        if told is None:
            if len(self._told) >= MAX_BUCKETS:
                self._told.clear()
            full_in_s = math.ceil((self.burst - left) * self.interval_s - ROUNDING)
            told = (self._policy, (b"ratelimit", b'"key";r=%d;t=%d' % (max(0, left), full_in_s)))
            self._told[left] = told
        return told


class RateLimiter:
    """The buckets of one process. Not thread-safe: it belongs to the event loop.

    A bucket is one number: when it will be full again. In any T seconds a key gets at most `rate * T + burst` requests
    from all processes together (each of them gives out at least one at once), and what one large batch goes past that:
    a batch as large as the burst or larger is let in when the bucket is full, and is paid off before anything else.
    """

    def __init__(self, limits: RateLimits, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._shares = {
            role: _Share(limit.rate, limit.burst, limits.processes) for role, limit in limits.by_role.items()
        }
        self._monotonic = monotonic
        self._full_at: dict[str, float] = {}
        """Key id -> when its bucket is full."""

    def take(self, caller: Caller, cost: int = 1) -> Headers:
        """Let `cost` requests of `caller` in; the headers that their answer carries. Raises Problem `rate-limited`."""
        share = self._shares.get(caller.role)
        if share is None:
            return ()
        now = self._monotonic()
        full_at = self._full_at.get(caller.id, _NOTHING)
        if full_at < now:  # noqa: PLR1730 - max() would cost more than all the rest
            full_at = now
        wait_s = full_at - now + min(cost, share.burst) * share.interval_s - share.depth_s
        if wait_s > ROUNDING:
            raise self._refusal(share, full_at - now, wait_s, cost)
        full_at += cost * share.interval_s
        if len(self._full_at) >= MAX_BUCKETS:
            self._full_at = {key: at for key, at in self._full_at.items() if at > now}
        self._full_at[caller.id] = full_at
        return share.headers(full_at - now)

    def give_back(self, caller: Caller, cost: int) -> None:
        """Undo a `take`: what was refused in the end costs nothing."""
        share = self._shares.get(caller.role)
        if share is not None and caller.id in self._full_at:
            self._full_at[caller.id] -= cost * share.interval_s

    def _refusal(self, share: _Share, fills_in_s: float, wait_s: float, cost: int) -> Problem:
        what = "requests" if cost == 1 else "reservations"
        return Problem(
            "rate-limited",
            f"This key makes more {what} than its limit allows.",
            headers=share.headers(fills_in_s),
            retry_after_s=max(1, math.ceil(wait_s)),
        )
