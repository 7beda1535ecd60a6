"""What passes between the runner and its workers. Never any behaviour."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Request:
    """One mutant to try."""

    name: str
    file: str
    text: str
    first: str = ""
    """The test that may well see it, because it saw one of this name before; any other test is tried behind it."""


@dataclass(frozen=True)
class Outcome:
    """What became of it."""

    name: str
    kind: Literal["killed", "survived", "does not load", "broken"]
    by: str
    """The test that failed, or what else there is to say."""
