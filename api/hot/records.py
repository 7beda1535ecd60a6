"""Raw records in replies of the engine become structs here. Knows the form they travel in, nothing else."""

from __future__ import annotations

from typing import Any

from engine.results import Record


def record_of(raw: Any) -> Record:
    """A record as it stands in a reply: an array of ten that our own script packed, so it is not checked again."""
    return Record(*raw)
