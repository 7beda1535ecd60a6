"""The states that one flush gives reservations: several events of one reservation fold into one row or one change.

Owns the folding; never looks at stock and never writes (ledger_writer.py does).
"""

from __future__ import annotations

from persistence.copy_rows import (
    NULL,
    jsonb_field,
    optional_text_field,
    postgres_time,
    reservation_row,
    reservation_sku_row,
    text_field,
    time_field,
)

HeldLines = tuple[tuple[str, int], ...]


class OpenedReservation:
    """A reservation that began in this flush. Mutable while the flush is put together."""

    __slots__ = (
        "cart_id",
        "created_ms",
        "customer_id",
        "deadline_ms",
        "ended_ms",
        "fingerprint",
        "id",
        "lines",
        "order_id",
        "owner",
        "seq",
        "status",
        "updated_ms",
    )

    def __init__(  # noqa: PLR0917 - by name would cost half more, a million times a minute
        self,
        reservation_id: str,
        seq: int,
        created_ms: int,
        deadline_ms: int,
        owner: str,
        customer_id: str,
        cart_id: str | None,
        fingerprint: str,
        lines: HeldLines,
    ) -> None:
        self.id = reservation_id
        self.seq = seq
        self.created_ms = created_ms
        self.updated_ms = created_ms
        self.deadline_ms = deadline_ms
        self.owner = owner
        self.customer_id = customer_id
        self.cart_id = cart_id
        self.fingerprint = fingerprint
        self.lines = lines
        self.status = "ACTIVE"
        self.order_id: str | None = None
        self.ended_ms: int | None = None

    def row(self, partition: int, epoch: int) -> bytes:
        """Its row of COPY_RESERVATIONS."""
        fields = (
            (NULL if self.ended_ms is None else time_field(self.ended_ms))
            + text_field(self.id)
            + text_field(self.status)
            + text_field(self.owner)
            + text_field(self.customer_id)
            + optional_text_field(self.cart_id)
            + optional_text_field(self.order_id)
            + text_field(self.fingerprint)
            + jsonb_field(lines_json(self.lines))
        )
        return reservation_row(
            partition,
            epoch,
            self.seq,
            postgres_time(self.created_ms),
            postgres_time(self.updated_ms),
            postgres_time(self.deadline_ms),
            fields,
        )

    def sku_rows(self) -> list[bytes]:
        """Its rows of COPY_RESERVATION_SKUS."""
        created_at, id_field = postgres_time(self.created_ms), text_field(self.id)
        return [reservation_sku_row(text_field(sku), created_at, id_field) for sku, _ in self.lines]


class AmendedReservation:
    """New lines and deadline for a row that is in Postgres already; the last amend of the flush."""

    __slots__ = ("deadline_ms", "dropped", "id", "lines", "seq", "updated_ms")

    def __init__(self, reservation_id: str) -> None:
        self.id = reservation_id
        self.dropped: set[str] = set()
        """SKUs let go by any amend of this flush."""
        self.lines: HeldLines = ()
        self.deadline_ms = 0
        self.seq = 0
        self.updated_ms = 0


class EndedReservation:
    """The end of a row that is in Postgres already."""

    __slots__ = ("id", "late", "order_id", "seq", "status", "updated_ms")

    def __init__(  # noqa: PLR0917
        self, reservation_id: str, seq: int, updated_ms: int, status: str, order_id: str | None, late: bool
    ) -> None:
        self.id = reservation_id
        self.seq = seq
        self.updated_ms = updated_ms
        self.status = status
        self.order_id = order_id
        self.late = late
        """A confirm that took the stock again: the row may be EXPIRED already."""


class ReservationChanges:
    """What one flush does to `stock_reservations` and `reservation_skus`."""

    def __init__(self) -> None:
        self.opened: dict[str, OpenedReservation] = {}
        self.amended: dict[str, AmendedReservation] = {}
        self.ended: dict[str, EndedReservation] = {}

    def amend(self, reservation_id: str, seq: int, at_ms: int, deadline_ms: int, now_held: HeldLines) -> None:
        """`now_held`: every SKU old and new with the units held now, 0 for one that was let go."""
        held = tuple(line for line in now_held if line[1])
        opened = self.opened.get(reservation_id)
        if opened is not None:
            opened.lines, opened.deadline_ms, opened.seq, opened.updated_ms = held, deadline_ms, seq, at_ms
            return
        change = self.amended.get(reservation_id)
        if change is None:
            change = self.amended[reservation_id] = AmendedReservation(reservation_id)
        change.dropped.update(sku for sku, units in now_held if not units)
        change.lines, change.deadline_ms, change.seq, change.updated_ms = held, deadline_ms, seq, at_ms

    def end(  # noqa: PLR0917
        self,
        reservation_id: str,
        seq: int,
        at_ms: int,
        status: str,
        order_id: str | None = None,
        late: bool = False,
    ) -> None:
        """The reservation is over: COMPLETED, CANCELLED or EXPIRED at `at_ms`."""
        opened = self.opened.get(reservation_id)
        if opened is None:
            self.ended[reservation_id] = EndedReservation(reservation_id, seq, at_ms, status, order_id, late)
        else:
            opened.status, opened.order_id = status, order_id
            opened.seq, opened.updated_ms, opened.ended_ms = seq, at_ms, at_ms


def lines_json(lines: HeldLines) -> str:
    """Lines as the column holds them. A SKU has no character that JSON escapes (engine/limits.py)."""
    return "[" + ", ".join(f'{{"sku": "{sku}", "quantity": {units}}}' for sku, units in lines) + "]"
