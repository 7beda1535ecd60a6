"""Holding a service against the sums of the file: live counters, Postgres levels and every new ledger row, by SKU.

Owns what counts as agreement. Compares changes since a baseline, so that a shop with stock of its own can be played on,
as long as nothing else moves the same SKUs meanwhile.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from msgspec import Struct

from runtime.at_a_time import at_a_time
from runtime.replay.independent_sum import Expected
from runtime.service_client import ServiceClient, Transaction

TRANSACTION_TYPES: Final = ("IN", "OUT", "RETURN", "DAMAGE", "ADJUSTMENT")


class Stock(Struct, frozen=True):
    """Units of one SKU."""

    on_hand: int = 0
    reserved: int = 0


class Baseline(Struct, frozen=True):
    """What there was before."""

    counters: Mapping[str, Stock]
    """Live counters of the file's SKUs that existed."""
    newest_transaction: str | int | None


class Actual(Struct, frozen=True):
    """What there is after."""

    counters: Mapping[str, Stock]
    """Live, out of Redis."""
    levels: Mapping[str, Stock]
    """As Postgres has them."""
    transactions: Sequence[Transaction]
    """New ledger rows of all SKUs, oldest first."""


class SkuComparison(Struct, frozen=True):
    """One SKU. Changes since the baseline, in units."""

    sku: str
    expected: int
    counters: int
    levels: int
    ledger: int
    reserved: int
    """Units still reserved beyond the baseline; 0 expected."""
    ledger_by_type: Mapping[str, int]
    """Transaction type -> units booked."""
    differences: tuple[str, ...]


class Comparison(Struct, frozen=True):
    """The verdict."""

    skus: tuple[SkuComparison, ...]
    transactions: int
    """New ledger rows of these SKUs."""

    @property
    def differing(self) -> tuple[SkuComparison, ...]:
        """SKUs that do not agree."""
        return tuple(one for one in self.skus if one.differences)

    @property
    def agrees(self) -> bool:
        """True if every SKU agrees everywhere."""
        return not self.differing


async def read_counters(client: ServiceClient, skus: Sequence[str], concurrency: int) -> dict[str, Stock]:
    """Live counters of the SKUs that exist."""
    found: dict[str, Stock] = {}

    async def look(sku: str) -> None:
        status = await client.status_or_none(sku)
        if status is not None:
            found[sku] = Stock(status.on_hand, status.reserved)

    await at_a_time(concurrency, skus, look)
    return found


async def read_baseline(client: ServiceClient, skus: Sequence[str], concurrency: int) -> Baseline:
    """What there is before the play."""
    newest = await client.newest_transaction()
    return Baseline(await read_counters(client, skus, concurrency), newest)


async def read_actual(client: ServiceClient, baseline: Baseline, skus: Sequence[str], concurrency: int) -> Actual:
    """What there is after it. The ledger must have caught up (Shop.wait_for_ledger)."""
    counters = await read_counters(client, skus, concurrency)
    transactions = await client.transactions_after(baseline.newest_transaction)
    levels = {level.sku: Stock(level.on_hand, level.reserved) for level in await client.levels()}
    return Actual(counters, levels, transactions)


def compare(expected: Expected, baseline: Baseline, actual: Actual) -> Comparison:
    """Hold counters, levels and ledger against the sums of the file, SKU by SKU."""
    rows: dict[str, list[Transaction]] = {sku: [] for sku in expected.skus}
    for row in actual.transactions:
        if row.sku in rows:
            rows[row.sku].append(row)
    documents = _by_sku(expected.by_document)
    return Comparison(
        tuple(
            _compare_sku(sku, expected, baseline.counters.get(sku, Stock()), actual, rows[sku], documents.get(sku, {}))
            for sku in expected.skus
        ),
        sum(len(own) for own in rows.values()),
    )


def _by_sku(by_document: Mapping[tuple[str, str, str], int]) -> dict[str, dict[tuple[str, str], int]]:
    found: dict[str, dict[tuple[str, str], int]] = {}
    for (kind, document, sku), units in by_document.items():
        found.setdefault(sku, {})[kind, document] = units
    return found


def _compare_sku(  # noqa: PLR0917
    sku: str,
    expected: Expected,
    before: Stock,
    actual: Actual,
    rows: Sequence[Transaction],
    documents: Mapping[tuple[str, str], int],
) -> SkuComparison:
    counters = actual.counters.get(sku, Stock())
    level = actual.levels.get(sku, Stock())
    change = expected.change_of(sku)
    ledger = sum(row.quantity for row in rows)
    differences = []
    for name, found in (
        ("counters", counters.on_hand - before.on_hand),
        ("levels", level.on_hand - before.on_hand),
        ("ledger", ledger),
    ):
        if found != change:
            differences.append(f"{name}: {found:+d} instead of {change:+d}")
    for name, stock in (("counters", counters), ("levels", level)):
        if stock.reserved != before.reserved:
            differences.append(f"{name}: {stock.reserved - before.reserved:+d} still reserved")
    differences += _type_differences(sku, expected, rows)
    differences += _document_differences(documents, rows)
    differences += _chain_differences(before.on_hand, counters.on_hand, rows)
    return SkuComparison(
        sku=sku,
        expected=change,
        counters=counters.on_hand - before.on_hand,
        levels=level.on_hand - before.on_hand,
        ledger=ledger,
        reserved=counters.reserved - before.reserved,
        ledger_by_type=_by_type(rows),
        differences=tuple(differences),
    )


def _by_type(rows: Iterable[Transaction]) -> Counter[str]:
    found: Counter[str] = Counter()
    for row in rows:
        found[row.transaction_type] += row.quantity
    return found


def _type_differences(sku: str, expected: Expected, rows: Iterable[Transaction]) -> list[str]:
    found = _by_type(rows)
    wanted = {kind: expected.by_type.get((sku, kind), 0) for kind in TRANSACTION_TYPES}
    return [
        f"ledger {kind}: {found[kind]:+d} instead of {wanted.get(kind, 0):+d}"
        for kind in sorted({*found, *wanted})
        if found[kind] != wanted.get(kind, 0)
    ]


def _document_differences(documents: Mapping[tuple[str, str], int], rows: Iterable[Transaction]) -> list[str]:
    """Each invoice must stand in the ledger with its own units: two mistakes that cancel out are still two."""
    kinds = {kind for kind, _ in documents} | {"OUT", "RETURN"}
    found: Counter[tuple[str, str]] = Counter()
    for row in rows:
        if row.transaction_type in kinds:
            found[row.transaction_type, row.reference_id or ""] += row.quantity
    return [
        f"ledger {kind} of {document or 'no order'}: "
        f"{found.get((kind, document), 0):+d} instead of {documents.get((kind, document), 0):+d}"
        for kind, document in sorted({*found, *documents})
        if found.get((kind, document), 0) != documents.get((kind, document), 0)
    ]


def _chain_differences(before: int, after: int, rows: Sequence[Transaction]) -> list[str]:
    stock = before
    for row in rows:
        if row.previous_stock != stock or row.new_stock != stock + row.quantity:
            step = f"{row.previous_stock} {row.quantity:+d} -> {row.new_stock}"
            return [f"ledger row {row.id}: {step} does not follow {stock}"]
        stock = row.new_stock
    return [] if stock == after else [f"the last ledger row leaves {stock}, the counters say {after}"]
