"""What the state machine takes. One struct a verb; its fields in order are the wire format of `lua/commands/*.lua`.

Structs encode to msgpack arrays with the verb first. Lines travel as text, `SKU=2,SKU2=1` (a SKU can hold neither
`=` nor `,`): one string costs Lua less than nested arrays, and quantities stay digits that it checks itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec
from msgspec import Struct

from engine import limits
from engine.errors import InvalidCommand

AdjustOperation = Literal["add", "remove", "set"]
TransactionType = Literal["IN", "OUT", "ADJUSTMENT", "RETURN", "DAMAGE"]


class Reserve(Struct, frozen=True, array_like=True, tag="reserve"):
    """Hold every line or none (or, with `partial`, as much of each as there is) until a deadline `ttl_ms` away."""

    base: str
    lines: str
    ttl_ms: int
    partial: bool = False
    owner: str = ""
    """Id of the API key that makes the reservation."""
    fingerprint: str = ""
    """Of the request, when the base was derived from an idempotency key; empty otherwise."""
    details: str = "{}"
    """JSON object of what Lua need not understand: see engine.results.Details."""


class Amend(Struct, frozen=True, array_like=True, tag="amend"):
    """Replace the lines (`lines` not empty) and/or set the deadline `ttl_ms` from now (not 0). All or nothing."""

    base: str
    created_ms: int
    lines: str
    ttl_ms: int
    owner: str = ""
    """Only a reservation of this owner is found; empty: any (an admin)."""
    actor: str = ""
    """Id of the API key that asks; goes into the journal."""


class Confirm(Struct, frozen=True, array_like=True, tag="confirm"):
    """Turn holds into sales: on_hand and reserved go down together. Several reservations: all or none."""

    reservations: tuple[tuple[str, int], ...]
    """(base, created_ms) each."""
    order_id: str = ""
    owner: str = ""
    actor: str = ""
    late: bool = False
    """Take the stock again if the hold has expired and the stock is still there."""


class Release(Struct, frozen=True, array_like=True, tag="release"):
    """Give a hold back before its deadline."""

    base: str
    created_ms: int
    owner: str = ""
    actor: str = ""


class Expire(Struct, frozen=True, array_like=True, tag="expire"):
    """End a hold whose deadline has passed. Takes the member of the deadline set, which names base, id and lines."""

    base: str
    member: str


class Read(Struct, frozen=True, array_like=True, tag="read"):
    """Look at one reservation; changes nothing."""

    base: str
    created_ms: int
    owner: str = ""


class Availability(Struct, frozen=True, array_like=True, tag="availability"):
    """Look at SKUs; changes nothing. Due holds are expired first, so the answer is what a reserve would meet."""

    lines: str
    """`SKU=requested` each."""


class Adjust(Struct, frozen=True, array_like=True, tag="adjust"):
    """Change on_hand of one or more SKUs, all or none; never below what is reserved."""

    base: str
    lines: tuple[tuple[str, AdjustOperation, int], ...]
    """(SKU, operation, units); `set` makes on_hand equal to the units."""
    transaction_type: TransactionType
    reason: str
    reference_type: str
    reference_id: str
    actor: str
    fingerprint: str = ""
    max_change: int = 0
    """Units that all lines together may move; more is refused as `change_too_large`. 0: no limit."""
    expected: tuple[int, ...] = ()
    """on_hand that each line must find, in the order of the lines; -1: any. Something else is refused as
    `stock_moved`. Empty: nothing is expected."""


class Configure(Struct, frozen=True, array_like=True, tag="configure"):
    """Create a SKU (with its opening stock, an IN movement) or change its settings."""

    sku: str
    safety_stock: int
    low_stock_threshold: int
    active: bool
    initial_stock: int
    actor: str
    keeps: str = ""
    """What a SKU that is there keeps as it is, whatever is said above: `s` safety stock, `t` threshold, `a` active."""


class Announce(Struct, frozen=True, array_like=True, tag="announce"):
    """Put something that moves no stock into the journal; repeated under the same base it changes nothing."""

    base: str
    event_type: str
    """What happened, such as `stock.low`."""
    data: str
    """JSON, carried as it is."""
    actor: str


class Repair(Struct, frozen=True, array_like=True, tag="repair"):
    """Move counters that drifted back by the drift; all or none, repeatable under the same base.

    Goes into the journal as an adjustment with reference_type `Reconciliation`.
    """

    base: str
    lines: tuple[tuple[str, int, int], ...]
    """(SKU, change of on_hand, change of reserved), signed."""
    reason: str
    reference_id: str
    actor: str
    epoch: int = 0
    """In which the drift was found: in another one the repair is refused as `stock_moved`. 0: in any."""


Command = Reserve | Amend | Confirm | Release | Expire | Read | Availability | Adjust | Configure | Announce | Repair

_encode = msgspec.msgpack.Encoder().encode


def encode_batch(commands: list[Command]) -> bytes:
    """The msgpack list that `lua/apply.lua` takes as ARGV[1]."""
    return _encode(commands)


def bases_of(command: Command) -> tuple[str, ...]:
    """The record bases a command touches: each becomes a declared key."""
    if isinstance(command, Confirm):
        return tuple(base for base, _ in command.reservations)
    if isinstance(command, Availability | Configure):
        return ()
    return (command.base,)


def lines_text(lines: Iterable[tuple[str, int]]) -> str:
    """Lines as they travel, in order of first mention, a SKU named twice summed.

    Raises InvalidCommand for no line, more than MAX_LINES, a bad SKU, or a quantity outside 1..MAX_QUANTITY.
    """
    total: dict[str, int] = {}
    for sku, quantity in lines:
        if not limits.is_sku(sku):
            raise InvalidCommand(f"not a SKU: {sku[:80]!r}")
        if type(quantity) is not int or quantity < 1:
            raise InvalidCommand(f"quantity of {sku} must be a whole number from 1 to {limits.MAX_QUANTITY}")
        total[sku] = total.get(sku, 0) + quantity
    if not total:
        raise InvalidCommand("at least one line is needed")
    if len(total) > limits.MAX_LINES:
        raise InvalidCommand(f"at most {limits.MAX_LINES} lines, not {len(total)}")
    for sku, quantity in total.items():
        if quantity > limits.MAX_QUANTITY:
            raise InvalidCommand(f"quantity of {sku} must be a whole number from 1 to {limits.MAX_QUANTITY}")
    return ",".join(f"{sku}={quantity}" for sku, quantity in total.items())


def parse_lines(text: str) -> tuple[tuple[str, int], ...]:
    """The inverse of `lines_text`."""
    if not text:
        return ()
    pairs = (line.split("=") for line in text.split(","))
    return tuple((sku, int(quantity)) for sku, quantity in pairs)
