"""Which life of a partition's state this process may serve: the epoch, and the server that was admitted with it.

Plain data that the batcher compares; whoever wires a process feeds it from Postgres (persistence/watermark.py). Never
decides who is admitted (worker/recovery.py) and talks to nobody.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

ANY_SERVER: Final = ""
"""For an engine on its own, without a ledger behind it: whatever server answers is served from."""


class Admission:
    """One process's knowledge of one partition. All from one event loop."""

    def __init__(self, epoch: int, run_id: str = ANY_SERVER) -> None:
        self._epoch = epoch
        self._run_id = run_id
        self._refusal = ""
        self._watchers: list[Callable[[], None]] = []
        self.journal_full = False
        """True while nothing may be added to the journal but what ends holds (inventory/back_pressure.py says so)."""

    @property
    def epoch(self) -> int:
        """Of the state that is, or was last, admitted."""
        return self._epoch

    @property
    def run_id(self) -> str:
        """Of the server that is admitted; ANY_SERVER: any."""
        return self._run_id

    @property
    def refusal(self) -> str:
        """Why nothing is admitted now; empty when something is."""
        return self._refusal

    def serves(self, run_id: str) -> bool:
        """True if commands may go to the server with this run id."""
        return not self._refusal and self._run_id in {ANY_SERVER, run_id}

    def admit(self, epoch: int, run_id: str) -> None:
        """From now on this epoch is served, from this server alone."""
        if (epoch, run_id, "") != (self._epoch, self._run_id, self._refusal):
            self._epoch, self._run_id, self._refusal = epoch, run_id, ""
            self._changed()

    def refuse(self, reason: str) -> None:
        """From now on nothing is served; `reason` is told to callers and must not be empty."""
        if reason != self._refusal:
            self._refusal = reason
            self._changed()

    def watch(self, on_change: Callable[[], None]) -> None:
        """`on_change` is called behind every change of what is admitted."""
        self._watchers.append(on_change)

    def _changed(self) -> None:
        for on_change in self._watchers:
            on_change()
