"""What a load test shows in the terminal: what happened, how fast, how late the generator was, and the verdict.

Owns words, tables and bars. Never judges.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from runtime.loadtest.latencies import PERCENTILES, Bar, Summary, histogram, latencies, lateness, summarize
from runtime.loadtest.observations import Seen, Verb
from runtime.loadtest.session import Outcome

BAR_WIDTH: Final = 44
MAX_OBJECTIONS: Final = 5
LATE_MS: Final = 5.0
"""A generator later than this at its 99th percentile should be run slower or in more processes."""


def show(console: Console, outcome: Outcome) -> None:
    """Everything."""
    _show_outcomes(console, outcome)
    _show_latencies(console, outcome.seen)
    _show_histogram(console, histogram(latencies(outcome.seen, Verb.RESERVE)))
    _show_verdict(console, outcome)


def headline(outcome: Outcome) -> str:
    """Throughput in one line."""
    answered = sum(one.status not in {0, 503} for one in outcome.seen)
    reserves = len({one.buyer for one in outcome.seen})
    took = outcome.took_s or 1.0
    arrivals = outcome.buyers[-1].at_s if outcome.buyers else 0.0
    return (
        f"{reserves:,} buyers arrived in {arrivals:.1f} s ({reserves / max(arrivals, 1e-9):,.0f}/s, open loop); "
        f"{answered:,} answers in {took:.1f} s"
    )


def outcome_rows(outcome: Outcome) -> list[tuple[str, str]]:
    """What became of the buyers, as rows of a table."""
    account = outcome.verdict.account
    statuses = Counter(f"{one.status} {one.code}".strip() if one.status else "no answer" for one in outcome.seen)
    repeats = sum(one.repeat > 0 for one in outcome.seen)
    rows = [
        ("units on sale", f"{outcome.sale.units:,}"),
        ("units sold (the last purchase included)", f"{account.sold_units:,}"),
        (
            "oversold",
            f"{max(0, account.sold_units - outcome.sale.units, account.most_surely_taken - outcome.sale.units):,}",
        ),
        ("undersold", f"{max(0, outcome.sale.units - account.sold_units):,}"),
        ("holds granted", f"{account.reserved:,}"),
        ("of them confirmed", f"{account.completed:,}"),
        ("of them released", f"{account.released:,}"),
        ("of them expired", f"{account.expired:,}"),
        ("buyers told that nothing is left", f"{account.refused:,}"),
        ("buyers whose outcome is unknown", f"{account.unknown:,}"),
        ("requests sent again, outcome unknown", f"{repeats:,}"),
    ]
    return rows + [(f"answers {status}", f"{count:,}") for status, count in sorted(statuses.items())]


def latency_rows(seen: list[Seen]) -> list[tuple[str, Summary]]:
    """Percentiles by verb, and the generator's own lateness."""
    rows = [(str(verb), summarize(latencies(seen, verb))) for verb in Verb]
    return [
        *((name, summary) for name, summary in rows if summary.count),
        ("generator late", summarize(lateness(seen))),
    ]


def percentile_name(rank: float) -> str:
    """p50, p99.9, max."""
    return "max" if rank == 100 else f"p{rank:g}"


def milliseconds(value: float) -> str:
    """A duration with three telling digits."""
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def _show_outcomes(console: Console, outcome: Outcome) -> None:
    console.print(headline(outcome))
    table = Table(title="outcomes", box=box.SIMPLE, title_justify="left", show_header=False)
    table.add_column()
    table.add_column(justify="right")
    for row in outcome_rows(outcome):
        table.add_row(*row)
    console.print(table)


def _show_latencies(console: Console, seen: list[Seen]) -> None:
    title = "milliseconds from the scheduled instant to the answer"
    table = Table(title=title, box=box.SIMPLE, title_justify="left")
    table.add_column("")
    table.add_column("count", justify="right")
    for rank in PERCENTILES:
        table.add_column(percentile_name(rank), justify="right")
    rows = latency_rows(seen)
    for name, summary in rows:
        style = "dim" if name == "generator late" else ""
        table.add_row(name, f"{summary.count:,}", *(milliseconds(value) for value in summary.ms), style=style)
    console.print(table)
    late = rows[-1][1]
    if late.count and late.ms[PERCENTILES.index(99.0)] > LATE_MS:
        console.print(
            "[yellow]The generator itself was late; its lateness is part of the latencies above. Lower --rate, or add "
            "--processes.[/]"
        )


def _show_histogram(console: Console, bars: list[Bar]) -> None:
    if not bars:
        return
    most = max(bar.count for bar in bars)
    console.print("reserve, ms")
    for bar in bars:
        filled = round(BAR_WIDTH * bar.count / most)
        line = "█" * filled if filled or not bar.count else "▏"
        label = f"{milliseconds(bar.low_ms):>7} - {milliseconds(bar.high_ms):>7}"
        console.print(Text(f"{label}  {line:<{BAR_WIDTH}} {bar.count:,}"))


def _show_verdict(console: Console, outcome: Outcome) -> None:
    table = Table(title="promises, by an account of its own", box=box.SIMPLE, title_justify="left")
    for column in ("promise", "which means", "verdict"):
        table.add_column(column)
    for promise in outcome.verdict.promises:
        count = len(promise.objections)
        verdict = "[green]kept[/]" if not count else f"[red]broken, {count:,} objection{'s' if count > 1 else ''}[/]"
        table.add_row(promise.name, promise.meaning, verdict)
    console.print(table)
    for promise in outcome.verdict.promises:
        for objection in promise.objections[:MAX_OBJECTIONS]:
            console.print(Text(f"{promise.name}: {objection}", style="red"))
        if len(promise.objections) > MAX_OBJECTIONS:
            console.print(f"{promise.name}: ... and {len(promise.objections) - MAX_OBJECTIONS:,} more")
