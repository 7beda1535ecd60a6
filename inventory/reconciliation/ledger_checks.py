"""Postgres against itself: each level is where the SKU's ledger rows end, and those rows follow one another.

Owns how much is looked at and what counts as a difference; the statements stand in persistence/queries.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from inventory.context import PARTITION
from inventory.reconciliation.findings import Drift, Findings
from persistence.queries import reconciliation as ledger

if TYPE_CHECKING:
    from inventory.reconciliation.reconcile import Depth
    from persistence.database import Database

SAMPLE: Final = 2_000
"""SKUs of one statement, and of a run that only samples: some 20 ms of Postgres."""
WALKED: Final = 200
"""SKUs whose every row one statement reads."""


async def run(database: Database, skus: Sequence[str], depth: Depth) -> list[Findings]:
    """The checks of this depth. Raises DatabaseUnavailable."""
    if depth == "deep":
        return await _every_row(database)
    return [await _newest_rows(database, skus, everything=depth == "levels")]


async def _newest_rows(database: Database, skus: Sequence[str], *, everything: bool) -> Findings:
    check = Findings("3", "levels in Postgres are where the newest ledger rows end")
    # A sample begins anywhere, so that runs one after another come by every SKU.
    after = "" if everything or len(skus) <= SAMPLE else secrets.choice(skus)
    while found := await ledger.newest_balances(database, PARTITION, after, SAMPLE):
        for sku, on_hand, newest in found:
            check.looked_at += 1
            if on_hand != newest:
                check.add(Drift(counter="ledger_balance", sku=sku, expected=newest, actual=on_hand))
        after = found[-1][0]
        if not everything:
            break
    return check


async def _every_row(database: Database) -> list[Findings]:
    ends = Findings("3", "levels in Postgres are where the newest ledger rows end")
    sums = Findings("3", "ledger quantities of a SKU add up to its level")
    chain = Findings("6", "each ledger row begins where the SKU's row before it ended")
    after = ""
    while skus := await ledger.next_skus(database, PARTITION, after, WALKED):
        for balance in await ledger.balances(database, PARTITION, skus):
            ends.looked_at += 1
            sums.looked_at += 1
            chain.looked_at += balance.rows
            if balance.on_hand != balance.newest:
                ends.add(
                    Drift(counter="ledger_balance", sku=balance.sku, expected=balance.newest, actual=balance.on_hand)
                )
            if balance.total != balance.on_hand:
                sums.add(Drift(counter="ledger_sum", sku=balance.sku, expected=balance.on_hand, actual=balance.total))
            if balance.breaks:
                chain.add(
                    Drift(
                        counter="ledger_chain",
                        sku=balance.sku,
                        expected=0,
                        actual=balance.breaks,
                        detail=f"rows that do not follow, the first at event {balance.broken_at}",
                    )
                )
        after = skus[-1]
    quarantine = Findings("5", "no event is in quarantine")
    quarantine.looked_at = quarantined = await ledger.quarantined(database, PARTITION)
    if quarantined:
        quarantine.add(Drift(counter="quarantine", expected=0, actual=quarantined))
    return [ends, sums, chain, quarantine]
