"""Which core runs what: the server under test alone on one, load generator and databases on the other.

Owns CPU affinity only; never starts a process.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_ALLOWED: Final = tuple(sorted(os.sched_getaffinity(0)))

SERVER: Final = _ALLOWED[0]
"""The core of the process whose cost is the question."""

LOAD: Final = _ALLOWED[1] if len(_ALLOWED) > 1 else _ALLOWED[0]
"""The core of everything that feeds it or that it calls: generator and Valkey."""

LEDGER: Final = _ALLOWED[2] if len(_ALLOWED) > 2 else LOAD
"""The core of the worker and of Postgres; the load's when there are but two."""


@contextmanager
def on_core(core: int) -> Iterator[None]:
    """Run the calling thread, and what it starts meanwhile, on `core`."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def require_two_cores() -> None:
    """Raise SystemExit on a machine with one core: server and load would measure each other."""
    if len(_ALLOWED) < 2:
        raise SystemExit("the benchmarks need two cores: one for the server, one for the load")
