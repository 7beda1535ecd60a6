"""`holdfast top`: the whole service at a glance, drawn anew each second, in any terminal of 80 by 24 and over ssh.

Owns the rhythm, the keyboard and what is asked; what it looks like stands in top_view.py. Changes nothing.
"""

from __future__ import annotations

import select
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Final

import typer

from runtime.commands.session import Session, service_command
from runtime.commands.top_view import HISTORY, Busy, Glance, view

if TYPE_CHECKING:
    from holdfast_client import Pulse

app = typer.Typer(add_completion=False, rich_markup_mode="markdown")

PATIENCE_S: Final = 5.0
"""How long one look may take; what was seen before stays on the screen meanwhile."""
LATEST: Final = 500
"""Sales that are looked at for the busiest SKUs."""
SALES_S: Final = 60


@service_command(app, "top")
def top(
    session: Session,
    interval: Annotated[float, typer.Option(min=0.2, max=3600, help="Seconds between two looks.")] = 1.0,
    once: Annotated[bool, typer.Option("--once", help="Look once, print it and end.")] = False,
) -> None:
    """Watch the service live: rates, latencies, lags, holds that end soon, health, busiest SKUs. `q` leaves.

    With --json, or where there is no terminal, it looks once.

    Example: `holdfast top`, `holdfast top --once --json`
    """
    session.patience_s = PATIENCE_S
    output = session.output
    watch = Watch(session)
    watch.look()
    if watch.trouble is not None:
        raise watch.trouble
    if not output.for_people:
        output.document(watch.glance)
    elif once or not output.console.is_terminal:
        output.console.print(view(watch.glance, session.target[0], live=False, width=_width(session)))
    else:
        _live(session, watch, interval)


class Watch:
    """What was seen last, and the curve of what was seen before."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.trouble: Exception | None = None
        """Why the last look saw nothing; None when it did."""
        self.glance: Glance
        self._reserves: deque[float] = deque(maxlen=HISTORY)

    def look(self) -> None:
        """Look once. What goes wrong is kept in `trouble`, and the last glance stays."""
        from holdfast_client import HoldfastError

        try:
            pulse = self._session.client.pulse()
            busiest = self._busiest(pulse)
        except HoldfastError as error:
            self.trouble = error
            return
        self.trouble = None
        self._reserves.append(pulse.rates.reserves)
        self.glance = Glance(pulse, busiest, tuple(self._reserves))

    def _busiest(self, pulse: Pulse) -> tuple[Busy, ...] | None:
        """What sold most in the last minute; None while the ledger cannot be asked."""
        from holdfast_client import Unavailable

        since = pulse.at - timedelta(seconds=SALES_S)
        try:
            found = self._session.client.list_transactions(type="OUT", since=since, page_size=LATEST)
            rows = list(islice(found, LATEST))
        except Unavailable:
            return None
        # When there were more sales than are looked at, these are the latest ones, of a shorter time.
        span_s = (
            float(SALES_S)
            if len(rows) < LATEST
            else max(1.0, (rows[0].created_at - rows[-1].created_at).total_seconds())
        )
        units: dict[str, int] = {}
        for row in rows:
            units[row.sku] = units.get(row.sku, 0) - row.quantity
        ranked = sorted(units.items(), key=lambda item: (-item[1], item[0]))
        return tuple(Busy(sku, sold, round(sold * 60 / span_s, 1)) for sku, sold in ranked)


def _live(session: Session, watch: Watch, interval: float) -> None:
    from rich.live import Live

    console = session.output.console
    address = session.target[0]

    def drawn() -> object:
        return view(watch.glance, address, live=True, width=console.width, height=console.height, trouble=watch.trouble)

    with _keyboard() as keys, Live(console=console, screen=True, auto_refresh=False) as screen:
        due = time.monotonic()
        while True:
            screen.update(drawn(), refresh=True)  # type: ignore[arg-type]
            due = max(due + interval, time.monotonic())
            if keys.quit_before(due):
                return
            watch.look()


class _Keys:
    """The keys that are typed; without a keyboard, only the time."""

    def __init__(self, descriptor: int | None) -> None:
        self._descriptor = descriptor

    def quit_before(self, due: float) -> bool:
        """Wait until `due`; at once True when somebody types q."""
        import os

        while (left := due - time.monotonic()) > 0:
            if self._descriptor is None:
                time.sleep(left)
                break
            if not select.select([self._descriptor], [], [], left)[0]:
                break
            typed = os.read(self._descriptor, 64)
            if not typed:
                self._descriptor = None  # the keyboard is gone
            if b"q" in typed.lower() or b"\x03" in typed:
                return True
        return False


@contextmanager
def _keyboard() -> Iterator[_Keys]:
    """Keys as they are typed, without Enter and without an echo. The terminal is given back as it was."""
    try:
        descriptor = sys.stdin.fileno()
    except (OSError, ValueError):
        descriptor = -1
    if descriptor < 0 or not sys.stdin.isatty():
        yield _Keys(None)
        return
    import termios
    import tty

    before = termios.tcgetattr(descriptor)
    try:
        tty.setcbreak(descriptor)
        yield _Keys(descriptor)
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def _width(session: Session) -> int:
    return min(session.output.console.width, 100)
