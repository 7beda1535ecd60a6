"""The arithmetic and the pages of a load test's report."""

from __future__ import annotations

import io
import math
import re
from xml.etree import ElementTree

import msgspec
import pytest
from rich.console import Console

from runtime.loadtest.html_report import page_of
from runtime.loadtest.latencies import histogram, latencies, lateness, over_time, percentile, summarize
from runtime.loadtest.observations import Seen, Verb
from runtime.loadtest.oracle import Account, Promise, Verdict
from runtime.loadtest.report import show
from runtime.loadtest.schedule import Behaviour, Buyer, Sale
from runtime.loadtest.session import Outcome


def seen(number: int, scheduled: float, answered: float, asked: float | None = None, **more: object) -> Seen:
    sent = scheduled if asked is None else asked
    return Seen(number, Verb.RESERVE, scheduled, sent, sent, answered, 201, **more)  # type: ignore[arg-type]


def test_percentiles_are_by_nearest_rank() -> None:
    ordered = [float(number) for number in range(1, 1001)]
    assert [percentile(ordered, rank) for rank in (50, 90, 99, 99.9, 100)] == [500, 900, 990, 999, 1000]
    assert percentile([7.0], 50) == percentile([7.0], 99.9) == 7
    assert math.isnan(percentile([], 50))
    assert summarize([0.002, 0.001]).ms == (1, 2, 2, 2, 2)


def test_latency_counts_from_the_scheduled_instant_to_the_final_answer() -> None:
    lost = seen(0, 1.0, 1.5, asked=1.2, final=False)
    repeated = msgspec.structs.replace(lost, sent_s=2.0, asked_s=2.0, answered_s=2.5, repeat=1, final=True)
    assert latencies([lost, repeated], Verb.RESERVE) == [1.5]
    assert lateness([lost, repeated]) == [pytest.approx(0.2)]


def test_a_stall_shows_in_every_request_it_delayed() -> None:
    """A generator that waited for the stall to end would send one slow request; ours has sent them all."""
    points = [seen(number, number / 100, max(number / 100 + 0.001, 1.0)) for number in range(100)]
    assert summarize(latencies(points, Verb.RESERVE)).ms[0] == pytest.approx(500, abs=1)


def test_histogram_bars_hold_every_request() -> None:
    bars = histogram([0.001, 0.0011, 0.01, 1.0])
    assert sum(bar.count for bar in bars) == 4
    assert all(bar.high_ms == pytest.approx(bar.low_ms * 10**0.2) for bar in bars)
    assert histogram([]) == []


def test_time_bins_hold_every_request() -> None:
    points = [seen(number, number / 50, number / 50 + 0.002) for number in range(500)]
    bins = over_time(points, Verb.RESERVE)
    assert sum(one.count for one in bins) == 500
    assert all(one.p50_ms == pytest.approx(2) for one in bins)
    assert over_time([], Verb.RESERVE) == []


@pytest.fixture(params=[True, False], ids=["kept", "broken"])
def outcome(request: pytest.FixtureRequest) -> Outcome:
    objections = () if request.param else tuple(f"<script>{number}</script>" for number in range(9))
    promises = (Promise("oversold 0", "never more than there is", objections),)
    return Outcome(
        sale=Sale("R", 3, 2, 10, 5, 0.5, 42),
        buyers=[Buyer(number, number / 10, Behaviour.CONFIRM, 1, 0.1) for number in range(3)],
        seen=[seen(0, 0, 0.002), seen(1, 0.1, 0.15, code=""), seen(2, 0.2, 0.201)],
        verdict=Verdict(promises, Account(3, 0, 2, 2, 0, 1, 0, 2)),
        processes=1,
        took_s=0.3,
    )


def test_the_terminal_report_shows_the_figures_and_the_verdict(outcome: Outcome) -> None:
    console = Console(file=io.StringIO(), width=140)
    show(console, outcome)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    for word in ("p50", "p90", "p99", "p99.9", "max", "generator late", "oversold", "undersold", "█"):
        assert word in text
    assert ("kept" in text) == outcome.verdict.kept
    assert ("broken, 9 objections" in text) != outcome.verdict.kept


def test_the_html_report_is_whole_and_loads_nothing(outcome: Outcome) -> None:
    page = page_of(outcome)
    assert not re.search(r"https?://|src=|@import|url\(|<script|<link", page.replace("<svg", ""))
    assert ("every promise kept" in page) == outcome.verdict.kept
    for drawing in re.findall(r"<svg.*?</svg>", page, re.DOTALL):
        ElementTree.fromstring(drawing)  # noqa: S314 - our own
    assert page.count("<svg") == 2
    assert "NaN" not in page
