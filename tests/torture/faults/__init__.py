"""Every fault there is. Importing this package fills the list."""

from __future__ import annotations

from tests.torture.faults import clock, connections, lost_data, processes, redis_server, stored_data
from tests.torture.faults.fault import ALL, Fault, Scene

__all__ = [
    "ALL",
    "Fault",
    "Scene",
    "clock",
    "connections",
    "lost_data",
    "processes",
    "redis_server",
    "stored_data",
]
