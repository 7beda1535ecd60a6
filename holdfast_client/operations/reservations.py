"""Holding stock and selling it: reserve, amend, confirm, release, availability, orders.

Owns these operations; what makes a hold a `with` block stands in holds.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from typing import Any, Literal

from msgspec import Struct

from holdfast_client.answers.shop import Availability, DeadLetter, Order, Page, Reservation
from holdfast_client.asking import Asking, Lines, as_, line_documents, new_key, page_of
from holdfast_client.driving import operation, streamed
from holdfast_client.errors import HoldfastError, NotConnected, OutcomeUnknown, Problem
from holdfast_client.paths import given
from holdfast_client.problems import problem_of
from holdfast_client.steps import Answer, Call, Pause, Steps, Stream

Durability = Literal["journal", "fsync", "replicated", "ledger"]
"""What a confirm must have survived before it is answered; see the service's page on durability."""


class ReserveRequest(Struct, frozen=True, kw_only=True):
    """One reservation of a batch. `idempotency_key`: None: one is made."""

    customer_id: str
    lines: Lines
    cart_id: str | None = None
    ttl_s: int | None = None
    allow_partial: bool = False
    idempotency_key: str | None = None


class BatchResult(Struct, frozen=True):
    """What came of one reservation of a batch: `reservation`, or the `problem` that stood in its way."""

    status: int
    reservation: Reservation | None = None
    problem: Problem | None = None
    replayed: bool = False


class _Result(Struct, frozen=True):
    status: int
    reservation: Reservation | None = None
    problem: dict[str, Any] | None = None
    replayed: bool = False


class _Batch(Struct, frozen=True):
    results: list[_Result]


def reserve_call(  # noqa: PLR0917
    what: str | Lines,
    quantity: int,
    customer_id: str,
    cart_id: str | None,
    ttl_s: int | None,
    allow_partial: bool,
    idempotency_key: str | None,
) -> Call[Reservation]:
    """`what`: a SKU (of which `quantity` units are held), or lines."""
    lines = {what: quantity} if isinstance(what, str) else what
    body = given(
        customer_id=customer_id,
        lines=line_documents(lines),
        cart_id=cart_id,
        ttl_seconds=ttl_s,
        allow_partial=allow_partial or None,
    )
    headers = {"idempotency-key": new_key(idempotency_key)}
    return Call("/inventory/reserve", "POST", as_(Reservation), headers=headers, body=body)


def amend_call(reservation_id: str, lines: Lines | None, ttl_s: int | None) -> Call[Reservation]:
    """New lines, new time, or both."""
    body = given(lines=None if lines is None else line_documents(lines), ttl_seconds=ttl_s)
    return Call("/inventory/reserve/{}", "PATCH", as_(Reservation), (reservation_id,), body=body)


def confirm_call(reservation_id: str, order_id: str | None, durability: Durability | None) -> Call[Reservation]:
    """The hold becomes a sale."""
    return Call(
        "/inventory/reserve/{}/confirm",
        "POST",
        as_(Reservation),
        (reservation_id,),
        headers={"holdfast-durability": durability},
        body=given(order_id=order_id),
    )


def release_call(reservation_id: str) -> Call[Reservation]:
    """The hold is given back."""
    return Call("/inventory/reserve/{}", "DELETE", as_(Reservation), (reservation_id,))


