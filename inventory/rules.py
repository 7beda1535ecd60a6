"""Rules of the shop that one topic of the service goes by: plain values with their defaults.

Owns the values' meaning and units; settings give them (runtime/settings.py), the topics act on them.
"""

from __future__ import annotations

from datetime import time

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
