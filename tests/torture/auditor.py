"""Judges a run: everything that was answered must be in the stores exactly once, and nothing else may be there.

Owns the comparison of what the buyers saw with what ledger, journal and counters say; asks nobody anything.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

from engine.events import Amended, Confirmed, Event, Expired, Released, Reserved, event_lines
from tests.torture.calls import Allowed, Answered, Call, lines_of
from tests.torture.evidence import Evidence, StoredReservation

ENDS = {"confirm": "COMPLETED", "order": "COMPLETED", "release": "CANCELLED"}


class Auditor:
    """One run's judge. `objections` is empty when every promise was kept."""

    def __init__(
        self,
        calls: Sequence[Call],
        stock: dict[str, int],
        evidence: Evidence,
        since: tuple[int, int],
        allowed: Allowed,
        corrections: dict[str, int] | None = None,
    ) -> None:
        """`stock`: what each SKU began with. `corrections`: units by which a repair changed on_hand, a SKU."""
        self._calls = [self._as_believed(call, allowed) for call in calls]
        self._stock = stock
        self._evidence = evidence
        self._since = since
        self._allowed = allowed
        self._corrections = corrections or {}
        self._by_id = {one.id: one for one in evidence.reservations}
        self.objections: list[str] = []

    @staticmethod
    def _as_believed(call: Call, allowed: Allowed) -> Call:
        """A call whose answer may be forgotten counts as one without an answer."""
        tries = [
            Answered(one.sent_s, one.answered_s, 0, "", None, False) if allowed.forgets(call, one) else one
            for one in call.tries
        ]
        return Call(call.number, call.verb, call.keyed, call.lines, call.reservation_ids, call.order_id, tries)

    def judge(self) -> list[str]:
        self._check_answers()
        self._check_reservations()
        self._check_sales()
        self._check_adjustments()
        self._check_cancelled_orders()
        self._check_ledger()
        self._check_journal()
        return self.objections

    def _object(self, text: str) -> None:
        self.objections.append(text)

    # --- answers among themselves --------------------------------------------------------------------------------

    def _check_answers(self) -> None:
        """No answer is a mistake of the service's, and a repeat gives the first answer again."""
        for call in self._calls:
            for one in call.tries:
                if one.status == 500:
                    self._object(f"call {call.number} ({call.verb}): 500 {one.body}")
                if one.status == 503 and not one.code:
                    self._object(f"call {call.number} ({call.verb}): 503 without a code")
            done = [one for one in call.tries if one.outcome == "done"]
            if call.verb in ("reserve", "adjust") and call.keyed:
                for first, again in pairwise(done):
                    if not _same_answer(first.body, again.body):
                        self._object(
                            f"call {call.number} ({call.verb}): a repeat answered {again.body}, "
                            f"the first was {first.body}"
                        )
            if call.verb == "reserve" and done and lines_of(done[0].body) != call.lines:
                self._object(f"call {call.number}: asked for {call.lines}, answered {lines_of(done[0].body)}")

    # --- reservations --------------------------------------------------------------------------------------------

    def _check_reservations(self) -> None:
        of_cart: dict[str, list[StoredReservation]] = defaultdict(list)
        for stored in self._evidence.reservations:
            of_cart[stored.cart_id.rpartition("-")[2]].append(stored)
        known = {str(call.number) for call in self._calls if call.verb == "reserve"}
        for cart in sorted(of_cart.keys() - known):
            self._object(f"reservation {of_cart[cart][0].id} was asked for by nobody")
        for call in self._calls:
            if call.verb != "reserve":
                continue
            found = of_cart.get(str(call.number), [])
            if len(found) > 1:
                self._object(f"call {call.number}: one wish, {len(found)} reservations")
            if call.done is None:
                if found and not self._may_have_happened(call):
                    self._object(f"call {call.number}: refused, yet there is reservation {found[0].id}")
            elif not any(one.id == call.done.body["id"] for one in found):
                self._object(f"call {call.number}: acknowledged reservation {call.done.body['id']} is lost")
        for stored in self._evidence.reservations:
            self._check_story(stored)

    @staticmethod
    def _may_have_happened(call: Call) -> bool:
        """A keyed wish whose last word, when all was well again, was a refusal has not happened."""
        if not call.may_have_happened:
            return False
        return not (call.keyed and call.tries[-1].outcome == "refused" and call.tries[-1].status != 503)

    def _check_story(self, stored: StoredReservation) -> None:
        """Its end and its lines are what its calls allow."""
        about = [call for call in self._calls if stored.id in call.reservation_ids]
        lines = [call.lines for call in self._calls if f"-{call.number}" == f"-{stored.cart_id.rpartition('-')[2]}"]
        candidates = lines[:1]
        ends = {"EXPIRED"}
        sure = set()
        for call in about:
            if call.verb == "amend":
                if call.done is not None:
                    candidates = [call.lines]
                elif self._may_have_happened(call):
                    candidates.append(call.lines)
            elif call.verb in ENDS:
                if call.done is not None:
                    sure.add(ENDS[call.verb])
                elif self._may_have_happened(call):
                    ends.add(ENDS[call.verb])
        if len(sure) > 1:
            self._object(f"{stored.id}: acknowledged as {' and as '.join(sorted(sure))}")
        elif sure and stored.status not in sure:
            self._object(f"{stored.id}: acknowledged as {', '.join(sure)}, is {stored.status}")
        elif not sure and stored.status not in ends:
            self._object(f"{stored.id}: is {stored.status}, its calls allow {sorted(ends)}")
        if stored.lines not in candidates:
            self._object(f"{stored.id}: holds {stored.lines}, its calls allow {candidates}")
        if stored.ended_before_deadline and not self._allowed.early_expiry:
            self._object(f"{stored.id}: expired before its deadline")

    # --- the ledger ----------------------------------------------------------------------------------------------

    def _check_sales(self) -> None:
        sold: dict[str, Counter[str]] = defaultdict(Counter)
        rows: Counter[tuple[str, str]] = Counter()
        for row in self._evidence.ledger:
            if row.kind == "OUT":
                sold[row.reservation_id][row.sku] -= row.quantity
                rows[row.reservation_id, row.sku] += 1
        for (reservation_id, sku), count in rows.items():
            if count > 1:
                self._object(f"{reservation_id}: {count} ledger rows of {sku}, sold twice")
            if reservation_id not in self._by_id:
                self._object(f"ledger: {sku} was sold by {reservation_id}, which is no reservation")
        for stored in self._evidence.reservations:
            expected = stored.lines if stored.status == "COMPLETED" else {}
            if dict(sold[stored.id]) != expected:
                self._object(f"{stored.id} ({stored.status}): ledger has {dict(sold[stored.id])}, expected {expected}")

    def _check_adjustments(self) -> None:
        rows: dict[str, list[Any]] = defaultdict(list)
        for row in self._evidence.ledger:
            if row.kind in ("IN", "ADJUSTMENT") and row.reference_type != "Order":
                rows[row.reference_id.rpartition("-")[2]].append(row)
        for call in self._calls:
            if call.verb != "adjust":
                continue
            found = rows.get(str(call.number), [])
            ((sku, units),) = call.lines.items()
            if len(found) > 1:
                self._object(f"call {call.number}: adjusted {len(found)} times")
            if call.done is not None and not found:
                self._object(f"call {call.number}: acknowledged adjustment of {sku} by {units} is lost")
            if call.done is None and found and not self._may_have_happened(call):
                self._object(f"call {call.number}: refused, yet {sku} was adjusted")
            if any((row.sku, row.quantity) != (sku, units) for row in found):
                self._object(f"call {call.number}: adjusted other than by {units} of {sku}")

    def _check_cancelled_orders(self) -> None:
        net: Counter[str] = Counter()
        back: Counter[str] = Counter()
        for row in self._evidence.ledger:
            if row.reference_type == "Order":
                net[row.reference_id] += row.quantity
                if row.quantity > 0:
                    back[row.reference_id] += row.quantity
        cancels = {call.order_id: call for call in self._calls if call.verb == "cancel"}
        for order_id, units in back.items():
            cancel = cancels.get(order_id)
            if cancel is None or not cancel.may_have_happened:
                self._object(f"order {order_id}: {units} units put back, nobody cancelled it")
            elif net[order_id] != 0:
                self._object(f"order {order_id}: cancelled, {net[order_id]} units off")
        for order_id, cancel in cancels.items():
            if cancel.done is not None and net[order_id] != 0:
                self._object(f"order {order_id}: cancellation acknowledged, {-net[order_id]} units not put back")

    def _check_ledger(self) -> None:
        """Each SKU's rows follow one another, none is below zero, and the counter stands where they end."""
        balances: dict[str, int] = dict.fromkeys(self._stock, 0)
        first = set()
        for row in self._evidence.ledger:
            if row.previous_stock != balances[row.sku]:
                self._object(
                    f"ledger of {row.sku}: event {row.seq} begins at {row.previous_stock}, "
                    f"the row before ended at {balances[row.sku]}"
                )
            if row.new_stock < 0:
                self._object(f"{row.sku}: oversold, {row.new_stock} at event {row.seq}")
            if row.sku not in first:
                first.add(row.sku)
                if row.quantity != self._stock[row.sku]:
                    self._object(f"{row.sku}: began with {row.quantity}, given were {self._stock[row.sku]}")
            balances[row.sku] = row.new_stock
        for sku, counter in self._evidence.counters.items():
            if counter.on_hand != balances[sku]:
                self._object(f"{sku}: on_hand {counter.on_hand} in Redis, {balances[sku]} in the ledger")
            if counter.reserved != 0:
                self._object(f"{sku}: {counter.reserved} units are held although every hold has ended")
        if self._evidence.quarantined != self._allowed.quarantined:
            self._object(f"{self._evidence.quarantined} events were set aside, expected {self._allowed.quarantined}")

    # --- the journal ---------------------------------------------------------------------------------------------

    def _check_journal(self) -> None:
        epoch, seq = self._since
        stories: dict[str, list[Event]] = defaultdict(list)
        levels: dict[str, tuple[int, int]] = {}
        for entry in self._evidence.entries:
            if entry.epoch != epoch:
                epoch, seq = entry.epoch, entry.first_seq - 1
            if entry.first_seq != seq + 1:
                self._object(f"journal: event {seq} of epoch {epoch} is followed by {entry.first_seq}")
            seq = entry.last_seq
            for event in entry.events:
                for sku, on_hand, reserved in _balances(event, self._stock):
                    if not 0 <= reserved <= on_hand:
                        self._object(f"{sku}: {reserved} held of {on_hand} at {type(event).__name__}: oversold")
                    levels[sku] = (on_hand, reserved)
                if isinstance(event, Reserved | Amended | Confirmed | Released | Expired):
                    stories[event.id].append(event)
        for stored in self._evidence.reservations:
            self._check_events(stored, stories[stored.id])

    def _check_events(self, stored: StoredReservation, story: list[Event]) -> None:
        kinds = Counter(type(event).__name__ for event in story)
        if kinds["Reserved"] != 1:
            self._object(f"{stored.id}: {kinds['Reserved']} reserve events in the journal")
        ends = kinds["Confirmed"] + kinds["Released"] + kinds["Expired"]
        if ends != 1:
            self._object(f"{stored.id} ({stored.status}): ended {ends} times in the journal")
        amends = [call for call in self._calls if call.verb == "amend" and stored.id in call.reservation_ids]
        least = sum(call.done is not None for call in amends)
        most = sum(self._may_have_happened(call) or call.done is not None for call in amends)
        if not least <= kinds["Amended"] <= most:
            self._object(f"{stored.id}: {kinds['Amended']} amend events, its calls allow {least} to {most}")


def _same_answer(first: Any, again: Any) -> bool:
    """Byte for byte but for the seconds that are left, which a clock takes away."""

    def still(body: Any) -> Any:
        return {name: value for name, value in body.items() if name != "expires_in_seconds"}

    return still(first) == still(again)


def _balances(event: Event, skus: dict[str, int]) -> Iterator[tuple[str, int, int]]:
    text = getattr(event, "lines", "")
    for line in event_lines(text):
        if line.sku in skus:
            yield line.sku, line.on_hand, line.reserved
