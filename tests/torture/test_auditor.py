"""The auditor itself: an honest run passes, and each lie that a store could tell is found.

A judge that never objects proves nothing: every promise of docs/reliability.md is broken here once, on paper.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from msgspec import structs

from engine.events import Adjusted, Amended, Confirmed, Entry, Event, Expired, Released, Reserved
from tests.torture.auditor import Auditor
from tests.torture.calls import Allowed, Answered, Call
from tests.torture.evidence import Counter, Evidence, LedgerRow, StoredReservation

SKU = "R1-A"
SOLD, LET_GO, LEFT = "s" * 36, "r" * 36, "x" * 36


def said(status: int, body: Any = None, code: str = "", at_s: float = 1.0) -> Answered:
    return Answered(at_s - 0.01, at_s, status, code, body, False)


def hold(reservation_id: str, units: int) -> dict[str, Any]:
    return {"id": reservation_id, "lines": [{"sku": SKU, "quantity": units}], "expires_in_seconds": 5}


def row(seq: int, quantity: int, before: int, **more: str) -> LedgerRow:
    fields = {"kind": "IN", "reference_type": "Adjustment", "reference_id": "", "reservation_id": ""} | more
    return LedgerRow(
        seq,
        1,
        SKU,
        fields["kind"],
        quantity,
        before,
        before + quantity,
        fields["reference_type"],
        fields["reference_id"],
        fields["reservation_id"],
    )


def entry(first_seq: int, *events: Event) -> Entry:
    return Entry(1, 1, first_seq, 1_800_000_000_000, events)


class Case:
    """A run in which all went well: 10 units, 2 sold, 1 let go, 1 left to expire, 5 received."""

    def __init__(self) -> None:
        self.calls = [
            Call(1, "reserve", True, {SKU: 3}, tries=[said(0), said(201, hold(SOLD, 3))]),
            Call(2, "amend", False, {SKU: 2}, (SOLD,), tries=[said(200, hold(SOLD, 2))]),
            Call(3, "confirm", True, {}, (SOLD,), "o1", [said(200, {"status": "COMPLETED"}, at_s=5.0)]),
            Call(4, "reserve", True, {SKU: 1}, tries=[said(201, hold(LET_GO, 1))]),
            Call(5, "release", True, {}, (LET_GO,), tries=[said(503, code="outcome-unknown"), said(200, {})]),
            Call(6, "reserve", False, {SKU: 1}, tries=[said(0)]),
            Call(7, "adjust", True, {SKU: 5}, tries=[said(201, {"seq": 9})]),
            Call(8, "reserve", False, {SKU: 99}, tries=[said(409, code="insufficient-stock")]),
        ]
        self.reservations = [
            StoredReservation(SOLD, "COMPLETED", "R1-1", "o1", {SKU: 2}, False),
            StoredReservation(LET_GO, "CANCELLED", "R1-4", "", {SKU: 1}, False),
            StoredReservation(LEFT, "EXPIRED", "R1-6", "", {SKU: 1}, False),
        ]
        self.ledger = [
            row(1, 10, 0, reference_type="Product"),
            row(4, -2, 10, kind="OUT", reference_type="Order", reference_id="o1", reservation_id=SOLD),
            row(9, 5, 8, reference_id="R1-7"),
        ]
        self.counters = {SKU: Counter(13, 0)}
        self.entries = [
            entry(2, Reserved(SOLD, f"{SKU}=3=10=3", 0, "", "", ""), Amended(SOLD, f"{SKU}=2=10=2", 0, "")),
            entry(4, Confirmed(SOLD, f"{SKU}=2=8=0", "o1", "", False), Reserved(LET_GO, f"{SKU}=1=8=1", 0, "", "", "")),
            entry(6, Released(LET_GO, f"{SKU}=1=8=0", ""), Reserved(LEFT, f"{SKU}=1=8=1", 0, "", "", "")),
            entry(8, Expired(LEFT, f"{SKU}=1=8=0"), Adjusted("a", f"{SKU}=5=13=0", "IN", "", "", "R1-7", "")),
        ]
        self.quarantined = 0
        self.allowed = Allowed()

    def judged(self) -> str:
        evidence = Evidence(
            tuple(self.reservations), tuple(self.ledger), self.counters, tuple(self.entries), self.quarantined
        )
        return "\n".join(Auditor(self.calls, {SKU: 10}, evidence, (1, 1), self.allowed).judge())


def test_an_honest_run_passes() -> None:
    assert Case().judged() == ""


def lose_the_sale(case: Case) -> None:
    del case.ledger[1], case.entries[1]


def sell_twice(case: Case) -> None:
    case.ledger.insert(2, structs.replace(case.ledger[1], seq=5, previous_stock=8, new_stock=6))


def sell_what_was_let_go(case: Case) -> None:
    case.reservations[1] = structs.replace(case.reservations[1], status="COMPLETED")


def lose_a_reservation(case: Case) -> None:
    del case.reservations[0]


def reserve_twice_for_one_key(case: Case) -> None:
    case.reservations.append(structs.replace(case.reservations[1], id="y" * 36))


def keep_what_was_refused(case: Case) -> None:
    case.reservations.append(StoredReservation("z" * 36, "EXPIRED", "R1-8", "", {SKU: 99}, False))


def reserve_for_nobody(case: Case) -> None:
    case.reservations.append(StoredReservation("z" * 36, "EXPIRED", "R1-77", "", {SKU: 1}, False))


def forget_an_amend(case: Case) -> None:
    case.reservations[0] = structs.replace(case.reservations[0], lines={SKU: 3})


def lose_a_delivery(case: Case) -> None:
    del case.ledger[2]
    case.counters = {SKU: Counter(8, 0)}


def receive_twice(case: Case) -> None:
    case.ledger.append(row(10, 5, 13, reference_id="R1-7"))
    case.counters = {SKU: Counter(18, 0)}


def receive_something_else(case: Case) -> None:
    case.ledger[2] = row(9, 4, 8, reference_id="R1-7")
    case.counters = {SKU: Counter(12, 0)}


def let_stock_leak(case: Case) -> None:
    case.counters = {SKU: Counter(13, 1)}


def let_counters_drift(case: Case) -> None:
    case.counters = {SKU: Counter(12, 0)}


def break_the_chain(case: Case) -> None:
    case.ledger[1] = structs.replace(case.ledger[1], previous_stock=9, new_stock=7)


def oversell(case: Case) -> None:
    case.entries[0] = entry(2, Reserved(SOLD, f"{SKU}=3=10=11", 0, "", "", ""), *case.entries[0].events[1:])


def leave_a_gap(case: Case) -> None:
    case.entries[3] = structs.replace(case.entries[3], first_seq=9)


def end_twice(case: Case) -> None:
    case.entries.append(entry(10, Expired(LET_GO, f"{SKU}=1=13=0")))


def reserve_twice_in_the_journal(case: Case) -> None:
    case.entries.append(entry(10, Reserved(SOLD, f"{SKU}=1=13=0", 0, "", "", "")))


def set_something_aside(case: Case) -> None:
    case.quarantined = 1


def pass_over_poison(case: Case) -> None:
    case.allowed = Allowed(quarantined=1)


def expire_too_early(case: Case) -> None:
    case.reservations[2] = structs.replace(case.reservations[2], ended_before_deadline=True)


def answer_a_repeat_otherwise(case: Case) -> None:
    case.calls[0].tries.append(said(201, hold("q" * 36, 3)))


def make_a_mistake(case: Case) -> None:
    case.calls[7].tries[0] = said(500, {"code": "internal-error"}, "internal-error")


def confirm_and_release(case: Case) -> None:
    case.calls.append(Call(9, "release", True, {}, (SOLD,), tries=[said(200, {})]))


def put_back_what_nobody_cancelled(case: Case) -> None:
    case.ledger.append(row(10, 2, 13, reference_type="Order", reference_id="o1"))
    case.counters = {SKU: Counter(15, 0)}


def forget_a_cancellation(case: Case) -> None:
    case.calls.append(Call(9, "cancel", True, {}, (SOLD,), "o1", [said(200, {})]))


LIES: dict[Callable[[Case], None], str] = {
    lose_the_sale: "ledger has {}, expected",
    sell_twice: "sold twice",
    sell_what_was_let_go: "acknowledged as CANCELLED, is COMPLETED",
    lose_a_reservation: "is lost",
    reserve_twice_for_one_key: "one wish, 2 reservations",
    keep_what_was_refused: "refused, yet there is reservation",
    reserve_for_nobody: "asked for by nobody",
    forget_an_amend: "its calls allow",
    lose_a_delivery: "acknowledged adjustment",
    receive_twice: "adjusted 2 times",
    receive_something_else: "adjusted other than",
    let_stock_leak: "every hold has ended",
    let_counters_drift: "in Redis",
    break_the_chain: "the row before ended at",
    oversell: "oversold",
    leave_a_gap: "is followed by",
    end_twice: "ended 2 times",
    reserve_twice_in_the_journal: "2 reserve events",
    set_something_aside: "set aside",
    pass_over_poison: "set aside",
    expire_too_early: "expired before its deadline",
    answer_a_repeat_otherwise: "a repeat answered",
    make_a_mistake: "500",
    confirm_and_release: "acknowledged as CANCELLED and as COMPLETED",
    put_back_what_nobody_cancelled: "nobody cancelled it",
    forget_a_cancellation: "not put back",
}


@pytest.mark.parametrize("lie", LIES, ids=lambda lie: lie.__name__)
def test_a_lie_is_found(lie: Callable[[Case], None]) -> None:
    case = Case()
    lie(case)
    assert LIES[lie] in case.judged()


def test_what_was_answered_after_a_loss_may_be_forgotten_and_nothing_else() -> None:
    case = Case()
    case.allowed = Allowed(lost_after_s=4.0)
    # The sale was answered at 5.0; that it was forgotten means that the hold came back and expired.
    del case.ledger[1]
    case.ledger[1] = row(9, 5, 10, reference_id="R1-7")
    case.counters = {SKU: Counter(15, 0)}
    case.reservations[0] = structs.replace(case.reservations[0], status="EXPIRED")
    case.entries[1] = entry(4, Expired(SOLD, f"{SKU}=2=10=0"), case.entries[1].events[1])
    assert case.judged() == ""
    case.allowed = Allowed(lost_after_s=6.0)
    assert "acknowledged as COMPLETED, is EXPIRED" in case.judged()
