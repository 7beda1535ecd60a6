"""Changes of stock by people: receive, count, damage, returns, approvals, alerts; and the ledger that tells of them.

Owns these operations. Each change has an idempotency key, so that it is made once however often it is asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Literal, TypeVar

from holdfast_client.answers.changes import Alert, Approval, Pending, Return
from holdfast_client.answers.shop import Page, Reservation, ReservationStatus, Transaction, TransactionType
from holdfast_client.asking import Asking, Lines, as_, line_documents, new_key, page_of
from holdfast_client.driving import operation, streamed
from holdfast_client.paths import given
from holdfast_client.steps import Answer, Call, Steps, Stream

T = TypeVar("T")


class ChangeOperations(Asking):
    """Stock changes, approvals, alerts, the ledger."""

    @operation
    def adjust(
        self,
        sku: str,
        kind: Literal["receive", "remove", "count"],
        quantity: int,
        *,
        reason: str,
        reference: str | None = None,
        idempotency_key: str | None = None,
    ) -> Steps[Transaction | Approval]:
        """Receive or remove units, or set what was counted on the shelf. `reason`: 3 to 500 characters.

        Gives the ledger row, or the Approval that it waits for when it moves more than one person may. Raises
        InsufficientStock, UnknownSku, StockLimit.
        """
        body = given(sku=sku, kind=kind, quantity=quantity, reason=reason, reference=reference)
        headers = {"idempotency-key": new_key(idempotency_key)}
        call = Call("/inventory/adjust", "POST", _made(Transaction), headers=headers, body=body)
        return (yield from self._ask(call))

    @operation
    def damage(
        self, sku: str, quantity: int, *, reason: str, idempotency_key: str | None = None
    ) -> Steps[Transaction | Approval]:
        """Write off units that can no longer be sold. Gives and raises as `adjust` does."""
        body = {"sku": sku, "quantity": quantity, "reason": reason}
        headers = {"idempotency-key": new_key(idempotency_key)}
        call = Call("/inventory/damage", "POST", _made(Transaction), headers=headers, body=body)
        return (yield from self._ask(call))

    @operation
    def return_units(
        self, order_id: str, items: Lines, *, reason: str, idempotency_key: str | None = None
    ) -> Steps[Return | Approval]:
        """Take units back from an order, never more than it sold and has not given back (ReturnExceedsOrder)."""
        body = {"order_id": order_id, "items": line_documents(items), "reason": reason}
        headers = {"idempotency-key": new_key(idempotency_key)}
        return (yield from self._ask(Call("/inventory/return", "POST", _made(Return), headers=headers, body=body)))

    @streamed(Approval)
    def list_approvals(self, *, status: str | None = None, page_size: int | None = None) -> Stream:
        """Changes that wait or waited for a second person, newest first. `status`: PENDING, APPROVED, ..."""

        def page(cursor: str | None) -> Call[Page[Approval]]:
            query = {"status": status, "limit": page_size, "cursor": cursor}
            return Call("/inventory/approvals", "GET", page_of(Approval), query=query)

        yield from self._walk(page)

    @operation
    def get_approval(self, approval_id: str) -> Steps[Approval]:
        """One of them, with the ledger rows it made. Raises UnknownApproval."""
        return (yield from self._ask(Call("/inventory/approvals/{}", "GET", as_(Approval), (approval_id,))))

    @operation
    def approve(self, approval_id: str, *, reason: str | None = None) -> Steps[Approval]:
        """Let a change be made, against the stock of this moment.

        Raises SelfApproval, ApprovalDecided, ApprovalExpired, InsufficientStock.
        """
        return (yield from self._ask(_decision(approval_id, "approve", reason)))

    @operation
    def reject(self, approval_id: str, *, reason: str | None = None) -> Steps[Approval]:
        """Do not let a change be made. Raises SelfApproval, ApprovalDecided, ApprovalExpired."""
        return (yield from self._ask(_decision(approval_id, "reject", reason)))

    @streamed(Alert)
    def list_alerts(self, *, status: str | None = None, sku: str | None = None, page_size: int | None = None) -> Stream:
        """SKUs that are or were low or out of stock, newest first. `status`: PENDING, NOTIFIED or RESOLVED."""

        def page(cursor: str | None) -> Call[Page[Alert]]:
            query = {"status": status, "sku": sku, "limit": page_size, "cursor": cursor}
            return Call("/inventory/alerts", "GET", page_of(Alert), query=query)

        yield from self._walk(page)

    @operation
    def resolve_alert(self, alert_id: int) -> Steps[Alert]:
        """Say that somebody has dealt with it. Raises UnknownAlert."""
        return (yield from self._ask(Call("/inventory/alerts/{}/resolve", "POST", as_(Alert), (str(alert_id),))))

    @streamed(Transaction)
    def list_transactions(
        self,
        sku: str | None = None,
        *,
        type: TransactionType | None = None,
        reference_type: str | None = None,
        reference_id: str | None = None,
        created_by: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        page_size: int | None = None,
    ) -> Stream:
        """The ledger, newest first; of one SKU or of all. `since` and `until` must have a time zone."""
        route, names = ("/inventory/transactions", ()) if sku is None else ("/inventory/transactions/{}", (sku,))

        def page(cursor: str | None) -> Call[Page[Transaction]]:
            query = {
                "type": type,
                "reference_type": reference_type,
                "reference_id": reference_id,
                "created_by": created_by,
                "from": since,
                "to": until,
                "limit": page_size,
                "cursor": cursor,
            }
            return Call(route, "GET", page_of(Transaction), names, query=query)

        yield from self._walk(page)

    @streamed(Reservation)
    def list_reservations(
        self,
        *,
        status: ReservationStatus | None = None,
        customer_id: str | None = None,
        sku: str | None = None,
        order_id: str | None = None,
        page_size: int | None = None,
    ) -> Stream:
        """Reservations, newest first, as the ledger has them: a moment behind the counters."""

        def page(cursor: str | None) -> Call[Page[Reservation]]:
            query = {
                "status": status,
                "customer_id": customer_id,
                "sku": sku,
                "order_id": order_id,
                "limit": page_size,
                "cursor": cursor,
            }
            return Call("/inventory/reservations", "GET", page_of(Reservation), query=query)

        yield from self._walk(page)


def _decision(approval_id: str, verb: str, reason: str | None) -> Call[Approval]:
    body = given(reason=reason)
    return Call("/inventory/approvals/{}/" + verb, "POST", as_(Approval), (approval_id,), body=body)


def _made(kind: type[T]) -> Callable[[Answer], T | Approval]:
    """202 tells of an approval, 201 of what was made."""

    def read(answer: Answer) -> T | Approval:
        return as_(Pending)(answer).approval if answer.status == 202 else as_(kind)(answer)

    return read
