"""What a shop makes of one row of its order file: a sale, a return, a loss, or a row that moves no stock.

Owns the rules for dirty rows, each with a name under which it is counted. Never sums anything up.

- Codes are upper-cased (85123a is 85123A typed in a hurry) and runs of spaces closed up.
- Postage, carriage, fees, discounts, samples and the like are services: nobody keeps them on a shelf, so they are
  invoiced and not reserved. Gift vouchers and odd codes (DCGS0076) are stock like any other.
- A row without a customer was sold to a guest.
- Invoices that start with C are cancellations: their lines come back as returns, also of goods that were sold before
  the file begins. Other negative lines are losses (damaged, lost, thrown away).
- What cannot be read (no invoice, no code, a code that is no SKU, a quantity that is no whole number, is 0, or is more
  than a line may have, a cancellation with a positive quantity) is left out and counted.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Final

from msgspec import Struct

from engine.limits import MAX_QUANTITY, MAX_TEXT, is_sku
from runtime.replay.order_file import Row

GUEST: Final = "guest"

SERVICES: Final = frozenset(
    {
        "POST",
        "DOT",
        "M",
        "D",
        "S",
        "B",
        "C2",
        "C3",
        "CRUK",
        "ADJUST",
        "ADJUST2",
        "SP1002",
        "TEST001",
        "TEST002",
        "BANK CHARGES",
        "AMAZONFEE",
    }
)
"""Codes of the data set that stand for no goods: postage, carriage, manual, discount, samples, fees, corrections."""

_WHOLE = re.compile(r"(-?)0*([0-9]{1,18})(?:\.0*)?\Z")
_SPACES = re.compile(r"\s+")


class Kind(StrEnum):
    """What a row does to the stock."""

    SALE = "sale"
    RETURN = "return"
    DAMAGE = "damage"


class Skipped(StrEnum):
    """Why a row moves no stock."""

    SERVICE = "service line (postage, fee, discount, manual)"
    NO_INVOICE = "no usable invoice number"
    NO_CODE = "no product code"
    BAD_CODE = "code that is no SKU"
    BAD_QUANTITY = "quantity that is no whole number"
    TOO_MANY = "quantity beyond what a line may have"
    ZERO = "quantity 0"
    WRONG_SIGN = "cancellation with a positive quantity"


class Mended(StrEnum):
    """What was put right in a row that counts."""

    GUEST = "no customer: sold to a guest"
    CODE = "code upper-cased or spaces closed up"
    NO_NAME = "no description"


class Line(Struct, frozen=True):
    """A row that moves stock. `quantity` is above 0; `kind` says which way."""

    kind: Kind
    invoice: str
    sku: str
    quantity: int
    customer: str
    description: str
    priced: bool
    """False for price 0: then the description is more often a note (damages, check) than a name."""
    date: str
    mended: tuple[Mended, ...]


def is_cancellation(invoice: str) -> bool:
    """True for an invoice number that starts with C."""
    return invoice[:1] in {"C", "c"}


def clean(row: Row) -> Line | Skipped:  # noqa: PLR0911 - one return a rule
    """The row as a movement of stock, or why it is none."""
    invoice = row.invoice
    if not 0 < len(invoice) <= MAX_TEXT or not invoice.isprintable():
        return Skipped.NO_INVOICE
    code = _SPACES.sub(" ", row.code).upper()
    if not code:
        return Skipped.NO_CODE
    if code in SERVICES:
        return Skipped.SERVICE
    if not is_sku(code):
        return Skipped.BAD_CODE
    number = _WHOLE.match(row.quantity)
    if number is None:
        return Skipped.BAD_QUANTITY
    negative, quantity = bool(number.group(1)), int(number.group(2))
    if quantity == 0:
        return Skipped.ZERO
    if quantity > MAX_QUANTITY:
        return Skipped.TOO_MANY
    if is_cancellation(invoice):
        if not negative:
            return Skipped.WRONG_SIGN
        kind = Kind.RETURN
    else:
        kind = Kind.DAMAGE if negative else Kind.SALE
    return Line(
        kind=kind,
        invoice=invoice,
        sku=code,
        quantity=quantity,
        customer=_customer(row.customer),
        description=_SPACES.sub(" ", row.description),
        priced=_is_priced(row.price),
        date=row.date,
        mended=_mended(row, code),
    )


def _mended(row: Row, code: str) -> tuple[Mended, ...]:
    found = []
    if not row.customer:
        found.append(Mended.GUEST)
    if code != row.code:
        found.append(Mended.CODE)
    if not row.description:
        found.append(Mended.NO_NAME)
    return tuple(found)


def _customer(text: str) -> str:
    """A customer number as text; spreadsheets write 17850 as 17850.0."""
    plain = text.removesuffix(".0")
    return plain if 0 < len(plain) <= MAX_TEXT and plain.isprintable() else GUEST


def _is_priced(text: str) -> bool:
    try:
        return float(text) > 0
    except ValueError:
        return False
