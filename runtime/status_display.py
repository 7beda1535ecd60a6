"""What `holdfast up` shows: a table that stays in place on a terminal, one plain line a change everywhere else.

Owns the looks; never learns anything by itself.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import IO, Final

from msgspec import Struct
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from runtime.store import FactsNow

_COLOURS: Final = {"running": "green", "starting": "yellow", "waiting": "red", "stopped": "dim"}


class ProcessRow(Struct, frozen=True):
    """One process of the service at one moment."""

    name: str
    state: str
    pid: int | None
    since_s: float
    """Seconds in this state."""
    restarts: int
    note: str = ""


class StatusDisplay:
    """Shows the service's state on `stream` (default: standard output)."""

    def __init__(self, stream: IO[str] | None = None) -> None:
        self._stream = stream or sys.stdout
        self.is_terminal = self._stream.isatty()
        self._console = Console(file=self._stream, soft_wrap=True, highlight=False)
        self._live: Live | None = None

    def say(self, text: str = "") -> None:
        """A line that stays. Written as it is, so that an address can be copied from it."""
        if self.is_terminal:
            self._console.print(Text(text))
        else:
            self._stream.write(text + "\n")
            self._stream.flush()

    def begin(self) -> None:
        """From now on keep the table in place (terminals only)."""
        if self.is_terminal:
            self._live = Live(console=self._console, auto_refresh=False, transient=True)
            self._live.start()

    def show(self, title: str, rows: Sequence[ProcessRow], facts: FactsNow) -> None:
        """Draw the table anew (terminals only)."""
        if self._live is not None:
            self._live.update(_picture(title, rows, facts), refresh=True)

    def end(self) -> None:
        """Take the table away and give the terminal back."""
        if self._live is not None:
            self._live.stop()
            self._live = None


def _picture(title: str, rows: Sequence[ProcessRow], facts: FactsNow) -> Group:
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for heading, justify in (("process", "left"), ("state", "left"), ("pid", "right"), ("for", "right")):
        table.add_column(heading, justify=justify, header_style="dim")  # type: ignore[arg-type]
    table.add_column("restarts", justify="right", header_style="dim")
    table.add_column("")
    for row in rows:
        table.add_row(
            row.name,
            Text(row.state, style=_COLOURS.get(row.state, "")),
            "" if row.pid is None else str(row.pid),
            duration(row.since_s),
            str(row.restarts) if row.restarts else "",
            Text(row.note, style="red"),
        )
    below = Text("Ctrl-C stops everything in order", style="dim")
    return Group(Text(), table, Text(facts_line(facts), style="cyan"), below)


def facts_line(facts: FactsNow) -> str:
    """The store in one line, leaving out what is not known."""
    parts = []
    if facts.events is not None:
        parts.append(f"journal {facts.events:,} events")
    if facts.lag_events is not None:
        parts.append("ledger up to date" if facts.lag_events <= 0 else f"ledger {facts.lag_events:,} events behind")
    if facts.holds is not None:
        parts.append(f"{facts.holds:,} live holds")
    return " · ".join(parts)


def duration(seconds: float) -> str:
    """Seconds in the two largest units that fit: `4 s`, `2 min 5 s`, `3 h 10 min`, `2 d 4 h`."""
    whole = int(seconds)
    units = ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s"))
    for place, (size, unit) in enumerate(units):
        if whole >= size:
            first = f"{whole // size} {unit}"
            if place + 1 == len(units):
                return first
            smaller, name = units[place + 1]
            rest = whole % size // smaller
            return f"{first} {rest} {name}" if rest else first
    return "0 s"
