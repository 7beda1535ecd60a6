"""What people type for the things of the shop: lines, times, SKUs that the shell completes.

Owns how such words are read; never what is done with them.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Final

import typer

from runtime.commands.session import WrongUse

COMPLETED: Final = 30
"""SKUs that are offered at most."""
COMPLETION_S: Final = 1.0
"""A shell that waits for the service longer than this is given nothing."""

_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def complete_sku(ctx: typer.Context, incomplete: str) -> list[str]:
    """SKUs that begin so, from the service that the command line names; none when it cannot be asked at once."""
    # Completion runs while somebody types: nothing may be printed, and nothing may go wrong.
    try:
        return _skus(ctx, incomplete)
    except Exception:  # noqa: BLE001
        return []


def _skus(ctx: typer.Context, incomplete: str) -> list[str]:
    from itertools import islice

    from runtime.commands.output import Output
    from runtime.commands.session import Session

    given = ctx.params
    session = Session(Output("json"), given.get("url"), _path(given.get("key_file")), _path(given.get("data_dir")))
    session.patience_s = COMPLETION_S
    try:
        found = session.client.list_products(q=incomplete or None, page_size=COMPLETED)
        return [one.sku for one in islice(found, COMPLETED) if one.sku.startswith(incomplete)]
    finally:
        session.close()


def _path(given: object) -> Path | None:
    return None if given is None else Path(str(given))


Sku = Annotated[str, typer.Argument(metavar="SKU", help="The SKU.", show_default=False, autocompletion=complete_sku)]
Skus = Annotated[
    list[str] | None,
    typer.Argument(metavar="[SKU]...", help="SKUs.", show_default=False, autocompletion=complete_sku),
]
SkuFilter = Annotated[
    str | None, typer.Option("--sku", metavar="SKU", help="Only of this SKU.", autocompletion=complete_sku)
]
Lines = Annotated[
    list[str],
    typer.Argument(
        metavar="SKU[=UNITS]...",
        help="SKUs and their units; one unit of a SKU alone.",
        show_default=False,
        autocompletion=complete_sku,
    ),
]
Reason = Annotated[
    str, typer.Option("--reason", "-r", help="Why, 3-500 characters; kept for good.", show_default=False)
]


def read_lines(words: Iterable[str]) -> list[tuple[str, int]]:
    """`MUG=2 TEAPOT` as lines. A SKU has no equals sign in it. Raises WrongUse."""
    lines = []
    for word in words:
        sku, equals, units = word.partition("=")
        if not sku or (equals and not (units.isascii() and units.isdigit())):
            raise WrongUse(f"{word} is not SKU=UNITS, such as MUG=2")
        lines.append((sku, int(units) if equals else 1))
    return lines


def read_moment(text: str | None, name: str) -> datetime | None:
    """`2026-11-22`, `2026-11-22 14:00`, an RFC 3339 time, or `2h`: two hours ago. Without an offset: local time.

    Raises WrongUse.
    """
    if text is None:
        return None
    try:
        if text[:-1].isascii() and text[:-1].isdigit() and text[-1:] in _UNITS:
            return datetime.now(UTC) - timedelta(**{_UNITS[text[-1]]: int(text[:-1])})
        return datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError):
        raise WrongUse(
            f"--{name} {text} is no time; give 2026-11-22, '2026-11-22 14:00', or 2h for two hours ago"
        ) from None
