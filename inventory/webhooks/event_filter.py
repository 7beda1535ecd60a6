"""Which events a webhook asks for: exact types, `stock.*` for a family, `*` for all.

Owns the patterns; the types themselves stand in inventory/events/kinds.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from inventory.events.kinds import EVENT_TYPES
from inventory.refusals import InvalidRequest

TEST_EVENT: Final = "webhook.test"
"""Sent on request, whatever a webhook asks for."""


def checked_patterns(patterns: Sequence[str]) -> tuple[str, ...]:
    """The patterns, each once. Raises InvalidRequest for one that no event can match."""
    for number, pattern in enumerate(patterns):
        if not any(_fits(pattern, event_type) for event_type in EVENT_TYPES):
            raise InvalidRequest(
                f"no event is called that; there are {', '.join(sorted(EVENT_TYPES))}, families such as stock.*, and *",
                f"$.events[{number}]",
            )
    return tuple(dict.fromkeys(patterns))


@lru_cache(1_000)
def wants(patterns: tuple[str, ...], event_type: str) -> bool:
    """Whether these patterns ask for events of this type."""
    return any(_fits(pattern, event_type) for pattern in patterns)


def _fits(pattern: str, event_type: str) -> bool:
    if pattern.endswith("*"):
        family = pattern[:-1]
        return not family or (family.endswith(".") and event_type.startswith(family))
    return pattern == event_type
