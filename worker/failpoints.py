"""The named steps of the flusher and of a recovery at which a test may stop, raise or kill the process.

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

RECOVERY_STEPS: Final = (
    "before_fence",
    "after_fence",
    "after_drain",
    "after_wipe",
    "after_holds",
    "after_levels",
    "after_load",
    "after_commit_epoch",
    "after_reopen",
)
"""In the order a rebuild passes them; one that wipes nothing leaves the middle ones out."""


def nothing(step: str) -> None:
    """The hook of production."""
