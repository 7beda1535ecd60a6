"""What the state machine gives. Statuses stand in precedence order: the first that applies wins."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Any, Literal

import msgspec
from msgspec import Struct

from engine.commands import Adjust, Announce, Availability, Command, Configure, Confirm, Repair, Reserve, parse_lines
from engine.events import event_lines
from engine.identity import make_id

ReservationStatus = Literal["ACTIVE", "COMPLETED", "CANCELLED", "EXPIRED"]


class Status(StrEnum):
    """Every answer a command can get, in precedence order over all verbs (each verb uses a part of it)."""

    MALFORMED = "malformed"
    KEY_REUSED = "key_reused"
    UNKNOWN_RESERVATION = "unknown_reservation"
    INCONSISTENT = "inconsistent"
    """The counters do not cover the hold that would have to end or change: they were damaged from outside."""
    EXPIRED = "expired"
    NOT_ACTIVE = "not_active"
    NOT_DUE = "not_due"
    REPLAYED = "replayed"
    UNKNOWN_SKU = "unknown_sku"
    PRODUCT_INACTIVE = "product_inactive"
    STOCK_MOVED = "stock_moved"
    """on_hand of a SKU is not what the command expected, or a drift was found in an epoch that has ended."""
    STOCK_LIMIT = "stock_limit"
    DUE_HOLDS = "due_holds"
    """Never reaches a caller: the engine ends the due holds and asks again."""
    INSUFFICIENT_STOCK = "insufficient_stock"
    CHANGE_TOO_LARGE = "change_too_large"
    """More units in all than the command may move."""
    OK = "ok"


class Details(
    Struct,
    frozen=True,
    omit_defaults=True,
    rename={"customer_id": "c", "cart_id": "b", "ttl_ms": "t", "requested": "q"},
):
    """What a reservation carries that Lua need not understand.

    Travels as JSON, with names of one letter: it is kept in memory for each live hold.
    """

    customer_id: str
    cart_id: str | None = None
    ttl_ms: int = 0
    """As first asked, so that a replay can give the first answer again."""
    requested: str = ""
    """Lines as first asked, when the reservation may be partial."""


class Record(Struct, frozen=True, array_like=True):
    """A reservation as Redis keeps it; fields in the order of `lua/lib/records.lua`."""

    status: ReservationStatus
    created_ms: int
    deadline_ms: int
    updated_ms: int
    owner: str
    fingerprint: str
    lines: str
    first_lines: str
    """Lines as first granted, kept once an amend changes them; empty while they are the same."""
    order_id: str
    details: str


class Reservation(Struct, frozen=True):
    """A reservation as callers see it."""

    id: str
    status: ReservationStatus
    owner: str
    customer_id: str
    cart_id: str | None
    order_id: str | None
    lines: tuple[tuple[str, int], ...]
    created_ms: int
    updated_ms: int
    deadline_ms: int


class Shortage(Struct, frozen=True, array_like=True):
    """One line that could not be held whole."""

    sku: str
    requested: int
    available: int
    next_release_ms: int
    """Deadline of the next hold on this SKU among the next few hundred deadlines; 0 if there is none."""


class StockLevel(Struct, frozen=True, array_like=True):
    """The counters of one SKU at one moment."""

    sku: str
    on_hand: int
    reserved: int
    safety_stock: int
    low_stock_threshold: int
    active: bool
    next_release_ms: int = 0

    @property
    def available(self) -> int:
        """Units that may still be held: on_hand - reserved - safety_stock, never below 0."""
        return max(0, self.on_hand - self.reserved - self.safety_stock)


class Movement(Struct, frozen=True, array_like=True):
    """One line of an applied adjustment."""

    sku: str
    quantity: int
    """Signed change of on_hand, in units."""
    on_hand: int
    reserved: int


class Reply(Struct, frozen=True):
    """The raw answer to one command, as cheap as it can be; `decode_reply` makes a Result of it."""

    status: str
    payload: tuple[Any, ...]
    """What follows the status; see the header of the verb's Lua file."""
    now_ms: int
    seq: int
    epoch: int = 0
    """Of the state that gave it; `seq` counts within it."""


class Result(Struct, frozen=True):
    """The answer to one command.

    `now_ms` is the server clock of the batch; `seq` the journal sequence number that holds this command's effect (or
    anything before it): once the ledger has passed `seq`, this answer is in Postgres.
    """

    status: str
    now_ms: int
    seq: int
    reservations: tuple[Reservation, ...] = ()
    shortages: tuple[Shortage, ...] = ()
    skus: tuple[str, ...] = ()
    levels: tuple[StockLevel, ...] = ()
    movements: tuple[Movement, ...] = ()
    adjustment_id: str = ""
    """Of an adjustment, a repair or an announcement."""
    first_seq: int = 0
    """Sequence number of an adjustment's, announcement's or configuration's own first event; 0 otherwise."""
    epoch: int = 0
    """In which `seq` counts."""
    first_epoch: int = 0
    """In which `first_seq` counts: an answer given again may be of an earlier one. 0 with first_seq 0."""
    units_moved: int = 0
    """Units that an adjustment refused as `change_too_large` would have moved."""
    created: bool = False
    """True if a configure made the SKU."""