class ReservationOperations(Asking):
    """Reservations, availability, orders."""

    @operation
    def reserve(
        self,
        what: str | Lines,
        quantity: int = 1,
        *,
        customer_id: str,
        cart_id: str | None = None,
        ttl_s: int | None = None,
        allow_partial: bool = False,
        idempotency_key: str | None = None,
    ) -> Steps[Reservation]:
        """Hold `quantity` units of the SKU `what`, or the lines `what`: all of them or none.

        `ttl_s`: 1 to 86,400 seconds (default 1,800). `allow_partial`: as much as there is; the rest stands under
        `shortages`. Raises InsufficientStock, UnknownSku, ProductInactive.
        """
        call = reserve_call(what, quantity, customer_id, cart_id, ttl_s, allow_partial, idempotency_key)
        return (yield from self._ask(call))

    @operation
    def reserve_batch(self, requests: Sequence[ReserveRequest]) -> Steps[list[BatchResult]]:
        """Up to 1,000 reservations, independent of each other. Results stand in the order of the requests.

        What could not be held is not raised but stands as `problem` in its place. Those that the service could not
        answer for (503) are asked for again, they alone and under their keys, until the deadline of a call is over.
        Once anything was answered nothing is raised any more: what nobody knows of then is an OutcomeUnknown.
        """
        documents = [
            given(
                customer_id=request.customer_id,
                lines=line_documents(request.lines),
                cart_id=request.cart_id,
                ttl_seconds=request.ttl_s,
                allow_partial=request.allow_partial or None,
                idempotency_key=new_key(request.idempotency_key),
            )
            for request in requests
        ]
        results: dict[int, BatchResult] = {}
        pending = list(range(len(documents)))
        retries = self._manner.retries
        deadline = self._manner.clock() + retries.deadline_s
        for failures in count():
            body = {"reservations": [documents[index] for index in pending]}
            try:
                answered = yield from self._ask(Call("/inventory/reserve/batch", "POST", _results, body=body))
            except HoldfastError as error:
                if not results:
                    raise
                # What is held already must be told, or nobody would ever confirm it or give it back.
                if not isinstance(error, NotConnected):
                    results.update(dict.fromkeys(pending, _unknown(error)))
                break
            results.update(zip(pending, answered, strict=True))
            pending = [index for index in pending if results[index].status == 503]
            pause_s = retries.pause_s(failures, None, self._manner.dice)
            if not pending or self._manner.clock() + pause_s >= deadline:
                break
            yield Pause(pause_s)
        return [results[index] for index in range(len(documents))]

    @operation
    def get_reservation(self, reservation_id: str) -> Steps[Reservation]:
        """A reservation, also one that ended long ago. Raises UnknownReservation."""
        return (yield from self._ask(Call("/inventory/reserve/{}", "GET", as_(Reservation), (reservation_id,))))

    @operation
    def amend(self, reservation_id: str, lines: Lines | None = None, *, ttl_s: int | None = None) -> Steps[Reservation]:
        """Give a hold a whole new set of lines, `ttl_s` seconds from now, or both.

        Raises InsufficientStock (the hold stays as it was), ReservationExpired, ReservationNotActive.
        """
        return (yield from self._ask(amend_call(reservation_id, lines, ttl_s)))

    @operation
    def confirm(
        self, reservation_id: str, order_id: str | None = None, *, durability: Durability | None = None
    ) -> Steps[Reservation]:
        """Turn a hold into a sale. Again with the same order: the same answer.

        `durability`: what the answer waits for; None: the service's setting. Raises ReservationExpired,
        ReservationNotActive.
        """
        return (yield from self._ask(confirm_call(reservation_id, order_id, durability)))

    @operation
    def release(self, reservation_id: str) -> Steps[Reservation]:
        """Give a hold back. Again: the same answer. Raises ReservationExpired, ReservationNotActive."""
        return (yield from self._ask(release_call(reservation_id)))

    @operation
    def availability(self, sku: str, quantity: int | None = None) -> Steps[Availability]:
        """Whether `quantity` units (default 1) could be held now. Raises UnknownSku."""
        call = Call("/inventory/availability/{}", "GET", as_(Availability), (sku,), query={"quantity": quantity})
        return (yield from self._ask(call))

    @operation
    def availability_of(self, skus: Sequence[str], quantity: int | None = None) -> Steps[list[Availability]]:
        """The same for 1 to 200 SKUs, in their order."""
        query = {"sku": list(skus), "quantity": quantity}
        page = yield from self._ask(Call("/inventory/availability", "GET", page_of(Availability), query=query))
        return page.items

    @operation
    def order_created(self, order_id: str, reservation_ids: Sequence[str]) -> Steps[Order]:
        """Confirm all of these holds for an order, or none. Idempotent by the order.

        Raises ReservationExpired, ReservationNotActive, UnknownReservation, OrderCancelled.
        """
        body = {"type": "order.created", "order_id": order_id, "reservation_ids": list(reservation_ids)}
        return (yield from self._ask(Call("/inventory/orders", "POST", as_(Order), body=body)))

    @operation
    def order_cancelled(self, order_id: str, reason: str | None = None) -> Steps[Order]:
        """Put back what an order took and has not given back yet. Idempotent. Raises UnknownOrder."""
        body = given(type="order.cancelled", order_id=order_id, reason=reason)
        return (yield from self._ask(Call("/inventory/orders", "POST", as_(Order), body=body)))

    @streamed(DeadLetter)
    def list_dead_letters(self, *, status: str | None = None, page_size: int | None = None) -> Stream:
        """Order events of the stream that could not be applied, newest first. `status`: PENDING or RESOLVED."""

        def page(cursor: str | None) -> Call[Page[DeadLetter]]:
            query = {"status": status, "limit": page_size, "cursor": cursor}
            return Call("/inventory/orders/dead-letters", "GET", page_of(DeadLetter), query=query)

        yield from self._walk(page)

    @operation
    def retry_dead_letter(self, dead_letter_id: int) -> Steps[Order]:
        """Apply an order event that was set aside. Raises UnknownDeadLetter, and whatever stood in its way."""
        names = (str(dead_letter_id),)
        return (yield from self._ask(Call("/inventory/orders/dead-letters/{}/retry", "POST", as_(Order), names)))


def _unknown(error: HoldfastError) -> BatchResult:
    """What stands in the place of a reservation that was asked for again and not answered."""
    members = {"code": OutcomeUnknown.code, "status": 503, "title": "Nobody knows", "detail": str(error)}
    return BatchResult(503, problem=problem_of(members))


def _results(answer: Answer) -> list[BatchResult]:
    return [
        BatchResult(
            result.status,
            result.reservation,
            None if result.problem is None else problem_of(result.problem),
            result.replayed,
        )
        for result in as_(_Batch)(answer).results
    ]
