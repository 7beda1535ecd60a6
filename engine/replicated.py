"""Batches that are answered once enough replicas have them: the batcher of the durability level `replicated`.

Owns WAIT and what its answer means for the callers of a batch; everything else is the batcher's.
"""

from __future__ import annotations

import time
from typing import Any, Final

from msgspec import Struct

from engine.admission import Admission
from engine.batcher import Batcher, BatcherSettings, Waiting
from engine.errors import InvalidCommand, Unavailable, Unreplicated
from engine.keys import PartitionKeys
from engine.link import Address, Link, encode
from engine.results import Reply
from engine.scripts import Script
from engine.tallies import BatchTally

CHANNEL: Final = b"holdfast:written"
"""Nobody listens. What is published there is a write to WAIT, which else would not wait for what others have written:
an answer given again promises what another connection, or another process, has changed."""

_PROMISES: Final = frozenset({"ok", "replayed"})
"""Statuses that say something has changed; what was refused promises nothing and needs no replica."""


class ReplicationSettings(Struct, frozen=True):
    """How many replicas must have a batch before it is answered."""

    replicas: int
    """From 1."""
    timeout_ms: int
    """How long they are waited for; below half of batcher.REPLY_TIMEOUT_S."""


class _Flight:
    """One sending of a batch, and what the script answered, until the replicas have."""

    __slots__ = ("reply",)

    def __init__(self) -> None:
        self.reply: bytes | None = None


class ReplicatedBatcher(Batcher):
    """As Batcher, with links of its own, so that a missing replica holds up only those who asked for one."""

    def __init__(  # noqa: PLR0917
        self,
        address: Address,
        script: Script,
        keys: PartitionKeys,
        settings: BatcherSettings,
        admission: Admission,
        replication: ReplicationSettings,
        tally: BatchTally,
    ) -> None:
        """`admission` and `tally` are shared with the engine's other batcher."""
        super().__init__(address, script, keys, settings, admission)
        self.tally = tally
        self.unreplicated = 0
        """Commands that were applied, but not acknowledged by enough replicas in time."""
        self._replication = replication
        # One write for the three of them: the replicas are asked while the script's answer is still on its way to us.
        wait = encode([b"WAIT", b"%d" % replication.replicas, b"%d" % replication.timeout_ms])
        self._behind = encode([b"PUBLISH", CHANNEL, b""]) + wait
        self._missing: Unreplicated | None = None
        """Why what is answered just now promises nothing; None: enough replicas have it."""

    def _transmit(self, link: Link, waiting: list[Waiting], data: bytes) -> None:
        flight = _Flight()
        self._busy[link] = (time.monotonic(), waiting)
        link.send(
            data + self._behind,
            lambda reply: self._on_script(link, flight, reply, data),
            _ignore,
            lambda reply: self._on_replicas(link, flight, reply, data),
        )

    def _on_script(self, link: Link, flight: _Flight, reply: Any, data: bytes) -> None:
        if type(reply) is bytes:
            flight.reply = reply
        else:
            # Nothing was applied, or nobody can tell; what the replicas say then is about something else.
            self._on_reply(link, reply, data)

    def _on_replicas(self, link: Link, flight: _Flight, reply: Any, data: bytes) -> None:
        if flight.reply is None:
            return
        if isinstance(reply, ConnectionError):
            self._on_reply(link, reply, data)
            return
        wanted = self._replication
        if type(reply) is not int:
            # UNBLOCKED: the server was made a replica itself. NOPERM: this user may not wait.
            self._missing = Unreplicated(f"the replicas cannot be waited for: {reply}")
        elif reply < wanted.replicas:
            missing = f"{reply} of {wanted.replicas} replicas have it after {wanted.timeout_ms} ms"
            self._missing = Unreplicated(missing)
        try:
            self._on_reply(link, flight.reply, data)
        finally:
            self._missing = None

    def _answer(self, one: Waiting, reply: Reply | Unavailable | InvalidCommand) -> None:
        if self._missing is not None and type(reply) is Reply and reply.status in _PROMISES:
            self.unreplicated += 1
            reply = self._missing
        super()._answer(one, reply)


def _ignore(_: Any) -> None:
    """For the reply that nobody needs."""
