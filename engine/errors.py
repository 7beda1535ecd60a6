"""The exceptions of the engine.

HoldfastError
├── InvalidCommand            the caller's fault; nothing was sent
├── Rejected                  the state machine said no; nothing changed; `.result` has the status
└── Unavailable               no answer can be given now; `.retry_after_s` says when to ask again
    ├── Overloaded            too many commands are waiting; this one was not sent
    ├── Disconnected          there is no connection to Redis; this one was not sent
    ├── NotReady              the partition has no usable state (empty, fenced, other schema)
    ├── JournalFull           the ledger is far behind: nothing that makes the journal longer is taken
    ├── StoreRefused          Redis answered OOM, MISCONF, READONLY, BUSY, LOADING ...; nothing changed
    ├── OutcomeUnknown        the connection was lost after sending; safe to repeat with the same id
    └── Unreplicated          applied, but not known to enough replicas; safe to repeat with the same id
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from engine.results import Result


class HoldfastError(Exception):
    """Root of every error that the engine raises on purpose."""


class InvalidCommand(HoldfastError):
    """The command breaks a bound of engine/limits.py; it was not sent."""


class Rejected(HoldfastError):
    """The state machine refused the command. Nothing changed."""

    def __init__(self, result: Result) -> None:
        super().__init__(result.status)
        self.result = result


class Unavailable(HoldfastError):
    """No answer can be given now."""

    retry_after_s = 1


class Overloaded(Unavailable):
    """The queue of waiting commands is full; this command was not sent."""


class Disconnected(Unavailable):
    """There is no connection to Redis; the command was not sent."""


class NotReady(Unavailable):
    """The partition has no state that may be served: empty, fenced, or of another schema."""

    retry_after_s = 2


class JournalFull(Unavailable):
    """The journal has grown to its watermark because Postgres does not take it; the command was not sent.

    What ends holds still goes through.
    """

    retry_after_s = 5


class StoreRefused(Unavailable):
    """Redis refused the batch before its first write (OOM, MISCONF, READONLY, BUSY, LOADING ...)."""

    retry_after_s = 2


class OutcomeUnknown(Unavailable):
    """The connection was lost after the command was sent: it may or may not have been applied.

    Repeating it with the same id (or idempotency key) gives the one true answer.
    """


class Unreplicated(Unavailable):
    """The command was applied, but fewer replicas than asked for have said in time that they have it.

    A failover may undo it. Repeating it with the same id (or idempotency key) waits for the replicas again.
    """
