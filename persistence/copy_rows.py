"""Rows in the binary format of Postgres COPY, for the tables that the flusher fills in bulk.

Owns the byte layout (fields in the order of the COPY statements here); never talks to a server. Binary, since packing
a row costs Python less than escaping text and Postgres less than parsing it.
"""

from __future__ import annotations

from collections.abc import Iterable
from struct import Struct as Layout
from typing import Final

NULL: Final = b"\xff\xff\xff\xff"
_SIGNATURE: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_END: Final = b"\xff\xff"
_POSTGRES_EPOCH_MS: Final = 946_684_800_000

COPY_LEDGER: Final = (
    "COPY inventory_transactions (partition, epoch, seq, line, quantity, previous_stock, new_stock,"
    " created_at, sku, transaction_type, reference_type, reference_id, reservation_id, created_by, reason)"
    " FROM STDIN (FORMAT BINARY)"
)
COPY_RESERVATIONS: Final = (
    "COPY stock_reservations (partition, epoch, seq, created_at, updated_at, expires_at, ended_at, id, status,"
    " owner, customer_id, cart_id, order_id, fingerprint, lines) FROM STDIN (FORMAT BINARY)"
)
COPY_ARCHIVE: Final = (
    "COPY journal_archive (partition, epoch, last_seq, first_seq, at, stream_id, body) FROM STDIN (FORMAT BINARY)"
)
COPY_RESERVATION_SKUS: Final = "COPY reservation_skus (sku, created_at, reservation_id) FROM STDIN (FORMAT BINARY)"

_length = Layout("!i").pack
_time = Layout("!iq").pack
# Each number is its length and its value: partition, epoch, seq, line, quantity, previous, new, created_at.
_ledger_numbers = Layout("!hiiiiiqiiiqiqiqiq").pack
# partition, epoch, seq, created_at, updated_at, expires_at.
_reservation_numbers = Layout("!hiiiiiqiqiqiq").pack
# partition, epoch, last_seq, first_seq, at.
_archive_numbers = Layout("!hiiiiiqiqiq").pack
_sku_count = Layout("!h").pack(3)


def copy_stream(rows: Iterable[bytes]) -> bytes:
    """Everything one COPY statement wants to read."""
    return b"".join((_SIGNATURE, *rows, _END))


def postgres_time(unix_ms: int) -> int:
    """Unix milliseconds as Postgres counts: microseconds since 2000."""
    return (unix_ms - _POSTGRES_EPOCH_MS) * 1000


def text_field(text: str) -> bytes:
    """A text that is not NULL."""
    encoded = text.encode()
    return _length(len(encoded)) + encoded


def optional_text_field(text: str | None) -> bytes:
    """A text, or NULL for None."""
    return NULL if text is None else text_field(text)


def time_field(unix_ms: int | None) -> bytes:
    """A timestamp of Unix milliseconds, or NULL for None."""
    return NULL if unix_ms is None else _time(8, (unix_ms - _POSTGRES_EPOCH_MS) * 1000)


def ledger_row(  # noqa: PLR0917 - by name would cost a third more, a million times a minute
    partition: int,
    epoch: int,
    seq: int,
    line: int,
    quantity: int,
    previous_stock: int,
    new_stock: int,
    created_at: int,
    sku_field: bytes,
    other_fields: bytes,
) -> bytes:
    """A row of COPY_LEDGER; `created_at` from postgres_time, `other_fields`: transaction_type to reason."""
    return (
        _ledger_numbers(
            15, 4, partition, 4, epoch, 8, seq, 4, line, 8, quantity, 8, previous_stock, 8, new_stock, 8, created_at
        )
        + sku_field
        + other_fields
    )  # fmt: skip


def reservation_row(  # noqa: PLR0917
    partition: int,
    epoch: int,
    seq: int,
    created_at: int,
    updated_at: int,
    expires_at: int,
    other_fields: bytes,
) -> bytes:
    """A row of COPY_RESERVATIONS; times from postgres_time, `other_fields`: ended_at to lines."""
    return (
        _reservation_numbers(
            15, 4, partition, 4, epoch, 8, seq, 8, created_at, 8, updated_at, 8, expires_at
        )
        + other_fields
    )  # fmt: skip


def reservation_sku_row(sku_field: bytes, created_at: int, id_field: bytes) -> bytes:
    """A row of COPY_RESERVATION_SKUS; `created_at` from postgres_time."""
    return _sku_count + sku_field + _time(8, created_at) + id_field


def archive_row(  # noqa: PLR0917
    partition: int, epoch: int, last_seq: int, first_seq: int, at: int, stream_id: str, body: bytes
) -> bytes:
    """A row of COPY_ARCHIVE; `at` from postgres_time."""
    return b"".join(
        (
            _archive_numbers(7, 4, partition, 4, epoch, 8, last_seq, 8, first_seq, 8, at),
            text_field(stream_id),
            _length(len(body)),
            body,
        )
    )


def jsonb_field(json_text: str) -> bytes:
    """A jsonb of valid JSON text."""
    encoded = json_text.encode()
    return _length(len(encoded) + 1) + b"\x01" + encoded
