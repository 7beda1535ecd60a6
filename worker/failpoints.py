"""The named steps of the flusher at which a test may stop, raise or kill the process.

Owns the names; in production nothing is attached to them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

Hook = Callable[[str], None]
"""Called with a step's name each time the flusher passes it."""

STEPS: Final = (
    "after_read",
    "after_copy",
    "after_merge",
    "before_commit",
    "after_commit",
    "before_trim",
    "after_trim",
)
"""In the order a flush passes them."""


def nothing(step: str) -> None:
    """The hook of production."""
