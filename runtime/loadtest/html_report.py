"""The same report as one HTML file: tables and plots drawn as SVG in the page itself; it loads nothing from anywhere.

Owns the page. Never computes a number of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape
from typing import Final

from runtime.loadtest.latencies import PERCENTILES, Bar, TimeBin, histogram, latencies, over_time
from runtime.loadtest.observations import Verb
from runtime.loadtest.report import MAX_OBJECTIONS, headline, latency_rows, milliseconds, outcome_rows, percentile_name
from runtime.loadtest.session import Outcome

WIDTH: Final = 860
HEIGHT: Final = 260
LEFT: Final = 64
BOTTOM: Final = 34
TOP: Final = 12
LINES: Final = (("p50", "#2a6f97"), ("p99", "#e07a1f"), ("max", "#b3261e"))

_STYLE: Final = """
body { font: 15px/1.45 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #1c1c1c }
table { border-collapse: collapse; margin: 1rem 0 } td, th { padding: .15rem .8rem; text-align: right }
td:first-child, th:first-child, td.text { text-align: left } tr:nth-child(even) { background: #f3f3f3 }
.kept { color: #1b7f3b } .broken { color: #b3261e } svg text { font-size: 12px; fill: #444 } h2 { margin-top: 2rem }
"""


def page_of(outcome: Outcome) -> str:
    """The whole page."""
    sale = outcome.sale
    reserves = latencies(outcome.seen, Verb.RESERVE)
    kept = outcome.verdict.kept
    settings = (
        f"{sale.buyers:,} buyers, {sale.units:,} units, {sale.rate:,.0f} arrivals/s, hold {sale.ttl_s} s, "
        f"seed {sale.seed}, {outcome.processes} generator process{'es' if outcome.processes > 1 else ''}"
    )
    word = "every promise kept" if kept else "a promise was broken"
    parts = [
        f'<h1>Flash sale: <span class="{"kept" if kept else "broken"}">{word}</span></h1>',
        f"<p>{escape(settings)}<br>{escape(headline(outcome))}</p>",
        "<h2>Promises</h2>",
        _promises(outcome),
        "<h2>Latency over time, reserve</h2>",
        _time_plot(over_time(outcome.seen, Verb.RESERVE)),
        "<h2>Latency distribution, reserve</h2>",
        _bar_plot(histogram(reserves)),
        "<h2>Milliseconds from the scheduled instant to the answer</h2>",
        _latencies(outcome),
        "<h2>Outcomes</h2>",
        _table([], outcome_rows(outcome)),
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Flash sale</title>'
        f"<style>{_STYLE}</style></head><body>{''.join(parts)}</body></html>\n"
    )


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in header)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table>{f'<tr>{head}</tr>' if head else ''}{body}</table>"


def _promises(outcome: Outcome) -> str:
    rows = []
    for promise in outcome.verdict.promises:
        objections = promise.objections
        verdict = "kept" if not objections else f"broken, {len(objections):,} objections"
        why = "<br>".join(escape(text) for text in objections[:MAX_OBJECTIONS])
        rows.append(
            f'<tr><td>{escape(promise.name)}</td><td class="text">{escape(promise.meaning)}</td>'
            f'<td class="text {"broken" if objections else "kept"}">{verdict}{"<br>" if why else ""}{why}</td></tr>'
        )
    return f"<table>{''.join(rows)}</table>"


def _latencies(outcome: Outcome) -> str:
    header = ["", "count", *(percentile_name(rank) for rank in PERCENTILES)]
    rows = [
        [name, f"{summary.count:,}", *(milliseconds(value) for value in summary.ms)]
        for name, summary in latency_rows(outcome.seen)
    ]
    return _table(header, rows)


def _log_scale(low: float, high: float) -> tuple[Callable[[float], float], list[float]]:
    """Milliseconds -> y, and the powers of ten to draw a line at."""
    first, last = math.floor(math.log10(low)), max(math.ceil(math.log10(high)), math.floor(math.log10(low)) + 1)
    inner = HEIGHT - TOP - BOTTOM

    def place(value: float) -> float:
        share = (math.log10(max(value, 10.0**first)) - first) / (last - first)
        return TOP + inner * (1 - share)

    return place, [10.0**power for power in range(first, last + 1)]


def _time_plot(bins: Sequence[TimeBin]) -> str:
    if not bins:
        return "<p>No requests.</p>"
    place, ticks = _log_scale(max(1e-3, min(one.p50_ms for one in bins)), max(one.max_ms for one in bins))
    end = max(bins[-1].at_s, 1e-3)
    inner = WIDTH - LEFT - 10

    def across(at_s: float) -> float:
        return LEFT + inner * at_s / end

    parts = [_grid(place(tick), f"{tick:g} ms") for tick in ticks]
    values = ([one.p50_ms for one in bins], [one.p99_ms for one in bins], [one.max_ms for one in bins])
    for number, ((name, color), series) in enumerate(zip(LINES, values, strict=True)):
        points = " ".join(f"{across(b.at_s):.1f},{place(v):.1f}" for b, v in zip(bins, series, strict=True))
        parts.append(f'<polyline fill="none" stroke="{color}" stroke-width="1.6" points="{points}"/>')
        parts.append(f'<text x="{LEFT + 8 + 48 * number}" y="{TOP + 12}" style="fill:{color}">{name}</text>')
    for share in range(5):
        at_s = end * share / 4
        parts.append(f'<text x="{across(at_s):.1f}" y="{HEIGHT - 12}" text-anchor="middle">{at_s:.1f} s</text>')
    return _svg(parts, "latency percentiles over time")


def _bar_plot(bars: Sequence[Bar]) -> str:
    if not bars:
        return "<p>No requests.</p>"
    most = max(bar.count for bar in bars)
    inner = WIDTH - LEFT - 10
    width = inner / len(bars)
    parts = [_grid(TOP + (HEIGHT - TOP - BOTTOM) * (1 - share), f"{most * share:,.0f}") for share in (0, 0.5, 1)]
    for number, bar in enumerate(bars):
        height = (HEIGHT - TOP - BOTTOM) * bar.count / most
        left = LEFT + number * width
        title = f"{milliseconds(bar.low_ms)} to {milliseconds(bar.high_ms)} ms: {bar.count:,}"
        parts.append(
            f'<rect x="{left + 1:.1f}" y="{HEIGHT - BOTTOM - height:.1f}" width="{max(1.0, width - 2):.1f}" '
            f'height="{height:.1f}" fill="#2a6f97"><title>{title}</title></rect>'
        )
        parts.append(f'<text x="{left:.1f}" y="{HEIGHT - 12}" text-anchor="middle">{milliseconds(bar.low_ms)}</text>')
    return _svg(parts, "requests by latency in milliseconds")


def _grid(y: float, label: str) -> str:
    line = f'<line x1="{LEFT}" x2="{WIDTH - 10}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>'
    return f'{line}<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{label}</text>'


def _svg(parts: Sequence[str], label: str) -> str:
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">{"".join(parts)}</svg>'
