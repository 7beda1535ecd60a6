"""One replay from file to verdict: read, clean, plan, play, wait for the ledger, compare.

Owns the order of these. Never parses a row, sends a request or judges a number itself.
"""

from __future__ import annotations

import secrets
import time
from collections import Counter
from pathlib import Path

from msgspec import Struct
from rich.console import Console

from runtime.replay import report
from runtime.replay.cleaning import Line, Skipped, clean
from runtime.replay.comparison import compare, read_actual, read_baseline
from runtime.replay.independent_sum import Expected, add_up
from runtime.replay.order_file import OrderFileError, read_rows
from runtime.replay.plan import Plan, make_plan
from runtime.replay.second_person import SecondPerson
from runtime.replay.shop import Shop
from runtime.service_client import ServiceClient
from runtime.throwaway_service import ServiceAddress


def clean_file(path: Path) -> tuple[int, list[Line], Counter[str]]:
    """The rows of a file, the lines that move stock, and what was dirty by kind. Raises OrderFileError."""
    rows = read_rows(path)
    lines: list[Line] = []
    dirt: Counter[str] = Counter()
    for row in rows:
        cleaned = clean(row)
        if isinstance(cleaned, Skipped):
            dirt[f"left out: {cleaned.value}"] += 1
        else:
            lines.append(cleaned)
            dirt.update(mended.value for mended in cleaned.mended)
    if not lines:
        raise OrderFileError(f"{path.name} holds no row that moves stock")
    return len(rows), lines, dirt


class Prepared(Struct, frozen=True):
    """A file that can be played."""

    name: str
    rows: int
    plan: Plan
    expected: Expected
    dirt: Counter[str]


def prepare(path: Path) -> Prepared:
    """Read, clean, plan and add up a file, before any service is touched. Raises OrderFileError."""
    count, lines, dirt = clean_file(path)
    return Prepared(path.name, count, make_plan(lines), add_up(lines), dirt)


async def replay(file: Prepared, service: ServiceAddress, concurrency: int, console: Console) -> bool:
    """Play `file` against `service`, `concurrency` requests at a time. True if everything agrees.

    Raises ServiceError when the service cannot be used.
    """
    plan, expected = file.plan, file.expected
    report.show_file(console, file.name, file.rows, plan, file.dirt)
    run = secrets.token_hex(6)
    async with (
        ServiceClient(service.url, service.admin_key, connections=concurrency) as admin,
        ServiceClient(service.url, service.storefront_key, connections=concurrency) as storefront,
        SecondPerson(admin, service.url, run) as second_person,
    ):
        await admin.wait_ready()
        baseline = await read_baseline(admin, expected.skus, concurrency)
        started = time.monotonic()
        with report.ProgressBars(console) as progress:
            shop = Shop(admin, storefront, second_person, run, concurrency=concurrency, progress=progress)
            await shop.open(plan.products, baseline.counters)
            opened = time.monotonic()
            await shop.trade(plan)
            await shop.wait_for_ledger()
            traded = time.monotonic()
        actual = await read_actual(admin, baseline, expected.skus, concurrency)
        comparison = compare(expected, baseline, actual)
        timing = report.Timing(
            open_s=opened - started,
            trade_s=traded - opened,
            compare_s=time.monotonic() - traded,
            requests=admin.requests + storefront.requests,
            repeats=admin.repeats + storefront.repeats,
        )
    report.show_played(console, shop.played, timing)
    report.show_comparison(console, expected, comparison)
    return comparison.agrees and not shop.played.refusals
