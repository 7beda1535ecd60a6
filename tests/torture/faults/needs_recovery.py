"""A Redis that has forgotten: empty, older than the ledger, or another server altogether.

Owns faults that lose what was acknowledged; which losses each level allows stands beside them.
"""

from __future__ import annotations

from importlib.util import find_spec

from tests.torture.faults.fault import Scene, fault
from tests.torture.world import World


def no_recovery(_world: World) -> str:
    return "" if find_spec("engine.admission") else "needs recovery"