_details = msgspec.json.Decoder(Details).decode


def reservation_of(base: str, record: Record) -> Reservation:
    """A stored record as callers see it."""
    details = _details(record.details)
    return Reservation(
        id=make_id(base, record.created_ms),
        status=record.status,
        owner=record.owner,
        customer_id=details.customer_id,
        cart_id=details.cart_id,
        order_id=record.order_id or None,
        lines=parse_lines(record.lines),
        created_ms=record.created_ms,
        updated_ms=record.updated_ms,
        deadline_ms=record.deadline_ms,
    )


def decode_record(raw: Any) -> Record:
    """A record as it stands in an answer. Raises msgspec.ValidationError for anything else."""
    return msgspec.convert(raw, Record)


def _reserved(command: Reserve, reply: Reply) -> Result:
    lines, shortages = reply.payload if reply.payload else (command.lines, ())
    record = Record(
        status="ACTIVE",
        created_ms=reply.now_ms,
        deadline_ms=reply.now_ms + command.ttl_ms,
        updated_ms=reply.now_ms,
        owner=command.owner,
        fingerprint=command.fingerprint,
        lines=lines,
        first_lines="",
        order_id="",
        details=command.details,
    )
    return Result(
        status=reply.status,
        now_ms=reply.now_ms,
        seq=reply.seq,
        epoch=reply.epoch,
        reservations=(reservation_of(command.base, record),),
        shortages=msgspec.convert(shortages, tuple[Shortage, ...]),
    )


def _with_records(bases: Sequence[str], raw_records: Sequence[Any], reply: Reply) -> Result:
    records = tuple(reservation_of(base, decode_record(raw)) for base, raw in zip(bases, raw_records, strict=True))
    return Result(status=reply.status, now_ms=reply.now_ms, seq=reply.seq, reservations=records, epoch=reply.epoch)


def _confirmed(command: Confirm, reply: Reply) -> Result:
    """Every record, or the one that stands in the way with its place among the reservations, from 1."""
    bases = [base for base, _ in command.reservations]
    if reply.status in {Status.EXPIRED, Status.NOT_ACTIVE}:
        record, place = reply.payload
        return _with_records([bases[place - 1]], [record], reply)
    return _with_records(bases, reply.payload, reply)


def decode_reply(command: Command, reply: Reply) -> Result:  # noqa: PLR0911  one return a verb reads best
    """The raw answer as a Result, with what belongs to the verb and status filled in."""
    status, payload = reply.status, reply.payload
    result = Result(status=status, now_ms=reply.now_ms, seq=reply.seq, epoch=reply.epoch)
    if status in {Status.UNKNOWN_SKU, Status.PRODUCT_INACTIVE, Status.STOCK_MOVED}:
        return msgspec.structs.replace(result, skus=tuple(payload[0]))
    if status == Status.INSUFFICIENT_STOCK:
        return msgspec.structs.replace(result, shortages=msgspec.convert(payload[0], tuple[Shortage, ...]))
    if status == Status.CHANGE_TOO_LARGE:
        return msgspec.structs.replace(result, units_moved=payload[0])
    if isinstance(command, Reserve) and status == Status.OK:
        return _reserved(command, reply)
    if not payload:
        return result
    if isinstance(command, Announce):
        announcement_id, seq, *earlier = payload
        first_epoch = earlier[0] if earlier else reply.epoch
        return msgspec.structs.replace(result, adjustment_id=announcement_id, first_seq=seq, first_epoch=first_epoch)
    if isinstance(command, Adjust | Repair):
        adjustment_id, seq, text, *earlier = payload
        movements = tuple(Movement(x.sku, x.quantity, x.on_hand, x.reserved) for x in event_lines(text))
        return msgspec.structs.replace(
            result,
            adjustment_id=adjustment_id,
            first_seq=seq,
            first_epoch=earlier[0] if earlier else reply.epoch,
            movements=movements,
        )
    if isinstance(command, Configure):
        return msgspec.structs.replace(result, created=payload[0], first_seq=payload[1], first_epoch=reply.epoch)
    if isinstance(command, Availability):
        return msgspec.structs.replace(result, levels=msgspec.convert(payload[0], tuple[StockLevel, ...]))
    if isinstance(command, Confirm):
        return _confirmed(command, reply)
    return _with_records([command.base], payload, reply)
