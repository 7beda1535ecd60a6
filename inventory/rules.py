"""Rules of the shop that one topic of the service goes by: plain values with their defaults.

Owns the values' meaning and units; settings give them (runtime/settings.py), the topics act on them.
"""

from __future__ import annotations

from datetime import UTC, time, tzinfo
from zoneinfo import ZoneInfo

from msgspec import Struct


class AlertRules(Struct, frozen=True, kw_only=True):
    """When a SKU is low, has recovered, and is told of again. Times in the unit of the name."""

    hysteresis_percent: int = 10
    """How far above its threshold, in percent of it, a SKU has recovered; at least one unit."""
    quiet_ms: int = 300_000
    """How long an alert that ended only because held units came back is the same one if it comes again; 0: never."""
    pace_window_s: int = 3600
    """How far back sales count for the estimate of when a SKU will have sold out."""


class DigestSettings(Struct, frozen=True, kw_only=True):
    """When the day's digest is made."""

    at: time = time(9, 0)
    """Local time of day in `time_zone`."""
    time_zone: str = "UTC"
    """Name from the IANA database; it also says when a day begins."""


class RetentionRules(Struct, frozen=True, kw_only=True):
    """How long records are kept. The ledger and the audit of admins are kept for ever."""

    reservations_s: int = 400 * 86_400
    """An ended reservation in Postgres; longer than any Idempotency-Key is remembered."""
    events_s: int = 7 * 86_400
    """The event log, and what was announced in it."""
    unfollowed_events_s: int = 30 * 86_400
    """Events that a follower has not taken: a follower that is gone for good must not keep them for ever."""
    job_runs: int = 200
    """Runs that are remembered of each background job."""


class WebhookRules(Struct, frozen=True, kw_only=True):
    """Where webhooks may lead, and how long one is tried. Times in the unit of the name."""

    allow_private: bool = False
    """They may use http and lead to loopback and private addresses."""
    retry_s: tuple[float, ...] = (5, 30, 120, 600, 3600, 21_600, 86_400)
    """Pauses between the attempts at one delivery; after the last it has failed."""
    disable_after_s: int = 3 * 86_400
    """A webhook that has taken nothing for this long is disabled."""
    log_s: int = 14 * 86_400
    """How long a delivery stays in the log, sent or not."""
    max_pending: int = 100_000
    """Deliveries that may wait for one webhook; past it the oldest are given up."""


def zone_of(name: str) -> tzinfo:
    """A time zone by its IANA name. Raises zoneinfo.ZoneInfoNotFoundError or ValueError."""
    return UTC if name == "UTC" else ZoneInfo(name)
