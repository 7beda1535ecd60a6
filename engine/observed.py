"""A batcher that tells somebody of each batch, for traces. Where nobody listens, `Batcher` itself runs, at no cost.

Owns when an observer is called. An observer that fails is a bug, and takes its batch's callers along like any other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import hiredis

from engine.batcher import Batcher, OnReply, Waiting

if TYPE_CHECKING:
    from engine.admission import Admission
    from engine.batcher import BatcherSettings
    from engine.commands import Command
    from engine.keys import PartitionKeys
    from engine.link import Address, Link
    from engine.scripts import Script


class BatchObserver(Protocol):
    """Hears of commands and batches, all from the batcher's event loop."""

    def queued(self, command: Command) -> None:
        """A command waits for a batch. Called in the context of whoever submitted it."""

    def sent(self, commands: Sequence[Command]) -> object:
        """A batch goes out; what is returned comes back with its answer."""

    def answered(self, batch: object, error: str) -> None:
        """The answer is there, and no caller has it yet; `error` is empty when the script ran."""

    def delivered(self, batch: object) -> None:
        """Every caller has its answer."""


class ObservedBatcher(Batcher):
    """Give it its observer before `start`."""

    observer: BatchObserver

    def __init__(
        self,
        address: Address,
        script: Script,
        keys: PartitionKeys,
        settings: BatcherSettings,
        admission: Admission | None = None,
    ) -> None:
        super().__init__(address, script, keys, settings, admission)
        self._underway: dict[Link, object] = {}

    def submit(self, command: Command, on_reply: OnReply) -> None:
        """As Batcher.submit."""
        super().submit(command, on_reply)
        self.observer.queued(command)

    def _transmit(self, link: Link, waiting: list[Waiting], data: bytes) -> None:
        self._underway[link] = self.observer.sent([command for command, _ in waiting])
        super()._transmit(link, waiting, data)

    def _on_reply(self, link: Link, reply: Any, data: bytes) -> None:
        batch = self._underway.pop(link, None)
        if batch is None:
            # The second answer of a batch whose script had to be loaded first.
            super()._on_reply(link, reply, data)
            return
        self.observer.answered(batch, str(reply) if isinstance(reply, hiredis.ReplyError | ConnectionError) else "")
        super()._on_reply(link, reply, data)
        self.observer.delivered(batch)
