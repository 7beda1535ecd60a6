"""What a replay shows: progress while it runs, then what it did, what it found dirty, and whether everything agrees.

Owns the words and tables. Never decides whether something agrees.
"""

from __future__ import annotations

from collections import Counter
from types import TracebackType
from typing import Final

from msgspec import Struct
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from runtime.replay.comparison import Comparison
from runtime.replay.independent_sum import Expected
from runtime.replay.plan import Plan
from runtime.replay.shop import Played

MAX_SHOWN: Final = 25
MOVEMENTS: Final = (("opening stock", "IN"), ("sold", "OUT"), ("returned", "RETURN"), ("written off", "DAMAGE"))
SHOWN_REASONS: Final = 3


class Timing(Struct, frozen=True):
    """How long it took, and how much was asked."""

    open_s: float
    trade_s: float
    compare_s: float
    requests: int
    repeats: int


class ProgressBars:
    """Progress bars, one a phase."""

    def __init__(self, console: Console) -> None:
        self._bars = Progress(
            TextColumn("{task.description:<12}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
        )
        self._task: TaskID | None = None

    def __enter__(self) -> ProgressBars:
        """Show the bars."""
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the bars as they are."""
        self._bars.stop()

    def begin(self, what: str, total: int) -> None:
        """A phase of `total` steps begins."""
        self._task = self._bars.add_task(what, total=total)

    def step(self) -> None:
        """One step is done."""
        if self._task is not None:
            self._bars.advance(self._task)


def show_file(console: Console, name: str, rows: int, plan: Plan, dirt: Counter[str]) -> None:
    """What is in the file, and what is dirty about it."""
    console.print(
        f"[bold]{name}[/]: {rows:,} rows, {len(plan.products):,} products, {len(plan.work):,} documents to play"
    )
    notes = dict(dirt)
    if plan.summed_lines:
        notes["SKU twice in an invoice: summed"] = plan.summed_lines
    if plan.split_invoices:
        notes["invoice longer than a reservation may be: split"] = plan.split_invoices
    table = Table(title="dirty rows", box=box.SIMPLE, title_justify="left")
    table.add_column("kind")
    table.add_column("rows", justify="right")
    for what, count in sorted(notes.items(), key=lambda item: -item[1]):
        table.add_row(what, f"{count:,}")
    if notes:
        console.print(table)


def show_played(console: Console, played: Played, timing: Timing) -> None:
    """What was done, how fast, and what the service refused."""
    table = Table(title="played", box=box.SIMPLE, title_justify="left")
    table.add_column("what")
    table.add_column("count", justify="right")
    kept = f" ({played.kept_products:,} were there already)" if played.kept_products else ""
    for what, count in (
        (f"products made{kept}", played.products),
        ("deliveries received", played.deliveries),
        ("orders reserved and confirmed", played.orders),
        ("lines in them", played.order_lines),
        ("units sold", played.units_sold),
        ("returns", played.returns),
        ("write-offs", played.damages),
        ("requests", timing.requests),
        ("of these sent again (503 or no answer)", timing.repeats),
        ("refused", len(played.refusals)),
    ):
        table.add_row(what, f"{count:,}")
    console.print(table)
    rate = played.orders / timing.trade_s if timing.trade_s > 0 else 0.0
    console.print(
        f"opened in {timing.open_s:.1f} s, traded in {timing.trade_s:.1f} s ({rate:,.0f} orders/s), "
        f"compared in {timing.compare_s:.1f} s"
    )
    for refusal in played.refusals[:MAX_SHOWN]:
        console.print(Text(f"refused: {refusal.document}: {refusal.reason}", style="red"))
    if len(played.refusals) > MAX_SHOWN:
        console.print(f"... and {len(played.refusals) - MAX_SHOWN:,} more")


def show_comparison(console: Console, expected: Expected, comparison: Comparison) -> None:
    """Totals, the SKUs that differ, and the verdict."""
    skus = comparison.skus
    table = Table(
        title="units: the file, added up independently, and the service", box=box.SIMPLE, title_justify="left"
    )
    for column in (f"{len(skus):,} SKUs", "file", "counters", "levels", "ledger"):
        table.add_column(column, justify="left" if column.endswith("SKUs") else "right")
    for name, kind in MOVEMENTS:
        units = sum(moved for (_, of_kind), moved in expected.by_type.items() if of_kind == kind)
        booked = sum(one.ledger_by_type.get(kind, 0) for one in skus)
        table.add_row(name, f"{units:+,}", "", "", f"{booked:+,}", style="" if units == booked else "red")
    sums = [
        sum(values)
        for values in zip(*((one.expected, one.counters, one.levels, one.ledger) for one in skus), strict=True)
    ]
    table.add_row("left on the shelf", *(f"{units:+,}" for units in sums), style="bold")
    table.add_row("still held", "0", f"{sum(one.reserved for one in skus):,}", "", "")
    console.print(table)
    if comparison.differing:
        _show_differing(console, comparison)
        console.print(f"[red]Difference[/]: {len(comparison.differing):,} of {len(skus):,} SKUs differ.")
    else:
        console.print(
            f"[green]Agreement[/]: {len(skus):,} SKUs and {comparison.transactions:,} ledger rows match the file, "
            "invoice by invoice."
        )


def _show_differing(console: Console, comparison: Comparison) -> None:
    table = Table(title="SKUs that differ", box=box.SIMPLE, title_justify="left", style="red")
    for column in ("SKU", "file", "counters", "levels", "ledger", "held"):
        table.add_column(column, justify="left" if column == "SKU" else "right")
    for one in comparison.differing[:MAX_SHOWN]:
        changes = (one.expected, one.counters, one.levels, one.ledger)
        table.add_row(one.sku, *(f"{units:+,}" for units in changes), f"{one.reserved:,}")
    console.print(table)
    for one in comparison.differing[:MAX_SHOWN]:
        shown = "; ".join(one.differences[:SHOWN_REASONS])
        more = len(one.differences) - SHOWN_REASONS
        console.print(Text(f"{one.sku}: {shown}" + (f"; and {more} more" if more > 0 else ""), style="red"))
    if len(comparison.differing) > MAX_SHOWN:
        console.print(f"... and {len(comparison.differing) - MAX_SHOWN:,} more SKUs that differ")
