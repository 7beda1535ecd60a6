"""Reservation ids, how they are derived from idempotency keys, and request fingerprints.

An id is 36 hex digits: `base` (24) + creation time in ms (12). The first 4 digits of the base are the *home*, 16
bits that choose a partition, so ids survive a change of the partition count. The base alone names the Redis key:
with an idempotency key it is derived from (caller, key), so a repeated request meets its own record. The creation
time is stamped by the script; it makes the id unique for ever, also when the same key is used again after its
window has passed.
"""

from __future__ import annotations

import os
import re
from hashlib import blake2b
from typing import Final

BASE_LENGTH: Final = 24
ID_LENGTH: Final = 36
_ID = re.compile(r"[0-9a-f]{36}\Z")


def random_base() -> str:
    """A fresh base: 96 random bits as 24 hex digits."""
    return os.urandom(12).hex()


def derived_base(purpose: str, caller: str, key: str) -> str:
    """The base that (`purpose`, `caller`, `key`) always gives, 24 hex digits.

    `purpose` keeps the verbs apart (a reserve and an adjustment may use the same key); `caller` keeps two API keys
    apart. The parts are length-prefixed, so no two triples give the same input.
    """
    text = f"{len(purpose)}:{len(caller)}:{purpose}{caller}{key}"
    return blake2b(text.encode(), digest_size=12).digest().hex()


def fingerprint(request: bytes) -> str:
    """16 hex digits that differ when two requests differ; never empty, since empty means "no idempotency key"."""
    return blake2b(request, digest_size=8).digest().hex()


def is_reservation_id(text: str) -> bool:
    """True if `text` has the form of a reservation id."""
    return _ID.match(text) is not None


def make_id(base: str, created_ms: int) -> str:
    """The id of what was created under `base` at `created_ms` (server clock)."""
    return f"{base}{created_ms:012x}"


def split_id(reservation_id: str) -> tuple[str, int]:
    """(base, created_ms) of an id that `is_reservation_id` accepts."""
    return reservation_id[:BASE_LENGTH], int(reservation_id[BASE_LENGTH:], 16)
