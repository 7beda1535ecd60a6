"""The hot path where keys have a rate limit. Where they have none, `Hot` itself runs and nothing of this is there.

Owns where a hot request is counted: once its key is known, before anything else is done for it.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from api.hot.endpoints import Hot
from api.problems import Problem

if TYPE_CHECKING:
    from api.auth import Caller
    from api.hot.exchange import Exchange, Headers
    from api.metrics import Metrics
    from api.rate_limiter import RateLimiter
    from api.services import Services


class LimitedHot(Hot):
    """`Hot` with a limiter in front."""

    def __init__(self, services: Services, metrics: Metrics, limiter: RateLimiter) -> None:
        super().__init__(services, metrics)
        self.limiter = limiter
        self.charge_items = self._charge_items

    def dispatch(self, exchange: Exchange) -> None:
        """As `Hot.dispatch`, for callers within their limit."""
        caller = self._known(exchange.authorization)
        if caller is None or self._let_in(exchange, caller):
            super().dispatch(exchange)

    async def _authenticate(self, exchange: Exchange) -> None:
        await self.services.keys.look_up(exchange.authorization)
        # Now it is known: in by the same door as every other request.
        self.dispatch(exchange)

    def _let_in(self, exchange: Exchange, caller: Caller) -> bool:
        try:
            exchange.rate_limit = self.limiter.take(caller)
        except Problem as refused:
            exchange.started = time.perf_counter()
            exchange.refuse(refused)
            return False
        if exchange.rate_limit:
            _tell_limit(exchange)
        return True

    def _charge_items(self, exchange: Exchange, items: int) -> None:
        """Count a batch as so many requests; one was counted when it came in. Raises Problem `rate-limited`."""
        if items > 1:
            self.limiter.give_back(exchange.caller, 1)
            exchange.rate_limit = ()  # a refusal brings its own
            exchange.rate_limit = self.limiter.take(exchange.caller, items)


def _tell_limit(exchange: Exchange) -> None:
    """Have the answer carry the RateLimit headers, whichever adapter sends it."""

    def send(status: int, body: bytes, headers: Headers) -> None:
        # Back to the adapter's own, so that the exchange does not hold itself alive.
        del exchange.__dict__["send"]
        exchange.send(status, body, headers + exchange.rate_limit)

    exchange.send = send  # type: ignore[method-assign]
