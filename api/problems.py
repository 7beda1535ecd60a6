"""Every problem the API can answer (RFC 9457): one table, code -> status and title, and how its bytes are made.

Owns the mapping from engine statuses and exceptions to problem codes. Never decides that something is wrong.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec import Struct

from engine import errors
from persistence.database import DatabaseUnavailable

PROBLEM_JSON: Final = b"application/problem+json"
TYPE_PREFIX: Final = "urn:holdfast:problem:"


class Kind(Struct, frozen=True):
    """One kind of problem: what never changes about it."""

    code: str
    status: int
    title: str
    retry_after_s: int = 0
    """Seconds, sent as Retry-After; 0: none is sent."""


_KINDS: Final = (
    Kind("malformed-json", 400, "The body is not JSON, or names a field twice"),
    Kind("invalid-request", 400, "The request cannot be read"),
    Kind("invalid-idempotency-key", 400, "Idempotency-Key must be 1 to 255 printable ASCII characters"),
    Kind("invalid-durability", 400, "This service cannot give that Holdfast-Durability"),
    Kind("invalid-cursor", 400, "The cursor was not made by this service"),
    Kind("unauthenticated", 401, "A valid API key is needed"),
    Kind("forbidden", 403, "The role of this API key does not allow this"),
    Kind("unknown-import", 404, "No such import"),
    Kind("self-approval", 403, "Nobody decides about a change that they asked for"),
    Kind("not-found", 404, "There is nothing at this path"),
    Kind("unknown-sku", 404, "No such SKU"),
    Kind("unknown-reservation", 404, "No such reservation"),
    Kind("unknown-order", 404, "No such order"),
    Kind("unknown-dead-letter", 404, "No such order event was set aside"),
    Kind("unknown-webhook", 404, "No such webhook"),
    Kind("unknown-delivery", 404, "This webhook has no such delivery"),
    Kind("unknown-approval", 404, "No such request for approval"),
    Kind("unknown-key", 404, "No such API key"),
    Kind("unknown-job", 404, "No such background job"),
    Kind("unknown-event", 404, "No such event"),
    Kind("unknown-alert", 404, "No such alert"),
    Kind("method-not-allowed", 405, "This path does not take this method"),
    Kind("request-timeout", 408, "The request took too long to arrive"),
    Kind("insufficient-stock", 409, "Not enough stock"),
    Kind("product-inactive", 409, "The product is not sold at present"),
    Kind("reservation-not-active", 409, "The reservation has already ended"),
    Kind("order-cancelled", 409, "The order was cancelled; nothing more can be sold to it"),
    Kind("return-exceeds-order", 409, "More than the order sold and has not given back"),
    Kind("approval-decided", 409, "It was decided before, in another way or by somebody else"),
    Kind("stock-limit", 409, "A SKU cannot hold that many units"),
    Kind("webhook-disabled", 409, "The webhook is disabled"),
    Kind("webhook-limit", 409, "There are as many webhooks as may be"),
    Kind("approval-expired", 410, "Nobody decided in time"),
    Kind("reservation-expired", 410, "The reservation has expired"),
    Kind("preview-has-errors", 409, "Some rows of the file cannot be taken"),
    Kind("stock-moved", 409, "The stock has changed since the preview"),
    Kind("import-not-ready", 409, "Another step of this import is under way"),
    Kind("import-not-applied", 409, "This import was not applied"),
    Kind("import-ended", 409, "This import is over; upload the file again"),
    Kind("preview-expired", 410, "The preview has expired; upload the file again"),
    Kind("too-many-rows", 413, "The file has too many rows"),
    Kind("events-gone", 410, "What followed this event is no longer kept"),
    Kind("payload-too-large", 413, "The body is too large"),
    Kind("unsupported-media-type", 415, "The body must be application/json"),
    Kind("validation-error", 422, "The request breaks a rule of the contract"),
    Kind("unsupported-file", 422, "Not a CSV or XLSX file that can be read"),
    Kind("idempotency-key-reused", 422, "This Idempotency-Key came with another request before"),
    Kind("webhook-url-refused", 422, "Webhooks may not reach this address"),
    Kind("head-too-large", 431, "The headers are too large"),
    Kind("rate-limited", 429, "This API key makes too many requests", 1),
    Kind("internal-error", 500, "The service made a mistake"),
    Kind("overloaded", 503, "Too many requests are waiting", 1),
    Kind("journal-full", 503, "The ledger is too far behind to take this", 5),
    Kind("too-many-streams", 503, "As many event streams are open as may be", 5),
    Kind("store-unavailable", 503, "The stock store cannot be used at present", 2),
    Kind("not-ready", 503, "The service is not ready", 2),
    Kind("outcome-unknown", 503, "The outcome is not known; repeating the request is safe", 1),
    Kind("durability-unknown", 503, "Applied, but not known to be as safe as was asked; repeating is safe", 1),
    Kind("reservation-state-unknown", 503, "The state of the reservation is being restored", 2),
    Kind("reconciliation-unknown", 503, "Whether counters and ledger agree cannot be known at present", 5),
    Kind("ledger-unavailable", 503, "The ledger cannot be reached at present", 2),
)

KINDS: Final[dict[str, Kind]] = {kind.code: kind for kind in _KINDS}

OF_STATUS: Final[dict[str, str]] = {
    "malformed": "validation-error",
    "key_reused": "idempotency-key-reused",
    "unknown_reservation": "unknown-reservation",
    "expired": "reservation-expired",
    "not_active": "reservation-not-active",
    "unknown_sku": "unknown-sku",
    "product_inactive": "product-inactive",
    "insufficient_stock": "insufficient-stock",
    "stock_limit": "stock-limit",
    "inconsistent": "reservation-state-unknown",
}
"""Status of the state machine -> problem code."""

_OF_EXCEPTION: Final[tuple[tuple[type[Exception], str], ...]] = (
    (errors.Overloaded, "overloaded"),
    (errors.NotReady, "not-ready"),
    (errors.JournalFull, "journal-full"),
    (errors.StoreRefused, "store-unavailable"),
    (errors.Unreplicated, "durability-unknown"),
    (errors.OutcomeUnknown, "outcome-unknown"),
    (errors.Unavailable, "store-unavailable"),
    (DatabaseUnavailable, "ledger-unavailable"),
)


class Problem(Exception):
    """An answer that is not a success. Raised by cold routes, handed to `answer_problem` by hot ones."""

    def __init__(
        self,
        code: str,
        detail: str = "",
        extra: dict[str, Any] | None = None,
        *,
        headers: tuple[tuple[bytes, bytes], ...] = (),
        retry_after_s: int = 0,
    ) -> None:
        super().__init__(code)
        self.kind = KINDS[code]
        self.detail = detail or self.kind.title
        self.extra = extra
        self.own_headers = headers
        self.retry_after_s = retry_after_s or self.kind.retry_after_s

    def body(self) -> bytes:
        """The problem document as JSON."""
        return msgspec.json.encode(self.document())

    def document(self) -> dict[str, Any]:
        """The problem document, ready to be encoded (batch answers carry it inside)."""
        kind = self.kind
        document: dict[str, Any] = {
            "type": TYPE_PREFIX + kind.code,
            "title": kind.title,
            "status": kind.status,
            "detail": self.detail,
            "code": kind.code,
        }
        if self.extra:
            document.update(self.extra)
        return document

    def headers(self) -> tuple[tuple[bytes, bytes], ...]:
        """Headers beyond content type and length."""
        headers = self.own_headers
        if self.kind.status == 401:
            headers = (*headers, (b"www-authenticate", b'Bearer realm="holdfast"'))
        if self.retry_after_s:
            headers = (*headers, (b"retry-after", b"%d" % self.retry_after_s))
        return headers


def of_exception(error: Exception) -> Problem:
    """The problem for an exception: 503 when the engine or Postgres is away, `internal-error` for the unforeseen."""
    for kind, code in _OF_EXCEPTION:
        if isinstance(error, kind):
            retry_after_s = error.retry_after_s if isinstance(error, errors.Unavailable) else 0
            return Problem(code, retry_after_s=retry_after_s)
    if isinstance(error, errors.InvalidCommand):
        return invalid(str(error))
    return Problem("internal-error")


def invalid(message: str, at: str = "") -> Problem:
    """A `validation-error` about one thing; `at` is a JSON path such as `$.quantity`, or a parameter's name."""
    return Problem("validation-error", message, {"errors": [{"at": at, "message": message}]})
