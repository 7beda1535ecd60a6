"""Bodies of the hot path: their structs, how bytes become them, and how they become engine commands.

Owns every check that a body must pass. Never talks to the engine. The structs also make the OpenAPI schemas.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Final, TypeVar

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from api.problems import Problem, invalid
from engine import limits
from engine.commands import lines_text
from engine.errors import InvalidCommand
from inventory.strict_json import NotStrict, check_strict

T = TypeVar("T")

Sku = Annotated[
    str,
    Meta(
        description="1-64 characters of `A-Z a-z 0-9 . _ : -` and inner single spaces",
        extra_json_schema={
            "pattern": limits.SKU_PATTERN.replace(r"\Z", "$"),
            "maxLength": limits.MAX_SKU,
            "minLength": 1,
            "examples": ["MUG-RED"],
        },
    ),
]
Quantity = Annotated[int, Meta(ge=1, le=limits.MAX_QUANTITY, description="units", examples=[2])]
Text = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=limits.MAX_TEXT,
        description="1-255 characters, no control characters",
        extra_json_schema={"pattern": "^[^\\u0000-\\u001f\\u007f-\\u009f]+$", "examples": ["c-1042"]},
    ),
]
TtlSeconds = Annotated[int, Meta(ge=1, le=86_400, description="seconds", examples=[900])]
Lines = Annotated[list["LineBody"], Meta(min_length=1, max_length=limits.MAX_LINES)]

DEFAULT_TTL_SECONDS: Final = 1800


class LineBody(Struct, frozen=True, forbid_unknown_fields=True):
    """One SKU and how many units of it."""

    sku: Sku
    quantity: Quantity


class ReserveBody(Struct, frozen=True, forbid_unknown_fields=True):
    """Hold stock for a customer: either `sku` and `quantity`, or `lines`."""

    customer_id: Text
    sku: Sku | UnsetType = UNSET
    quantity: Quantity | UnsetType = UNSET
    lines: Lines | UnsetType = UNSET
    cart_id: Text | UnsetType | None = UNSET
    ttl_seconds: TtlSeconds | UnsetType = UNSET
    allow_partial: bool | UnsetType = UNSET


class BatchItemBody(ReserveBody, frozen=True, forbid_unknown_fields=True):
    """One reservation of a batch, with its own idempotency key."""

    idempotency_key: Annotated[str, Meta(description="1-255 printable ASCII characters")] | UnsetType = UNSET


class BatchBody(Struct, frozen=True, forbid_unknown_fields=True):
    """Up to 1,000 independent reservations."""

    reservations: Annotated[list[msgspec.Raw], Meta(max_length=1000)]


class AmendBody(Struct, frozen=True, forbid_unknown_fields=True):
    """The whole new set of lines and/or a new time to live, counted from now."""

    lines: Lines | UnsetType = UNSET
    ttl_seconds: TtlSeconds | UnsetType = UNSET


class ConfirmBody(Struct, frozen=True, forbid_unknown_fields=True):
    """The order that the reservation became, if it is known."""

    order_id: Text | UnsetType | None = UNSET


_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_AT = re.compile(r"^(?P<message>.*?) - at `(?P<at>[^`]*)`$", re.DOTALL)
_skus: set[str] = set()
_MAX_REMEMBERED_SKUS: Final = 100_000


def is_good_sku(text: str) -> bool:
    """`limits.is_sku`, remembering what it accepted: shops sell the same SKUs all day."""
    if text in _skus:
        return True
    if not limits.is_sku(text):
        return False
    if len(_skus) >= _MAX_REMEMBERED_SKUS:
        _skus.clear()
    _skus.add(text)
    return True


def check_sku(text: str, at: str) -> str:
    """The SKU itself; raises `validation-error` if it is none."""
    if not is_good_sku(text):
        raise invalid(f"not a SKU: {text[:80]!r}", at)
    return text


def check_text(text: str, at: str) -> None:
    """Raise `validation-error` for control characters and lone surrogates, which Postgres or JSON cannot keep."""
    # isprintable is one C call and true for nearly every id; it is also false for some characters that are fine.
    if not text.isprintable() and _CONTROL.search(text):
        raise invalid("control characters and lone surrogates are not allowed", at)


def check_media_type(content_type: bytes) -> None:
    """Raise `unsupported-media-type` unless the body is said to be JSON (or `+json`)."""
    if content_type == b"application/json":
        return
    media = content_type.partition(b";")[0].strip().lower()
    if media != b"application/json" and not (media.startswith(b"application/") and media.endswith(b"+json")):
        raise Problem("unsupported-media-type")


def decode_body(decode: Callable[[bytes], T], body: bytes) -> T:
    """Decode a body whose fields are all of a kind that cannot repeat unnoticed; see `check_no_duplicates`."""
    try:
        return decode(body)
    except (ValueError, RecursionError) as error:
        raise _unreadable(body, error) from None


def check_no_duplicates(body: bytes, keys: int) -> None:
    """Raise `malformed-json` if an object of the body names a field twice.

    `keys` is how many fields the decoded structs have set. Each key in the text is followed by a colon, so as many
    colons as fields leaves no room for a second mention, and nothing more needs to be looked at.
    """
    if body.count(b":") != keys:
        _parse_strictly(body)


def _parse_strictly(body: bytes) -> None:
    """Raise `malformed-json` unless the body is one well-formed JSON text without duplicate keys."""
    try:
        check_strict(body)
    except NotStrict as error:
        raise Problem("malformed-json", str(error)) from None


def _unreadable(body: bytes, error: Exception) -> Problem:
    """Which problem a body has that msgspec would not take."""
    try:
        _parse_strictly(body)
    except Problem as problem:
        return problem
    message = str(error)[:300]
    if not isinstance(error, msgspec.ValidationError):
        # Well-formed for a lenient parser, yet not for us: NaN, Infinity, a lone surrogate, a raw control character.
        return invalid("a value is not valid JSON (NaN, Infinity, lone surrogate or control character)", "$")
    match = _AT.match(message)
    return invalid(match["message"], match["at"]) if match else invalid(message, "$")


def reserve_lines(body: ReserveBody) -> str:
    """The lines of a reserve as they travel. Raises `validation-error`."""
    sku, quantity, lines = body.sku, body.quantity, body.lines
    if lines is UNSET:
        if sku is UNSET or quantity is UNSET:
            raise invalid("give either `sku` and `quantity`, or `lines`", "$")
        if sku not in _skus:
            check_sku(sku, "$.sku")
        return f"{sku}={quantity}"
    if sku is not UNSET or quantity is not UNSET:
        raise invalid("give either `sku` and `quantity`, or `lines`, not both", "$")
    return join_lines(lines, "$.lines")


def join_lines(lines: list[LineBody], at: str) -> str:
    """Lines as they travel, a SKU named twice summed. Raises `validation-error`."""
    try:
        return lines_text((line.sku, line.quantity) for line in lines)
    except InvalidCommand as error:
        raise invalid(str(error), at) from None


def reserve_keys(body: ReserveBody) -> int:
    """How many fields are set in a reserve body, its lines included."""
    keys = 3 if body.lines is UNSET else 2 + 2 * len(body.lines)
    if body.cart_id is not UNSET:
        keys += 1
    if body.ttl_seconds is not UNSET:
        keys += 1
    if body.allow_partial is not UNSET:
        keys += 1
    return keys


def check_idempotency_key(key: bytes) -> str:
    """The key as text. Raises `invalid-idempotency-key` unless it is 1-255 printable ASCII characters."""
    if 0 < len(key) <= 255 and key.isascii():
        text = key.decode()
        if text.isprintable():
            return text
    raise Problem("invalid-idempotency-key")


decode_reserve = msgspec.json.Decoder(ReserveBody).decode
decode_batch = msgspec.json.Decoder(BatchBody).decode
decode_batch_item = msgspec.json.Decoder(BatchItemBody).decode
decode_amend = msgspec.json.Decoder(AmendBody).decode
decode_confirm = msgspec.json.Decoder(ConfirmBody).decode
