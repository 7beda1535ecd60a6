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


def show_comparison(console: Console, expected: Expected, comparison: Comparison, transactions: int) -> None:
    """Totals, the SKUs that differ, and the verdict."""
    table = Table(title="the file, added up independently, against the service", box=box.SIMPLE, title_justify="left")
    for column in ("", "opening", "sold", "returned", "damaged", "left (file)", "counters", "levels", "ledger", "held"):
        table.add_column(column, justify="right" if column else "left")
    for one in comparison.differing[:MAX_SHOWN]:
        table.add_row(
            one.sku,
            *(f"{expected.by_type.get((one.sku, kind), 0):,}" for kind in ("IN", "OUT", "RETURN", "DAMAGE")),
            *(f"{value:,}" for value in (one.expected, one.counters, one.levels, one.ledger, one.reserved)),
            style="red",
        )
    if comparison.differing:
        table.add_section()
    sums: Counter[str] = Counter()
    for (_, kind), units in expected.by_type.items():
        sums[kind] += units
    table.add_row(
        f"{len(comparison.skus):,} SKUs",
        *(f"{sums[kind]:,}" for kind in ("IN", "OUT", "RETURN", "DAMAGE")),
        f"{sum(one.expected for one in comparison.skus):,}",
        f"{sum(one.counters for one in comparison.skus):,}",
        f"{sum(one.levels for one in comparison.skus):,}",
        f"{sum(one.ledger for one in comparison.skus):,}",
        f"{sum(one.reserved for one in comparison.skus):,}",
        style="bold",
    )
    console.print(table)
    for one in comparison.differing[:MAX_SHOWN]:
        shown = "; ".join(one.differences[:SHOWN_REASONS])
        more = len(one.differences) - SHOWN_REASONS
        console.print(Text(f"{one.sku}: {shown}" + (f"; and {more} more" if more > 0 else ""), style="red"))
    if len(comparison.differing) > MAX_SHOWN:
        console.print(f"... and {len(comparison.differing) - MAX_SHOWN:,} more SKUs that differ")
    if comparison.agrees:
        console.print(
            f"[green]Agreement[/]: {len(comparison.skus):,} SKUs and {transactions:,} ledger rows match the file, "
            "invoice by invoice."
        )
    else:
        console.print(f"[red]Difference[/]: {len(comparison.differing):,} of {len(comparison.skus):,} SKUs differ.")
