"""What the service refuses: one class for each problem code of a 4xx answer, with what the document tells beside it.

Owns those classes; never when they are raised. The tree is drawn in errors.py.
"""

from __future__ import annotations

from msgspec import Struct

from holdfast_client.answers.bulk import MovedRow, RowError
from holdfast_client.answers.changes import Approval, ExcessItem
from holdfast_client.answers.shop import Reservation, Shortage
from holdfast_client.errors import Refused


class FieldError(Struct, frozen=True):
    """One thing that is wrong with a request."""

    at: str
    """A JSON path such as `$.quantity`, or a parameter's name."""
    message: str


class InvalidRequest(Refused):
    """The request breaks the contract: a mistake of the program that made it."""


class ValidationError(InvalidRequest):
    """A bound broken, an unknown field, a wrong type."""

    code = "validation-error"

    @property
    def errors(self) -> list[FieldError]:
        """Everything that is wrong."""
        return self.member("errors", list[FieldError])


class MalformedJson(InvalidRequest):
    """The body is not JSON."""

    code = "malformed-json"


class UnreadableRequest(InvalidRequest):
    """The request as a whole cannot be read."""

    code = "invalid-request"


class InvalidIdempotencyKey(InvalidRequest):
    """An idempotency key is 1 to 255 printable ASCII characters."""

    code = "invalid-idempotency-key"


class InvalidDurability(InvalidRequest):
    """The service has no such level."""

    code = "invalid-durability"


class InvalidCursor(InvalidRequest):
    """The cursor was not made by this service, or for another list."""

    code = "invalid-cursor"


class MethodNotAllowed(InvalidRequest):
    """This path does not take this method."""

    code = "method-not-allowed"


class PayloadTooLarge(InvalidRequest):
    """The body is too large."""

    code = "payload-too-large"


class HeadTooLarge(InvalidRequest):
    """The headers are too large."""

    code = "head-too-large"


class UnsupportedMediaType(InvalidRequest):
    """The body must be JSON."""

    code = "unsupported-media-type"


class RequestTimeout(Refused):
    """The request took too long to arrive; it was not looked at."""

    code = "request-timeout"


class RateLimited(Refused):
    """This key makes too many requests; nothing was done."""

    code = "rate-limited"


class Unauthenticated(Refused):
    """The key is missing, wrong or revoked."""

    code = "unauthenticated"


class Forbidden(Refused):
    """The role of the key does not allow this."""

    code = "forbidden"


class SelfApproval(Refused):
    """Nobody decides about a change that they asked for."""

    code = "self-approval"


class IdempotencyKeyReused(Refused):
    """The key came with another request before."""

    code = "idempotency-key-reused"


class InsufficientStock(Refused):
    """Less is free than was asked for."""

    code = "insufficient-stock"

    @property
    def shortages(self) -> list[Shortage]:
        """Every line that is short."""
        return self.member("shortages", list[Shortage])


class ProductInactive(Refused):
    """The product is not sold at present."""

    code = "product-inactive"

    @property
    def skus(self) -> list[str]:
        """Every such SKU of the request."""
        return self.member("skus", list[str])


class ReservationEnded(Refused):
    """The hold is over; `reservation` tells how."""

    @property
    def reservation(self) -> Reservation:
        """As it stands now."""
        return self.member("reservation", Reservation)


class ReservationExpired(ReservationEnded):
    """Its deadline has passed; its units are sellable again."""

    code = "reservation-expired"


class ReservationNotActive(ReservationEnded):
    """It was released, or sold (to another order)."""

    code = "reservation-not-active"


class OrderCancelled(Refused):
    """Nothing more can be sold to this order."""

    code = "order-cancelled"


class ReturnExceedsOrder(Refused):
    """More than the order sold and has not given back."""

    code = "return-exceeds-order"

    @property
    def items(self) -> list[ExcessItem]:
        """Every line that asks too much."""
        return self.member("items", list[ExcessItem])


class ApprovalDecided(Refused):
    """It was decided before, in another way or by somebody else."""

    code = "approval-decided"

    @property
    def approval(self) -> Approval:
        """As it was decided."""
        return self.member("approval", Approval)


class ApprovalExpired(ApprovalDecided):
    """Nobody decided in time."""

    code = "approval-expired"


class StockLimit(Refused):
    """A SKU cannot hold that many units."""

    code = "stock-limit"


class WebhookDisabled(Refused):
    """Nothing is sent until it is enabled."""

    code = "webhook-disabled"


class WebhookLimit(Refused):
    """There are as many webhooks as may be."""

    code = "webhook-limit"


class WebhookUrlRefused(Refused):
    """Webhooks may not reach this address; `detail` says why."""

    code = "webhook-url-refused"


class PreviewHasErrors(Refused):
    """Some rows of the file cannot be taken, so none is."""

    code = "preview-has-errors"

    @property
    def errors(self) -> list[RowError]:
        """The first of them; `members["error_count"]` counts them all."""
        return self.member("errors", list[RowError])


class StockMoved(Refused):
    """The stock has changed since the preview."""

    code = "stock-moved"

    @property
    def rows(self) -> list[MovedRow]:
        """Every row that this concerns."""
        return self.member("rows", list[MovedRow])


class ImportNotReady(Refused):
    """Another step of this import is under way."""

    code = "import-not-ready"


class ImportNotApplied(Refused):
    """There is nothing to revert."""

    code = "import-not-applied"


class ImportEnded(Refused):
    """This import is over; upload the file again."""

    code = "import-ended"


class PreviewExpired(Refused):
    """Nobody applied it in time; upload the file again."""

    code = "preview-expired"


class UnsupportedFile(Refused):
    """Not a CSV or XLSX file that can be read."""

    code = "unsupported-file"


class TooManyRows(Refused):
    """The file has too many rows."""

    code = "too-many-rows"


class EventsGone(Refused):
    """What followed this event is no longer kept: catch up from the levels, then go on from `oldest_id`."""

    code = "events-gone"

    @property
    def oldest_id(self) -> str:
        """Where the oldest event that is kept can be read from."""
        return self.member("oldest_id", str)


class Unknown(Refused):
    """There is no such thing, or not for this key."""


class NotFound(Unknown):
    """There is nothing at this path: is the address right?"""

    code = "not-found"


class UnknownSku(Unknown):
    """Not in the catalogue."""

    code = "unknown-sku"

    @property
    def skus(self) -> list[str]:
        """Every such SKU of the request."""
        return self.member("skus", list[str])


class UnknownReservation(Unknown):
    """Never was, or is another key's."""

    code = "unknown-reservation"


class UnknownOrder(Unknown):
    """No sale of it is known."""

    code = "unknown-order"


class UnknownDeadLetter(Unknown):
    """No such order event was set aside."""

    code = "unknown-dead-letter"


class UnknownWebhook(Unknown):
    """No such webhook."""

    code = "unknown-webhook"


class UnknownDelivery(Unknown):
    """This webhook has no such delivery."""

    code = "unknown-delivery"


class UnknownApproval(Unknown):
    """No such request for approval."""

    code = "unknown-approval"


class UnknownKey(Unknown):
    """No such API key."""

    code = "unknown-key"


class UnknownJob(Unknown):
    """No such background job."""

    code = "unknown-job"


class UnknownEvent(Unknown):
    """The ledger has not come as far as this event."""

    code = "unknown-event"


class UnknownAlert(Unknown):
    """No such alert."""

    code = "unknown-alert"


class UnknownImport(Unknown):
    """No such import, or another operator's."""

    code = "unknown-import"
