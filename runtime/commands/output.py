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
from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

T = TypeVar("T")

Form = Literal["table", "json", "json-lines"]
Cell = str | Text

PIECE: Final = 500
"""Rows of a table that are laid out together; the widths of the first ones hold for all."""
WIDE: Final = 10_000
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
        layout: tuple[list[Column[T]], list[int]] | None = None
        while piece := list(islice(items, PIECE)):
            first = layout is None
            if layout is None:
                layout = _fitting(columns, piece, self.console.width)
            shown, widths = layout
            rows = [[_cell(column.cell(item)) for column in shown] for item in piece]
            whole = [max(width, *(_width(row[n]) for row in rows)) for n, width in enumerate(widths)]
            if sum(whole) + GAP * (len(shown) - 1) <= self.console.width:
                self._lines(shown, whole, rows, heading=first)
            else:
                self._folded(shown, widths, rows, heading=first)
        if layout is None:
            self.say(empty)

    def _lines(self, columns: Sequence[Column[T]], widths: list[int], rows: list[list[Cell]], *, heading: bool) -> None:
        """A line a row. A table of Rich costs most of a millisecond a row, and lists may be long."""
        if heading:
            rows = [[Text(column.heading, "bold") for column in columns], *rows]
        lines = []
        for row in rows:
            parts: list[Cell] = []
            for column, width, cell in zip(columns, widths, row, strict=True):
                room = " " * (width - _width(cell))
                parts += (room, cell, " " * GAP) if column.right else (cell, room, " " * GAP)
            lines.append(parts)
        if self.console.is_terminal:
            text = Text("\n").join(Text.assemble(*parts) for parts in lines)
            self.console.print(text, soft_wrap=True)
        else:
            plain = ("".join(str(part) for part in parts).rstrip() for parts in lines)
            sys.stdout.write("\n".join(plain) + "\n")

    def _folded(
        self, columns: Sequence[Column[T]], widths: list[int], rows: list[list[Cell]], *, heading: bool
    ) -> None:
        """Cells over several lines, where the terminal is too narrow for them."""
        table = Table(box=None, show_header=heading, header_style="bold", pad_edge=False, padding=(0, GAP, 0, 0))
        for column, width in zip(columns, widths, strict=True):
            table.add_column(
                column.heading,
                justify="right" if column.right else "left",
                overflow="fold",
                min_width=min(width, self.console.width),
            )
        for row in rows:
            table.add_row(*(cell if isinstance(cell, Text) else Text(cell) for cell in row))
        self.console.print(table)

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
    cell = _cell(cell)
    return cell if isinstance(cell, Text) else Text(cell)


def _cell(cell: Cell | None) -> Cell:
    return cell if isinstance(cell, Text) else printable(cell) if cell else "-"


def _width(cell: Cell) -> int:
    return cell.cell_len if isinstance(cell, Text) else cell_len(cell)


def printable(text: str) -> str:
    """What a terminal would take for a command must not reach it: names and reasons are other people's text."""
    return text if text.isprintable() else "".join(letter if letter.isprintable() else " " for letter in text)


def _has_more(iterator: Iterator[Any]) -> bool:
    return next(iterator, _NONE) is not _NONE


_NONE: Final = object()


def _fitting(columns: Sequence[Column[T]], items: list[T], width: int) -> tuple[list[Column[T]], list[int]]:
    """The columns that are shown, and their widths."""
    natural = [max(len(column.heading), *(_width(_cell(column.cell(item))) for item in items)) for column in columns]
    kept = list(range(len(columns)))
    while sum(natural[number] for number in kept) + GAP * (len(kept) - 1) > width:
        spare = next((number for number in reversed(kept) if columns[number].spare), None)
        if spare is None:
            break
        kept.remove(spare)
    widths = [natural[number] for number in kept]
    room = width - GAP * (len(kept) - 1)
    if sum(widths) > room:
        # The widest ones are folded, the others stay whole.
        most = max(4, _share(widths, room))
        widths = [min(width, most) for width in widths]
    return [columns[number] for number in kept], widths


def _share(widths: list[int], room: int) -> int:
    """The greatest width that every column may have so that all fit into `room`."""
    return next((most for most in range(room, 0, -1) if sum(min(width, most) for width in widths) <= room), 1)
