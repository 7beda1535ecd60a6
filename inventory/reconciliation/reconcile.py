"""One reconciliation: Redis, chunk by chunk under load, against what the ledger and the journal say it must hold.

Owns the comparison; never changes anything (repair.py does).

Each chunk of Redis is read together with the sequence number at that instant, and the shadow is moved along the journal
to exactly that number before anything is compared. So nothing has to stand still, and a difference is never a matter of
timing: it was there at that event.
"""

from __future__ import annotations

import asyncio
import time
from typing import Final, Literal

from engine.commands import parse_lines
from engine.identity import make_id
from engine.results import Record
from engine.store_reader import CHUNK, Counters, Deadline, Moment, StoreReader
from inventory.context import PARTITION, Inventory
from inventory.reconciliation import ledger_checks
from inventory.reconciliation.findings import Counter, Drift, Findings, Reconciliation
from inventory.reconciliation.following import Follower, JournalTrimmed, load
from inventory.reconciliation.journal_check import check_journal
from inventory.reconciliation.shadow import Shadow, ShadowHold, sorted_text
from inventory.refusals import ReconciliationUnknown
from persistence.queries import drift_repairs

Depth = Literal["live", "levels", "deep"]
"""How much of Postgres is walked; counters and live holds are always looked at as a whole. `live`: a sample of levels
against their newest ledger rows. `levels`: all of them. `deep`: every ledger row, every reservation, every record."""

OVERSOLD: Final = "more is reserved than there is"
UNFINISHED_AFTER_S: Final = 60.0
"""A repair that takes longer was cut off in the middle: its drift is reported again."""
WITHOUT_PAUSE: Final = 2_000
"""Comparisons after which others on the event loop get their turn."""
ATTEMPTS: Final = 3
"""How often a run begins anew when the journal was trimmed under it."""


class Reconciled(Reconciliation, frozen=True, kw_only=True):
    """An outcome together with the shadow it was judged by, for whoever repairs."""

    shadow: Shadow


async def reconcile(inventory: Inventory, depth: Depth = "live", *, timeout_s: float = 120.0) -> Reconciled:
    """Hold counters, live holds, journal and ledger against each other.

    Redis is never held for more than a few milliseconds, Postgres never with a long statement. Memory: some 500 bytes a
    SKU and a hold while it runs. Raises ReconciliationUnknown when there can be no verdict, or none within
    `timeout_s`; Unavailable, DatabaseUnavailable.
    """
    try:
        async with asyncio.timeout(timeout_s):
            for _ in range(ATTEMPTS - 1):
                try:
                    return await _Run(inventory, depth).run()
                except JournalTrimmed:
                    # The flusher trims behind its cursor: a new snapshot begins where the journal still goes on.
                    continue
            return await _Run(inventory, depth).run()
    except TimeoutError:
        raise ReconciliationUnknown(f"No verdict within {timeout_s:g} s.") from None


