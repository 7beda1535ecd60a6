"""What a command prints: tables for people, JSON for programs, remarks beside them on standard error.

Owns widths, colours and forms; never asks a service. Results go to standard output and nothing else does.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Final, Generic, Literal, TypeVar

import msgspec
from msgspec import Struct
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

T = TypeVar("T")

Form = Literal["table", "json", "json-lines"]
Cell = str | Text

PIECE: Final = 500
"""Rows of a table that are laid out together; the widths of the first ones hold for all."""
WIDE: Final = 400
"""Characters a line where there is no terminal that says otherwise: nothing is cut or folded for a file."""
GAP: Final = 2


class Column(Struct, Generic[T], frozen=True):
    """One column: its heading and how a row is shown in it."""

    heading: str
    cell: Callable[[T], Cell]
    right: bool = False
    """For numbers."""
    spare: bool = False
    """Left out when the terminal is too narrow for all columns; of several, the last one first."""


class Output:
    """Where one command's results go, in the form that was asked for."""

    def __init__(self, form: Form) -> None:
        self.form = form
        self.console = console_on(sys.stdout)
        self.remarks = console_on(sys.stderr)

    @property
    def for_people(self) -> bool:
        """Whether tables were asked for, not JSON."""
        return self.form == "table"

    def one(self, value: Any, shown: Sequence[tuple[str, Cell | None]]) -> None:
        """One thing: as JSON `value`, else `shown` as lines of name and value. None is shown as a dash."""
        if not self.for_people:
            self.document(value)
            return
        grid = Table(box=None, show_header=False, pad_edge=False, padding=(0, GAP, 0, 0))
        grid.add_column(style="dim", no_wrap=True)
        grid.add_column(overflow="fold")
        for name, cell in shown:
            grid.add_row(name, _text(cell))
        self.console.print(grid)

    def document(self, value: Any) -> None:
        """`value` as JSON: indented for `--json`, on one line for `--json-lines`."""
        encoded = msgspec.json.encode(value)
        if self.form == "json":
            encoded = msgspec.json.format(encoded, indent=2)
        sys.stdout.write(encoded.decode() + "\n")

    def rows(self, items: Iterable[T], columns: Sequence[Column[T]], *, limit: int | None, empty: str) -> None:
        """A list, at most `limit` of it (None: all). `empty`: what to say when there is nothing."""
        iterator = iter(items)
        wanted = iterator if limit is None else islice(iterator, limit)
        if self.form == "json-lines":
            for item in wanted:
                self.document(item)
        elif self.form == "json":
            kept = list(wanted)
            self.document({"items": kept, "more": _has_more(iterator)})
            return
        else:
            self._table(wanted, columns, empty)
        if _has_more(iterator):
            self.say(f"only the first {limit}; --limit N or --all shows more")

    def _table(self, items: Iterator[T], columns: Sequence[Column[T]], empty: str) -> None:
        widths: list[int] | None = None
        shown = list(columns)
        while piece := list(islice(items, PIECE)):
            cells = [[_text(column.cell(item)) for column in columns] for item in piece]
            if widths is None:
                kept, widths = _fitting(columns, cells, self.console.width)
                shown = [columns[number] for number in kept]
                first = True
            else:
                first = False
            table = Table(box=None, show_header=first, header_style="bold", pad_edge=False, padding=(0, GAP, 0, 0))
            for column, width in zip(shown, widths, strict=True):
                table.add_column(
                    column.heading,
                    justify="right" if column.right else "left",
                    overflow="fold",
                    min_width=min(width, self.console.width),
                )
            for row in cells:
                table.add_row(*(row[number] for number in kept))
            self.console.print(table)
        if widths is None:
            self.say(empty)

    def show(self, what: RenderableType) -> None:
        """Something for people, on standard output. Nothing when JSON was asked for."""
        if self.for_people:
            self.console.print(what)

    def say(self, text: str, style: str = "dim") -> None:
        """A remark for people, on standard error, as it is."""
        self.remarks.print(Text(text, style=style))


def console_on(stream: Any) -> Console:
    """A console that colours nothing but terminals, and cuts nothing where there is none."""
    console = Console(file=stream, highlight=False, emoji=False, markup=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = WIDE
    return console


def number(value: int | None) -> str:
    """Units or counts, with separators."""
    return "-" if value is None else f"{value:,}"


def moment(text: str | datetime | None) -> str:
    """An RFC 3339 time in the zone of this machine, to the second."""
    if text is None:
        return "-"
    found = text if isinstance(text, datetime) else datetime.fromisoformat(text)
    return f"{found.astimezone():%Y-%m-%d %H:%M:%S}"


def age(text: str | datetime | None, now: datetime | None = None) -> str:
    """How long ago a time was, or in how long it will be."""
    if text is None:
        return "-"
    found = text if isinstance(text, datetime) else datetime.fromisoformat(text)
    seconds = round(((now or datetime.now(UTC)) - found).total_seconds())
    return f"{span(seconds)} ago" if seconds >= 0 else f"in {span(-seconds)}"


def span(seconds: float) -> str:
    """A length of time in its two largest units."""
    left = max(0, round(seconds))
    for size, unit, small, small_unit in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if left >= size:
            rest = left % size // small
            return f"{left // size} {unit} {rest} {small_unit}" if rest else f"{left // size} {unit}"
    return f"{left} s"


_COLOURS: Final = {
    **dict.fromkeys(("IN_STOCK", "ACTIVE", "APPROVED", "RESOLVED", "active", "ok", "delivered", "APPLIED"), "green"),
    **dict.fromkeys(("LOW_STOCK", "PENDING", "NOTIFIED", "pending", "low", "running"), "yellow"),
    **dict.fromkeys(
        ("OUT_OF_STOCK", "out", "failed", "disabled", "drift", "FAILED", "lost", "killed", "overdue"), "red"
    ),
    **dict.fromkeys(("CANCELLED", "EXPIRED", "REJECTED", "inactive", "REVERTED"), "dim"),
    "COMPLETED": "cyan",
}


def state(text: str) -> Text:
    """A state, in the colour it has everywhere."""
    return Text(text, style=_COLOURS.get(text, ""))


def _text(cell: Cell | None) -> Text:
    if isinstance(cell, Text):
        return cell
    return Text("-" if cell is None or not cell else printable(cell))


def printable(text: str) -> str:
    """What a terminal would take for a command must not reach it: names and reasons are other people's text."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def _has_more(iterator: Iterator[Any]) -> bool:
    return next(iterator, _NONE) is not _NONE


_NONE: Final = object()


def _fitting(columns: Sequence[Column[Any]], cells: list[list[Text]], width: int) -> tuple[list[int], list[int]]:
    """Numbers of the columns that are shown, and their widths."""
    widths = [
        max(len(column.heading), *(row[number].cell_len for row in cells)) for number, column in enumerate(columns)
    ]
    kept = list(range(len(columns)))
    while sum(widths[number] for number in kept) + GAP * (len(kept) - 1) > width:
        spare = next((number for number in reversed(kept) if columns[number].spare), None)
        if spare is None:
            break
        kept.remove(spare)
    room = width - GAP * (len(kept) - 1)
    if sum(widths[number] for number in kept) > room:
        # The widest ones are folded, the others stay whole.
        narrowest = max(4, _share([widths[number] for number in kept], room))
        return kept, [min(widths[number], narrowest) for number in kept]
    return kept, [widths[number] for number in kept]


def _share(widths: list[int], room: int) -> int:
    """The greatest width that every column may have so that all fit into `room`."""
    return next((most for most in range(room, 0, -1) if sum(min(width, most) for width in widths) <= room), 1)
