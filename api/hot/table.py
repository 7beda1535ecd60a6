"""The list of hot operations. Adding one means one line here and one in openapi.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

from api.auth import Permission
from api.hot.availability import AvailabilityEndpoint
from api.hot.batch import BatchEndpoint
from api.hot.by_id import AmendEndpoint, ConfirmEndpoint, ReadEndpoint, ReleaseEndpoint
from api.hot.endpoints import Hot
from api.hot.limited import LimitedHot
from api.hot.reserve import ReserveEndpoint
from api.hot.traced import trace

if TYPE_CHECKING:
    from api.metrics import Metrics
    from api.rate_limiter import RateLimiter
    from api.services import Services


def make_hot(services: Services, metrics: Metrics, limiter: RateLimiter | None = None) -> Hot:
    """The hot path with every operation in its routing table; `limiter`: None where keys have no rate limit."""
    hot = Hot(services, metrics) if limiter is None else LimitedHot(services, metrics, limiter)
    reserving, looking = Permission.RESERVE, Permission.READ_RESERVATION
    hot.add("/inventory/reserve", b"POST", "reserve", reserving, ReserveEndpoint(hot))
    hot.add("/inventory/reserve/batch", b"POST", "batch", reserving, BatchEndpoint(hot))
    hot.add("by_id", b"GET", "read", looking, ReadEndpoint(hot))
    hot.add("by_id", b"PATCH", "amend", reserving, AmendEndpoint(hot))
    hot.add("by_id", b"DELETE", "release", reserving, ReleaseEndpoint(hot))
    hot.add("confirm", b"POST", "confirm", reserving, ConfirmEndpoint(hot))
    availability = AvailabilityEndpoint(hot)
    hot.add("/inventory/availability", b"GET", "availability", looking, availability)
    hot.add("availability", b"GET", "availability", looking, availability)
    hot.seal()
    if services.spans is not None:
        trace(hot, services.spans)
    return hot