class _Run:
    """One attempt."""

    def __init__(self, inventory: Inventory, depth: Depth) -> None:
        self._database = inventory.database
        self._reader: StoreReader = inventory.engine.store_reader()
        self._depth = depth
        self._follower: Follower
        self._shadow: Shadow
        self._moment: Moment
        self._bounds = Findings("1", "0 <= reserved <= on_hand for every SKU")
        self._reserved = Findings("2", "reserved is what the live holds add up to")
        self._holds = Findings("2", "live holds in Redis are the ACTIVE reservations, lines and deadline alike")
        self._ledger_reserved = Findings("2", "reserved in Postgres is what its ACTIVE reservations add up to")
        self._on_hand = Findings("3", "on_hand is what ledger and journal add up to")
        self._told: set[str] = set()
        """Holds that were found to differ: a walk may come by one twice."""

    async def run(self) -> Reconciled:
        """All of it."""
        began = time.monotonic()
        deep = self._depth == "deep"
        self._follower, ledger_reserved = await load(self._database, self._reader, PARTITION, deep=deep)
        self._shadow = self._follower.shadow
        await self._check_ledger_reserved(ledger_reserved)
        ledger_seq = self._shadow.seq
        await self._reach(await self._reader.moment())
        lag = self._moment.seq - ledger_seq
        await self._check_counters()
        await self._check_holds()
        self._check_breaks()
        checks = [self._bounds, self._holds, self._reserved, self._ledger_reserved, self._on_hand]
        if deep:
            checks.append(await self._check_records())
            checks.append(await check_journal(self._reader))
        checks.append(await self._check_repairs())
        checks += await ledger_checks.run(self._database, list(self._shadow.on_hand), self._depth)
        return Reconciled(
            epoch=self._shadow.epoch,
            seq=self._shadow.seq,
            as_of_ms=self._moment.now_ms,
            took_ms=round((time.monotonic() - began) * 1000),
            journal_lag_events=lag,
            checked_skus=self._on_hand.looked_at,
            checked_holds=self._holds.looked_at,
            deep=deep,
            checks=tuple(check.check() for check in checks),
            shadow=self._shadow,
        )

    async def _reach(self, moment: Moment) -> None:
        await self._follower.reach(moment)
        self._moment = moment

    async def _check_ledger_reserved(self, ledger_reserved: dict[str, int]) -> None:
        check = self._ledger_reserved
        held = self._shadow.reserved
        for sku, reserved in ledger_reserved.items():
            check.looked_at += 1
            if check.looked_at % WITHOUT_PAUSE == 0:
                await asyncio.sleep(0)
            if reserved != held.get(sku, 0):
                check.add(Drift(counter="ledger_reserved", sku=sku, expected=held.get(sku, 0), actual=reserved))

    async def _check_counters(self) -> None:
        seen: set[str] = set()
        cursor, first = 0, True
        while cursor or first:
            chunk = await self._reader.counters(cursor)
            cursor, first = chunk.cursor, False
            await self._reach(chunk.moment)
            for counters in chunk.items:
                if counters.sku not in seen:
                    seen.add(counters.sku)
                    self._compare_counters(counters)
        # A SKU that is made while the walk goes on may come or not; so those are looked at once more, by name.
        await asyncio.sleep(0)
        unseen = [sku for sku in self._shadow.on_hand if sku not in seen]
        for start in range(0, len(unseen), CHUNK):
            wanted = unseen[start : start + CHUNK]
            again = await self._reader.counters_of(wanted)
            await self._reach(again.moment)
            for counters in again.items:
                self._compare_counters(counters)
            for sku in set(wanted) - {counters.sku for counters in again.items}:
                self._on_hand.add(
                    Drift(
                        counter="counter", sku=sku, expected=self._shadow.on_hand[sku], actual=0, detail="not in Redis"
                    )
                )
        self._bounds.looked_at = self._reserved.looked_at = self._on_hand.looked_at = len(seen) + len(unseen)

    def _compare_counters(self, found: Counters) -> None:
        sku = found.sku
        if found.on_hand < 0:
            self._on_hand.add(
                Drift(
                    counter="counter",
                    sku=sku,
                    expected=self._shadow.on_hand.get(sku, 0),
                    actual=0,
                    detail="the field in Redis cannot be read",
                )
            )
            return
        if found.reserved > found.on_hand:
            self._bounds.add(
                Drift(
                    counter="reserved",
                    sku=sku,
                    expected=found.on_hand,
                    actual=found.reserved,
                    detail=OVERSOLD,
                )
            )
        reserved = self._shadow.reserved.get(sku, 0)
        if found.reserved != reserved:
            self._reserved.add(Drift(counter="reserved", sku=sku, expected=reserved, actual=found.reserved))
        on_hand = self._shadow.expected_on_hand(sku)
        if on_hand is None:
            self._on_hand.add(
                Drift(counter="counter", sku=sku, expected=0, actual=found.on_hand, detail="not in the ledger")
            )
        elif found.on_hand != on_hand:
            breaks = self._shadow.breaks.get(sku)
            since = f"since event {breaks[0].seq}" if breaks else ""
            self._on_hand.add(Drift(counter="on_hand", sku=sku, expected=on_hand, actual=found.on_hand, detail=since))

    def _check_breaks(self) -> None:
        """Drift that came and went again leaves the counters right, but the journal with a break: the flusher halts."""
        known = {drift.sku for drift in self._on_hand.drift} | self._shadow.allowed.keys()
        for sku, breaks in self._shadow.breaks.items():
            if sku not in known and not self._shadow.bad_events:
                self._on_hand.add(
                    Drift(
                        counter="journal",
                        sku=sku,
                        expected=0,
                        actual=breaks[0].difference,
                        detail=f"on_hand in the journal was off between event {breaks[0].seq} and {breaks[-1].seq}",
                    )
                )

    async def _check_holds(self) -> None:
        shadow, check = self._shadow, self._holds
        # A hold that lives from start to end of the walk must come up in it; else it was amended, or is missing.
        unseen: set[str] = set()
        for reservation_id in shadow.holds:
            unseen.add(reservation_id)
            if len(unseen) % WITHOUT_PAUSE == 0:
                await asyncio.sleep(0)
        cursor, first = 0, True
        while cursor or first:
            chunk = await self._reader.deadlines(cursor)
            cursor, first = chunk.cursor, False
            await self._reach(chunk.moment)
            for found in chunk.items:
                check.looked_at += 1
                unseen.discard(found.reservation_id)
                self._compare_hold(found)
        for reservation_id in unseen:
            held = shadow.holds.get(reservation_id)
            if held is None:
                continue
            at_deadline = await self._reader.deadlines_at(held.deadline_ms)
            await self._reach(at_deadline.moment)
            # It may have ended or changed by that moment, and then its story is told by other events.
            if shadow.holds.get(reservation_id) is held and reservation_id not in {
                found.reservation_id for found in at_deadline.items
            }:
                self._differ("hold", reservation_id, held.lines, "", "ACTIVE in the ledger, no deadline in Redis")

    def _compare_hold(self, found: Deadline) -> None:
        held = self._shadow.holds.get(found.reservation_id)
        if held is not None and found.deadline_ms == held.deadline_ms and sorted_text(found.lines) == held.lines:
            return
        if found.reservation_id in self._told:
            return
        self._told.add(found.reservation_id)
        if held is None:
            self._differ("hold", found.reservation_id, "", found.lines, "a deadline in Redis, not ACTIVE in the ledger")
            return
        if sorted_text(found.lines) != held.lines:
            self._differ("hold", found.reservation_id, held.lines, found.lines, "other lines")
        if found.deadline_ms != held.deadline_ms:
            self._holds.add(
                Drift(
                    counter="deadline",
                    reservation_id=found.reservation_id,
                    expected=held.deadline_ms,
                    actual=found.deadline_ms,
                )
            )

    def _differ(self, counter: Counter, reservation_id: str, expected: str, actual: str, detail: str) -> None:
        for drift in line_drifts(counter, reservation_id, expected, actual, detail):
            self._holds.add(drift)

    async def _check_repairs(self) -> Findings:
        check = Findings("3", "repairs that were begun are done")
        for begun in await drift_repairs.unfinished(self._database, PARTITION, self._shadow.epoch):
            check.looked_at += 1
            if begun.age_s > UNFINISHED_AFTER_S:
                for sku, on_hand_change, _ in begun.lines:
                    check.add(
                        Drift(
                            counter="repair",
                            sku=sku,
                            expected=0,
                            actual=-on_hand_change,
                            detail=f"repair {begun.id} was begun and not finished",
                        )
                    )
        return check

    async def _check_records(self) -> Findings:
        """Every record that says ACTIVE is a live hold with the same lines. Records age out by themselves."""
        check = Findings("2", "records that say ACTIVE are live holds, lines and deadline alike")
        cursor, first = 0, True
        while cursor or first:
            names, cursor = await self._reader.record_names(cursor)
            first = False
            for start in range(0, len(names), CHUNK):
                chunk = await self._reader.active_records(names[start : start + CHUNK])
                await self._reach(chunk.moment)
                for base, record in chunk.items:
                    check.looked_at += 1
                    for drift in self._record_drifts(base, record):
                        check.add(drift)
        return check

    def _record_drifts(self, base: str, record: Record | None) -> list[Drift]:
        if record is None:
            return [Drift(counter="record", reservation_id=base, expected=0, actual=0, detail="cannot be read")]
        reservation_id = make_id(base, record.created_ms)
        held = self._shadow.holds.get(reservation_id, ShadowHold("", 0))
        drifts = line_drifts("record", reservation_id, held.lines, record.lines, "its record in Redis")
        if held.lines and held.deadline_ms != record.deadline_ms:
            drifts.append(
                Drift(
                    counter="deadline",
                    reservation_id=reservation_id,
                    expected=held.deadline_ms,
                    actual=record.deadline_ms,
                    detail="its record in Redis",
                )
            )
        return drifts


def line_drifts(counter: Counter, reservation_id: str, expected: str, actual: str, detail: str) -> list[Drift]:
    """Where two sets of lines differ, a difference a SKU."""
    try:
        held = dict(parse_lines(actual))
    except ValueError:
        return [Drift(counter=counter, reservation_id=reservation_id, expected=0, actual=0, detail="cannot be read")]
    wanted = dict(parse_lines(expected))
    return [
        Drift(
            counter=counter,
            sku=sku,
            expected=wanted.get(sku, 0),
            actual=held.get(sku, 0),
            reservation_id=reservation_id,
            detail=detail,
        )
        for sku in sorted(wanted.keys() | held.keys())
        if wanted.get(sku, 0) != held.get(sku, 0)
    ]
