"""Why the service says no: one exception a reason, each with the code that the HTTP contract gives it.

Owns the reasons and what each one tells; never how an answer looks (api/problems.py).

    Refusal                    nothing was changed, unless the class says otherwise
    ├── InvalidRequest         the request breaks a rule of the contract
    ├── UnknownSku             ... names what is not in the catalogue
    ├── InsufficientStock      would take more than is on hand and not reserved
    ├── StockLimit             would put more on hand than a SKU can hold
    ├── KeyReused              the Idempotency-Key came with another request before
    ├── ReturnExceedsOrder     more would come back than the order sold and has not given back
    ├── UnknownApproval        no such request for approval
    ├── SelfApproval           nobody decides what they asked for
    ├── ApprovalDecided        decided before, in another way or by somebody else
    ├── ApprovalExpired        nobody decided in time
    ├── StockBusy              the SKU moves too fast for this change at present; repeating is safe
    ├── MalformedEvent         the event from outside is not readable as JSON
    ├── UnknownReservation     ... or not the caller's
    ├── ReservationExpired     ended by its deadline
    ├── ReservationNotActive   ended in another way
    ├── ReservationStateUnknown  nobody can tell until Redis is rebuilt; repeating is safe
    ├── UnknownOrder           no sale of it is known
    ├── OrderCancelled         was cancelled; nothing more can be sold to it
    ├── UnknownDeadLetter      no order event with this number was set aside
    ├── WebhookUrlRefused      the address is not one that webhooks may reach
    ├── UnknownWebhook         ... or deleted
    ├── UnknownDelivery        this webhook has no delivery with this number
    ├── WebhookDisabled        nothing is sent to it until it is enabled
    ├── WebhookLimit           there are as many webhooks as may be
    ├── UnsupportedFile        no CSV or XLSX, or one that does harm
    ├── TooManyRows            the file has more rows than may be
    ├── UnknownImport          ... or not the caller's
    ├── FileHasErrors          some rows of the file cannot be taken, so none is
    ├── PreviewExpired         nobody applied it in time
    ├── StockMoved             the stock is no longer what the preview saw
    ├── ImportNotReady         its file is still being read, or another step is under way
    ├── ImportNotApplied       there is nothing to revert
    ├── ImportEnded            it was reverted, or it failed; upload the file again
    ├── ReconciliationUnknown  nobody can tell at present whether the parts agree
    ├── NotRepairable          a difference that only a person can judge
    ├── UnknownEvent           the ledger has not come as far as this event
    ├── EventsGone             what follows this event is no longer kept
    ├── TooManyStreams         as many event streams are open as may be
    ├── UnknownAlert           no alert has this number
    └── LedgerLate             changed, but not yet known to be in the ledger; repeating is safe
"""

from __future__ import annotations

from typing import ClassVar

from msgspec import Struct

from engine.results import Reservation, Shortage
from persistence.queries.approvals import Approval
from persistence.queries.imports import MovedRow, RowError


class Refusal(Exception):
    """Root of the tree. `detail` is a sentence for the caller; empty: the title of the code says it all."""

    code: ClassVar[str] = "internal-error"

    def __init__(self, detail: str = "") -> None:
        super().__init__(detail or self.code)
        self.detail = detail


class InvalidRequest(Refusal):
    """One thing is wrong; `at` names it as a JSON path such as `$.quantity`."""

    code = "validation-error"

    def __init__(self, detail: str, at: str = "") -> None:
        super().__init__(detail)
        self.at = at


class UnknownSku(Refusal):
    """SKUs that are not in the catalogue."""

    code = "unknown-sku"

    def __init__(self, skus: tuple[str, ...]) -> None:
        super().__init__()
        self.skus = skus


class InsufficientStock(Refusal):
    """Every line that would take too much."""

    code = "insufficient-stock"

    def __init__(self, shortages: tuple[Shortage, ...]) -> None:
        super().__init__("More than is on hand and not reserved.")
        self.shortages = shortages


class StockLimit(Refusal):
    """More units than a SKU can hold."""

    code = "stock-limit"


class KeyReused(Refusal):
    """Same key, other request."""

    code = "idempotency-key-reused"


class ExcessItem(Struct, frozen=True):
    """A line of a return that asks too much, in units."""

    sku: str
    requested: int
    returnable: int


class ReturnExceedsOrder(Refusal):
    """Every line that would bring back more than is still with the customer."""

    code = "return-exceeds-order"

    def __init__(self, items: tuple[ExcessItem, ...]) -> None:
        super().__init__("More than the order sold and has not given back.")
        self.items = items


class UnknownApproval(Refusal):
    """There is no request for approval with this id."""

    code = "unknown-approval"


class SelfApproval(Refusal):
    """The key that asked may not decide."""

    code = "self-approval"


