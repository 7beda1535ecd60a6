"""What `holdfast top` looks like: one glance at the service, laid out for the terminal it is drawn on.

Owns the looks; never asks anything. Nothing is wider or higher than it was told to be.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import Struct
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from runtime.commands.output import age, moment, number, printable

if TYPE_CHECKING:
    from holdfast_client import Pulse

HISTORY: Final = 120
"""Looks that the curve remembers."""
LEAST_SKUS: Final = 3
MOST_SKUS: Final = 20
SHOWN_PROBLEMS: Final = 3
FIXED_LINES: Final = 13
"""Lines above the SKUs: title, figures, health, headings."""

_SPARKS: Final = "▁▂▃▄▅▆▇█"
_PARTS: Final = {"back_pressure": "back-pressure"}


class Busy(Struct, frozen=True):
    """How much of a SKU was sold lately."""

    sku: str
    units: int
    per_minute: float


class Glance(Struct, frozen=True):
    """The service as it was seen at one moment."""

    pulse: Pulse
    busiest: tuple[Busy, ...] | None
    """Sold within the last minute, the most first; None while the ledger cannot be asked."""
    reserves: tuple[float, ...] = ()
    """Holds a second at the looks before, the latest last."""


def view(
    glance: Glance,
    address: str,
    *,
    live: bool,
    width: int = 80,
    height: int = 24,
    trouble: Exception | None = None,
) -> RenderableType:
    """The whole screen."""
    pulse = glance.pulse
    skus = max(LEAST_SKUS, min(MOST_SKUS, height - FIXED_LINES - _health_lines(pulse, width)))
    return Group(
        _title(pulse, address, width, trouble, live=live),
        Text(),
        _figures(glance, width),
        Text(),
        _health(pulse),
        Text(),
        _skus(glance, skus, width),
    )


def _title(pulse: Pulse, address: str, width: int, trouble: Exception | None, *, live: bool) -> Text:
    ready = Text(" ready ", "black on green") if pulse.ready else Text(" not ready ", "white on red")
    if trouble is not None:
        ready = Text(f" no answer, as seen {age(pulse.at)} ", "white on red")
    left = Text.assemble(("Holdfast ", "bold"), (address, "dim"), "  ", ready)
    right = Text.assemble(moment(pulse.at), ("  q leaves" if live else "", "dim"))
    gap = max(1, width - left.cell_len - right.cell_len)
    line = left + Text(" " * gap) + right
    line.truncate(width)
    return line


def _figures(glance: Glance, width: int) -> Table:
    pulse = glance.pulse
    rates, latency = pulse.rates, pulse.latency_ms
    grid = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    for right in (False, True, False, True, False, True):
        grid.add_column(justify="right" if right else "left", no_wrap=True, style="" if right else "dim")
    lag = _some(pulse.journal_lag_events, number)
    rows: list[tuple[RenderableType, ...]] = [
        ("reserve/s", _rate(rates.reserves), "p50", _ms(latency.p50), "journal lag", _warn(lag, _late(pulse))),
        ("confirm/s", _rate(rates.confirms), "p95", _ms(latency.p95), "  seconds", _seconds(pulse.journal_lag_seconds)),
        ("reject/s", _warn(_rate(rates.rejections), rates.rejections > 0), "p99", _ms(latency.p99),
         "sweep lag", _seconds(pulse.sweep_lag_seconds)),
        ("release/s", _rate(rates.releases), "batch", _some(pulse.batch_commands, lambda mean: f"{mean:.1f}"),
         "live holds", _some(pulse.live_holds, number)),
        ("expire/s", _rate(rates.expiries), "batch ms", _some(pulse.batch_ms, lambda mean: f"{mean:.2f}"),
         "end in 5 min", _some(pulse.expiring_soon, number)),
        ("errors/s", _bad(_rate(rates.errors), rates.errors > 0), "queue", number(pulse.queue_depth),
         "Redis memory", _memory(pulse)),
    ]  # fmt: skip
    for row in rows:
        grid.add_row(*row)
    if len(glance.reserves) > 1:
        outer = Table.grid(expand=False)
        outer.add_row(grid)
        outer.add_row(Text("holds/s ", "dim") + Text(_curve(glance.reserves, width - 9), "green"))
        return outer
    return grid


def _health(pulse: Pulse) -> Text:
    line = Text()
    for part, told in pulse.health.items():
        name = _PARTS.get(part, part)
        if told == "ok":
            line.append_text(Text.assemble((f"{name} ", "dim"), ("ok", "green"), "  "))
        else:
            line.append_text(Text.assemble((f"{name} ", "dim"), (printable(told), "bold red"), "  "))
    processes: dict[str, int] = {}
    for one in pulse.processes:
        processes[one.role] = processes.get(one.role, 0) + 1
    told_processes = ", ".join(f"{count} {role}" for role, count in sorted(processes.items()))
    line.append(f"  processes {told_processes or 'none heard of'}", "dim")
    line.append(f", {number(pulse.connections)} connections", "dim")
    problems = [f"{code} {rate:,.1f}/s" for code, rate in pulse.problems_per_s.items() if rate > 0][:SHOWN_PROBLEMS]
    if problems:
        line.append("\nrefused: " + ", ".join(problems), "yellow")
    return line


def _health_lines(pulse: Pulse, width: int) -> int:
    """How many lines `_health` takes."""
    return sum(-(-max(1, len(line)) // max(1, width)) for line in _health(pulse).plain.splitlines())


def _skus(glance: Glance, most: int, width: int) -> Table:
    half = max(16, (width - 4) // 2)
    both = Table.grid(padding=(0, 4, 0, 0))
    both.add_column(width=half)
    both.add_column(width=half)
    sold = _list("sold in a minute", "units")
    if glance.busiest is None:
        sold.add_row(Text("the ledger cannot be asked", "red"), "")
    for busy in (glance.busiest or ())[:most]:
        sold.add_row(printable(busy.sku), f"{busy.per_minute:,.0f}")
    if glance.busiest == ():
        sold.add_row(Text("nothing", "dim"), "")
    lost = _list("lost demand", "requests", "units")
    for one in glance.pulse.lost_demand[:most]:
        lost.add_row(printable(one.sku), number(one.requests), number(one.units))
    if not glance.pulse.lost_demand:
        lost.add_row(Text("nothing", "dim"), "", "")
    both.add_row(sold, lost)
    return both


def _list(title: str, *numbers: str) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 1, 0, 0), expand=True)
    table.add_column(title, no_wrap=True, overflow="ellipsis", ratio=1)
    for heading in numbers:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def _curve(values: tuple[float, ...], width: int) -> str:
    kept = values[-max(1, width) :]
    most = max(kept)
    if most <= 0:
        return _SPARKS[0] * len(kept)
    return "".join(_SPARKS[min(len(_SPARKS) - 1, round(value / most * (len(_SPARKS) - 1)))] for value in kept)


def _late(pulse: Pulse) -> bool:
    return (pulse.journal_lag_seconds or 0) > 5


def _rate(value: float) -> str:
    return f"{value:,.1f}" if value < 1000 else f"{value:,.0f}"


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:g} ms"


def _seconds(value: float | None) -> RenderableType:
    return _warn("-" if value is None else f"{value:,.1f} s", (value or 0) > 5)


def _memory(pulse: Pulse) -> str:
    if pulse.memory_used_bytes is None:
        return "-"
    used = f"{pulse.memory_used_bytes / 2**20:,.0f}"
    return f"{used} of {pulse.memory_limit_bytes / 2**20:,.0f} MiB" if pulse.memory_limit_bytes else f"{used} MiB"


def _some(value: object, shown: object) -> str:
    return "-" if value is None else shown(value)  # type: ignore[operator]


def _warn(text: str, wrong: bool) -> Text:
    return Text(text, "yellow" if wrong else "")


def _bad(text: str, wrong: bool) -> Text:
    return Text(text, "bold red" if wrong else "")
