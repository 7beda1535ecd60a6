"""What a call may raise: one class for each problem code of the service, and what there is when no answer came.

Owns the tree and those that are no refusal; refusals.py has the 4xx, problems.py makes exceptions of documents. Never
decides whether something is tried again (retrying.py).

    HoldfastError
    ├── NoAnswer                     nothing can be said about what the service did, except:
    │   ├── NotConnected             the request never left; nothing was done
    │   └── AnswerLost               it was sent; it may have been carried out
    ├── UnreadableAnswer             something answered that is not Holdfast
    ├── WebhookRefused               a webhook message that is not to be believed (webhooks.py)
    └── Problem                      the service answered with a problem document: `code`, `status`, `detail`, `members`
        ├── Refused                  4xx: asking again the same way gets the same answer; nothing was changed
        │   ├── InvalidRequest       ValidationError, MalformedJson, InvalidIdempotencyKey, ...
        │   ├── Unknown              UnknownSku, UnknownReservation, UnknownOrder, ...
        │   ├── ReservationEnded     ReservationExpired, ReservationNotActive
        │   └── InsufficientStock, SelfApproval, StockMoved, ...
        ├── Unavailable              503: the same request may succeed later
        │   ├── OutcomeUnknown       it may have been carried out; repeating is safe
        │   ├── DurabilityUnknown    carried out, not yet known to be in the ledger; repeating is safe
        │   └── NotReady, Overloaded, JournalFull, ...
        └── InternalError            500: a mistake of the service
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from holdfast_client.steps import Answer

T = TypeVar("T")


class HoldfastError(Exception):
    """Root of the tree."""


class NoAnswer(HoldfastError):
    """No answer came in time. `attempts`: how often it was tried."""

    def __init__(self, message: str, attempts: int = 1) -> None:
        super().__init__(message)
        self.attempts = attempts


class NotConnected(NoAnswer):
    """No attempt reached the service: nothing was done."""


class AnswerLost(NoAnswer):
    """At least one attempt may have been carried out; nobody told. Asking again with the same key or id is safe."""


class UnreadableAnswer(HoldfastError):
    """What answered does not speak as Holdfast does: a proxy's page, or another service at this address."""

    def __init__(self, message: str, answer: Answer) -> None:
        super().__init__(message)
        self.status = answer.status
        self.body = answer.body


class _Document(Struct, frozen=True):
    code: str = ""
    title: str = ""
    detail: str = ""
    status: int = 0
    type: str = ""


class Problem(HoldfastError):
    """A problem document (RFC 9457). `members` is all of it, as the service sent it."""

    code: str = ""

    def __init__(self, members: dict[str, Any], headers: dict[str, str] | None = None) -> None:
        document = msgspec.convert(members, _Document)
        super().__init__(f"{document.code}: {document.detail or document.title}")
        headers = headers or {}
        self.code = document.code
        self.status = document.status
        self.title = document.title
        self.detail = document.detail
        self.type = document.type
        self.members = members
        self.request_id = headers.get("x-request-id")
        """For the service's log."""
        self.retry_after_s = _seconds(headers.get("retry-after"))
        """What the service asks to wait before another attempt; None when it did not say."""

    def member(self, name: str, kind: type[T]) -> T:
        """A member of the document as `kind`. Raises msgspec.ValidationError if it is none."""
        return msgspec.convert(self.members[name], kind)


class Refused(Problem):
    """4xx: the same request gets the same answer until something else changes. Nothing was changed."""


class Unavailable(Problem):
    """503: not now."""


class InternalError(Problem):
    """The service made a mistake; its log has more under `request_id`."""

    code = "internal-error"


class Overloaded(Unavailable):
    """Too many requests are waiting; nothing was done."""

    code = "overloaded"


class JournalFull(Unavailable):
    """The ledger is too far behind to take more; nothing was done. Confirm and release go on."""

    code = "journal-full"


class TooManyStreams(Unavailable):
    """As many event streams are open as may be."""

    code = "too-many-streams"


class StoreUnavailable(Unavailable):
    """The stock store cannot be used at present."""

    code = "store-unavailable"


class LedgerUnavailable(Unavailable):
    """The ledger cannot be reached at present."""

    code = "ledger-unavailable"


class NotReady(Unavailable):
    """The service is starting or recovering; nothing was done."""

    code = "not-ready"


class OutcomeUnknown(Unavailable):
    """It may have been carried out; repeating with the same key or id is safe."""

    code = "outcome-unknown"


class DurabilityUnknown(Unavailable):
    """Carried out, but not yet known to be as durable as was asked; repeating is safe."""

    code = "durability-unknown"


class ReservationStateUnknown(Unavailable):
    """The state of the reservation is being restored."""

    code = "reservation-state-unknown"


class ReconciliationUnknown(Unavailable):
    """Whether counters and ledger agree cannot be known at present."""

    code = "reconciliation-unknown"


class WebhookRefused(HoldfastError):
    """A message that must not be believed: not signed with the secret, or too old. Answer it with 400."""


def _seconds(text: str | None) -> float | None:
    """Retry-After in seconds; a date, which Holdfast never sends, is left to the back-off."""
    return float(text) if text is not None and text.isascii() and text.isdigit() else None
