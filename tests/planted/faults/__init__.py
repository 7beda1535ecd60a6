"""The faults: what a careless engineer would write, each with the suites that must notice.

Owns the list; run.py plants them. A fault is kept current with the code: one whose old text is gone fails the run.
"""

from __future__ import annotations

from typing import Final

from tests.planted.faults import engine, ledger, machine, recovery, service
from tests.planted.faults.fault import Fault

FAULTS: Final = (
    *machine.FAULTS,
    *engine.FAULTS,
    *ledger.FAULTS,
    *service.FAULTS,
    *recovery.FAULTS,
)

__all__ = ["FAULTS", "Fault"]