class ApprovalDecided(Refusal):
    """It stands as it was decided."""

    code = "approval-decided"

    def __init__(self, approval: Approval) -> None:
        super().__init__()
        self.approval = approval


class ApprovalExpired(ApprovalDecided):
    """Its time was over before anybody decided."""

    code = "approval-expired"


class StockBusy(Refusal):
    """What was read had changed again before it could be acted on, many times over."""

    code = "overloaded"


class MalformedEvent(Refusal):
    """Not JSON, or JSON that names a field twice."""

    code = "malformed-json"


class UnknownReservation(Refusal):
    """Never was, or is another caller's: the same words for both."""

    code = "unknown-reservation"


class _Ended(Refusal):
    """A reservation that has ended, as it stood at `now_ms` (server clock, Unix milliseconds)."""

    def __init__(self, reservation: Reservation, now_ms: int) -> None:
        super().__init__()
        self.reservation = reservation
        self.now_ms = now_ms


class ReservationExpired(_Ended):
    """Its deadline passed before it was confirmed."""

    code = "reservation-expired"


class ReservationNotActive(_Ended):
    """Released, or sold to another order."""

    code = "reservation-not-active"


class ReservationStateUnknown(Refusal):
    """The state of the reservation is being restored; nothing is known to have changed."""

    code = "reservation-state-unknown"


class UnknownOrder(Refusal):
    """The ledger has no sale of this order, or one that is not the caller's."""

    code = "unknown-order"


class OrderCancelled(Refusal):
    """The order was cancelled before: nothing more is sold to it."""

    code = "order-cancelled"


class UnknownDeadLetter(Refusal):
    """No order event was set aside under this number."""

    code = "unknown-dead-letter"


class WebhookUrlRefused(Refusal):
    """The address may not be called; the detail says why."""

    code = "webhook-url-refused"


class UnknownWebhook(Refusal):
    """There is no such webhook."""

    code = "unknown-webhook"


class UnknownDelivery(Refusal):
    """This webhook has no such delivery."""

    code = "unknown-delivery"


class WebhookDisabled(Refusal):
    """Nothing is sent to this webhook at present."""

    code = "webhook-disabled"


class WebhookLimit(Refusal):
    """One of the others has to go first."""

    code = "webhook-limit"


class UnsupportedFile(Refusal):
    """Not what its name says, nothing that can be read, or made to do harm; the detail says which."""

    code = "unsupported-file"


class TooManyRows(Refusal):
    """More rows than one import may have."""

    code = "too-many-rows"


class UnknownImport(Refusal):
    """Never was, or is another caller's: the same words for both."""

    code = "unknown-import"


class FileHasErrors(Refusal):
    """Some rows cannot be taken; nothing was changed for the others either."""

    code = "preview-has-errors"

    def __init__(self, errors: tuple[RowError, ...], count: int) -> None:
        super().__init__(f"{count} errors in the file." if count != 1 else "One error in the file.")
        self.errors = errors
        """The first of them, by row."""
        self.count = count


class PreviewExpired(Refusal):
    """It was not applied in time; upload the file again."""

    code = "preview-expired"


class StockMoved(Refusal):
    """on_hand of these rows is no longer what the preview saw."""

    code = "stock-moved"

    def __init__(self, rows: tuple[MovedRow, ...], detail: str = "") -> None:
        super().__init__(detail or "The stock has changed since the preview; force applies it all the same.")
        self.rows = rows


class ImportNotReady(Refusal):
    """Another step of this import is under way."""

    code = "import-not-ready"


class ImportNotApplied(Refusal):
    """This import has changed nothing that could be reverted."""

    code = "import-not-applied"


class ImportEnded(Refusal):
    """This import is over; its file has to be uploaded again."""

    code = "import-ended"


class UnknownAlert(Refusal):
    """No alert has this number."""

    code = "unknown-alert"


class UnknownEvent(Refusal):
    """No event has this id yet."""

    code = "unknown-event"


class EventsGone(Refusal):
    """Events behind the one named have been forgotten."""

    code = "events-gone"

    def __init__(self, oldest_id: str) -> None:
        super().__init__(
            f"What followed is no longer kept. Reading on from {oldest_id} gives the oldest event there is."
        )
        self.oldest_id = oldest_id


class TooManyStreams(Refusal):
    """This process serves as many readers of events as it may."""

    code = "too-many-streams"


class LedgerLate(Refusal):
    """The change has been made; whether it is in the ledger is not known yet."""

    code = "durability-unknown"


class ReconciliationUnknown(Refusal):
    """Whether counters, journal and ledger agree cannot be known at present; nothing was judged."""

    code = "reconciliation-unknown"


class NotRepairable(Refusal):
    """The state machine does not take the repair; nothing was changed."""

    code = "not-repairable"
