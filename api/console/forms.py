"""Forms as browsers send them: fields read one by one, each checked, with an error that names the field.

Owns the reading of urlencoded bodies; never what a field means. Files come by api/uploads.py.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import parse_qsl

from fastapi import Request

from api.hot.decode import check_sku, check_text
from api.problems import Problem, invalid
from api.requests import check_reason
from engine.limits import MAX_QUANTITY, MAX_TEXT

MAX_FIELDS: Final = 200
FORM: Final = "application/x-www-form-urlencoded"


class Form:
    """The fields of one form."""

    def __init__(self, fields: dict[str, str]) -> None:
        self.fields = fields

    def text(self, name: str, *, most: int = MAX_TEXT) -> str:
        """A text, outer spaces cut off; empty when the field is missing. Raises `validation-error`."""
        value = self.fields.get(name, "").strip()
        if len(value) > most:
            raise invalid(f"at most {most} characters", name)
        check_text(value.replace("\r\n", " ").replace("\n", " ").replace("\t", " "), name)
        return value

    def needed(self, name: str, *, most: int = MAX_TEXT) -> str:
        """A text that must be there. Raises `validation-error`."""
        value = self.text(name, most=most)
        if not value:
            raise invalid("must not be empty", name)
        return value

    def one_of(self, name: str, choices: tuple[str, ...]) -> str:
        """One of these. Raises `validation-error`."""
        value = self.text(name)
        if value not in choices:
            raise invalid(f"one of {', '.join(choices)}", name)
        return value

    def number(self, name: str, *, least: int = 0, most: int = MAX_QUANTITY) -> int:
        """A whole number. Raises `validation-error`."""
        value = self.text(name)
        if not value.isascii() or not value.isdigit() or len(value) > 12 or not least <= int(value) <= most:
            raise invalid(f"a whole number from {least:,} to {most:,}", name)
        return int(value)

    def number_or(self, name: str, default: int, *, least: int = 0, most: int = MAX_QUANTITY) -> int:
        """The same; `default` when the field is empty."""
        return self.number(name, least=least, most=most) if self.text(name) else default

    def sku(self, name: str = "sku") -> str:
        """A SKU. Raises `validation-error`."""
        return check_sku(self.needed(name), name)

    def reason(self, name: str = "reason") -> str:
        """Why something is done, 3-500 characters. Raises `validation-error`."""
        return check_reason(self.text(name, most=500))

    def once(self) -> str | None:
        """What makes sending this form twice one change: an idempotency key that came with the page."""
        value = self.text("once", most=64)
        return f"console-{value}" if value else None


async def read_form(request: Request) -> Form:
    """The form of a request. Raises Problem: `unsupported-media-type`, `invalid-request`."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != FORM:
        raise Problem("unsupported-media-type", f"A form is {FORM}.")
    body = await request.body()
    try:
        pairs = parse_qsl(
            body.decode("ascii"), keep_blank_values=True, max_num_fields=MAX_FIELDS, encoding="utf-8", errors="strict"
        )
    except ValueError:
        raise Problem("invalid-request", "The form cannot be read.") from None
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise Problem("invalid-request", "The form names a field twice.")
    return Form(fields)
