"""How answers of the hot path become bytes: times, lines, reservations, shortages.

Owns the JSON of a reservation, for hot and cold routes alike. Never decides a status. Strings are put together by
hand because that costs a third of building and encoding a struct; what is neither digits nor a SKU, msgspec encodes.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

import msgspec

from engine.identity import make_id
from engine.results import Details, Record, Reservation, Shortage

encode = msgspec.json.encode
_details = msgspec.json.Decoder(Details).decode


_MAX_MOMENTS: Final = 10_000
_moments: dict[int, str] = {}


def timestamp(at_ms: int) -> str:
    """Unix milliseconds as RFC 3339 UTC with milliseconds.

    Texts are remembered: all answers of a batch share its moment, and most of them their deadline too.
    """
    text = _moments.get(at_ms)
    if text is None:
        if len(_moments) >= _MAX_MOMENTS:
            _moments.clear()
        second, ms = divmod(at_ms, 1000)
        text = f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(second))}.{ms:03d}Z"
        _moments[at_ms] = text
    return text


def json_text(text: str | None) -> str:
    """A JSON string, or null."""
    return "null" if text is None else encode(text).decode()


def lines_json(lines: str) -> str:
    """Line text (`A=2,B=1`) as the JSON array of the contract. A SKU holds nothing that JSON would escape."""
    if not lines:
        return "[]"
    inner = lines.replace(",", '},{"sku":"').replace("=", '","quantity":')
    return f'[{{"sku":"{inner}}}]'


def seconds_left(deadline_ms: int, now_ms: int) -> int:
    """Whole seconds until the deadline, rounded up, never below 0."""
    return max(0, -((now_ms - deadline_ms) // 1000))


def reservation_json(  # noqa: PLR0917
    reservation_id: str,
    status: str,
    customer_json: str,
    cart_json: str,
    order_json: str,
    lines: str,
    deadline_ms: int,
    left_s: int,
    created: str,
    updated: str,
) -> str:
    """The reservation object of the contract without its closing brace, so that a caller can add to it."""
    return (
        f'{{"id":"{reservation_id}","status":"{status}","customer_id":{customer_json},"cart_id":{cart_json},'
        f'"order_id":{order_json},"lines":{lines_json(lines)},"expires_at":"{timestamp(deadline_ms)}",'
        f'"expires_in_seconds":{left_s},"created_at":"{created}","updated_at":"{updated}"'
    )


def record_json(base: str, record: Record, now_ms: int) -> str:
    """A record of Redis as the reservation object."""
    details = _details(record.details)
    return (
        reservation_json(
            make_id(base, record.created_ms),
            record.status,
            json_text(details.customer_id),
            json_text(details.cart_id),
            json_text(record.order_id or None),
            record.lines,
            record.deadline_ms,
            seconds_left(record.deadline_ms, now_ms) if record.status == "ACTIVE" else 0,
            timestamp(record.created_ms),
            timestamp(record.updated_ms),
        )
        + "}"
    )


def stored_json(stored: Reservation, now_ms: int) -> str:
    """A reservation out of Postgres as the reservation object."""
    return (
        reservation_json(
            stored.id,
            stored.status,
            json_text(stored.customer_id),
            json_text(stored.cart_id),
            json_text(stored.order_id),
            ",".join(f"{sku}={quantity}" for sku, quantity in stored.lines),
            stored.deadline_ms,
            seconds_left(stored.deadline_ms, now_ms) if stored.status == "ACTIVE" else 0,
            timestamp(stored.created_ms),
            timestamp(stored.updated_ms),
        )
        + "}"
    )


def first_answer_json(base: str, record: Record) -> tuple[str, bool]:
    """What the reserve that made this record was answered, byte for byte, whatever has happened to it since.

    The second value tells whether it was granted in part (then the shortages stand in the text).
    """
    details = _details(record.details)
    granted = record.first_lines or record.lines
    created = timestamp(record.created_ms)
    text = reservation_json(
        make_id(base, record.created_ms),
        "ACTIVE",
        json_text(details.customer_id),
        json_text(details.cart_id),
        "null",
        granted,
        record.created_ms + details.ttl_ms,
        -(-details.ttl_ms // 1000),
        created,
        created,
    )
    if not details.requested:
        return text + "}", False
    return f'{text},"shortages":{partial_shortages_json(details.requested, granted)}}}', True


def partial_shortages_json(requested: str, granted: str) -> str:
    """What a partial grant left out: requested less granted.

    `available` is what was granted, and no release time is given: both must read the same on a replay, when the
    stock of that moment is long gone.
    """
    got = dict(line.split("=") for line in granted.split(",")) if granted else {}
    parts = []
    for line in requested.split(","):
        sku, wanted = line.split("=")
        available = got.get(sku, "0")
        if available != wanted:
            parts.append(f'{{"sku":"{sku}","requested":{wanted},"available":{available},"next_release_at":null}}')
    return "[" + ",".join(parts) + "]"


def shortage_documents(shortages: Sequence[Shortage]) -> list[dict[str, str | int | None]]:
    """Shortages as they stand in an `insufficient-stock` problem."""
    return [
        {
            "sku": short.sku,
            "requested": short.requested,
            "available": short.available,
            "next_release_at": timestamp(short.next_release_ms) if short.next_release_ms else None,
        }
        for short in shortages
    ]
