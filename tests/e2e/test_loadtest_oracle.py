"""The oracle of the load test, without a service: an honest sale passes, and every kind of broken promise is named."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec
import pytest

from runtime.loadtest.observations import Looked, Seen, Verb
from runtime.loadtest.oracle import Drained, Evidence, Verdict, judge
from runtime.loadtest.schedule import SHARES, Behaviour, Buyer, Sale, make_buyers, order_of
from runtime.service_client import ProductStatus, Transaction

SALE = Sale(run="T", buyers=5, units=3, rate=100, ttl_s=2, think_s=0.5, seed=1)
BUYERS = [
    Buyer(0, 0.0, Behaviour.RETRY, 1, 0.1),
    Buyer(1, 0.1, Behaviour.RELEASE, 1, 0.1),
    Buyer(2, 0.2, Behaviour.WALK_AWAY, 1, 0.1),
    Buyer(3, 0.3, Behaviour.CONFIRM, 2, 0.1),
    Buyer(4, 0.4, Behaviour.LATE, 1, 0.1),
]


def reserve(buyer: int, at: float, status: int = 201, **more: object) -> Seen:
    granted = {"reservation": f"r{buyer}", "state": "ACTIVE", "body_hash": f"h{buyer}"}
    given = granted if status == 201 else {"code": "insufficient-stock"} if status == 409 else {}
    return Seen(buyer, Verb.RESERVE, at, at, at, at + 0.01, status, **{**given, **more})  # type: ignore[arg-type]


def ending(buyer: int, verb: Verb, at: float, status: int = 200, **more: object) -> Seen:
    given: dict[str, object] = {"target": f"r{buyer}"}
    if status == 200:
        given |= {"reservation": f"r{buyer}", "state": "COMPLETED" if verb == Verb.CONFIRM else "CANCELLED"}
    else:
        given["code"] = {409: "reservation-not-active", 410: "reservation-expired"}.get(status, "")
    return Seen(buyer, verb, at, at, at, at + 0.01, status, **{**given, **more})  # type: ignore[arg-type]


@dataclass
class Case:
    seen: list[Seen]
    looked: dict[str, str]
    ledger: list[Transaction]
    drained: Drained
    counters: ProductStatus
    extra: dict[str, object] = field(default_factory=dict)

    def verdict(self) -> Verdict:
        looked = [Looked(name, 200 if state else 404, state) for name, state in self.looked.items()]
        return judge(Evidence(SALE, BUYERS, self.seen, looked, self.drained, self.ledger, self.counters))

    def broken(self) -> set[str]:
        verdict = self.verdict()
        assert verdict.kept == (not any(promise.objections for promise in verdict.promises))
        return {promise.name for promise in verdict.promises if promise.objections}

    def replace(self, old: Seen, **changes: object) -> None:
        self.seen[self.seen.index(old)] = msgspec.structs.replace(old, **changes)


def row(number: int, kind: str, quantity: int, before: int, order: str) -> Transaction:
    return Transaction(number, SALE.sku, kind, quantity, before, before + quantity, "Order", order, number)


@pytest.fixture
def honest() -> Case:
    """Three units: one sold to a buyer who retries, one released, one left to expire; then the last two sold."""
    seen = [
        reserve(0, 0.0),
        reserve(0, 0.05, replayed=True),
        reserve(1, 0.1),
        reserve(2, 0.2),
        reserve(3, 0.25, 409),
        ending(0, Verb.CONFIRM, 0.3),
        ending(0, Verb.CONFIRM, 0.4),
        ending(0, Verb.RELEASE, 0.5, 409),
        ending(1, Verb.RELEASE, 0.6),
        ending(1, Verb.RELEASE, 0.7),
        ending(1, Verb.CONFIRM, 0.8, 409),
        reserve(4, 0.9),
        ending(4, Verb.CONFIRM, 3.2, 410),
    ]
    last = order_of(SALE, 5)
    return Case(
        seen=seen,
        looked={"r0": "COMPLETED", "r1": "CANCELLED", "r2": "EXPIRED", "r4": "EXPIRED"},
        ledger=[row(1, "IN", 3, 0, ""), row(2, "OUT", -1, 3, order_of(SALE, 0)), row(3, "OUT", -2, 2, last)],
        drained=Drained(asked=2, sold=2, order_id=last, refusal="", ledger="", beyond=0),
        counters=ProductStatus(SALE.sku, 0, 0, 0),
    )


def test_an_honest_sale_is_found_honest(honest: Case) -> None:
    assert honest.broken() == set()
    account = honest.verdict().account
    assert (account.sold_units, account.reserved, account.refused, account.expired, account.released) == (3, 4, 1, 2, 1)
    assert account.most_surely_taken == 3


def test_a_unit_held_twice_is_found_though_nobody_bought_it(honest: Case) -> None:
    honest.replace(honest.seen[4], status=201, code="", reservation="r3", state="ACTIVE", body_hash="h3")
    honest.looked["r3"] = "EXPIRED"
    assert honest.broken() == {"oversold 0"}


def test_more_sold_than_there_was_is_found(honest: Case) -> None:
    honest.drained = Drained(asked=3, sold=3, order_id=order_of(SALE, 5), refusal="", ledger="", beyond=0)
    assert "oversold 0" in honest.broken()


def test_a_unit_that_can_be_held_after_the_last_is_found(honest: Case) -> None:
    honest.drained = msgspec.structs.replace(honest.drained, beyond=1)
    assert honest.broken() == {"oversold 0"}


def test_units_that_never_come_back_are_found(honest: Case) -> None:
    honest.drained = Drained(
        asked=2, sold=0, order_id=order_of(SALE, 5), refusal="409 insufficient-stock", ledger="", beyond=0
    )
    del honest.ledger[2]
    honest.counters = ProductStatus(SALE.sku, 2, 0, 0)
    assert honest.broken() == {"undersold 0"}


def test_a_refusal_without_reason_is_found(honest: Case) -> None:
    # At 0.75 the released unit is free again beyond doubt: only two of three can be taken.
    honest.seen.append(reserve(3, 0.75, 409))
    honest.replace(honest.seen[-1], buyer=4)
    assert honest.broken() == {"undersold 0"}


def test_a_refusal_while_the_release_was_under_way_is_no_fault(honest: Case) -> None:
    honest.seen.append(msgspec.structs.replace(reserve(3, 0.605, 409), buyer=4))
    assert honest.broken() == set()


def test_a_refusal_while_a_lost_request_may_have_taken_the_unit_is_no_fault(honest: Case) -> None:
    honest.seen.insert(4, reserve(3, 0.22, 0, final=False))
    honest.seen.append(msgspec.structs.replace(reserve(3, 0.75, 409), buyer=4))
    honest.seen.append(reserve(3, 0.8, 503, repeat=1))
    assert honest.broken() == {"clear answers"}


@pytest.mark.parametrize(
    "late",
    [
        ending(1, Verb.CONFIRM, 0.9),  # sold after it was released
        ending(0, Verb.RELEASE, 0.9),  # released after it was sold
    ],
)
def test_a_hold_that_ends_twice_is_found(honest: Case, late: Seen) -> None:
    honest.seen.append(late)
    assert "one end" in honest.broken()


def test_a_sale_after_the_deadline_is_found(honest: Case) -> None:
    honest.replace(honest.seen[-1], status=200, code="", reservation="r4", state="COMPLETED")
    assert "one end" in honest.broken()


def test_a_hold_that_expires_too_early_is_found(honest: Case) -> None:
    honest.replace(honest.seen[5], status=410, code="reservation-expired", reservation="", state="")
    honest.replace(honest.seen[6], status=410, code="reservation-expired", reservation="", state="")
    assert "one end" in honest.broken()


def test_an_active_hold_that_cannot_be_confirmed_is_found(honest: Case) -> None:
    honest.seen.append(ending(4, Verb.CONFIRM, 1.0, 409))
    assert honest.broken() == {"one end"}


def test_a_hold_that_reads_otherwise_afterwards_is_found(honest: Case) -> None:
    honest.looked["r2"] = "COMPLETED"
    assert honest.broken() == {"one end"}


def test_a_hold_that_vanished_is_found(honest: Case) -> None:
    honest.looked["r2"] = ""
    assert honest.broken() == {"one end"}


def test_two_reservations_under_one_key_are_found(honest: Case) -> None:
    honest.replace(honest.seen[1], reservation="other")
    honest.looked["other"] = "EXPIRED"
    assert "one key, one hold" in honest.broken()


@pytest.mark.parametrize("change", [{"body_hash": "another"}, {"replayed": False}, {"status": 409, "code": "x"}])
def test_another_answer_under_the_same_key_is_found(honest: Case, change: dict[str, object]) -> None:
    honest.replace(honest.seen[1], **change)
    assert "one key, one hold" in honest.broken()


def test_a_ledger_row_that_is_missing_doubled_or_wrong_is_found(honest: Case) -> None:
    kept = list(honest.ledger)
    honest.ledger = [kept[0], msgspec.structs.replace(kept[2], previous_stock=3, new_stock=1)]
    assert honest.broken() == {"ledger equal"}
    honest.ledger = [*kept, row(4, "OUT", -1, 0, order_of(SALE, 0))]
    assert honest.broken() == {"ledger equal"}
    honest.ledger = [kept[0], kept[1], msgspec.structs.replace(kept[2], reference_id="order-of-nobody")]
    assert honest.broken() == {"ledger equal"}
    honest.ledger = [kept[0], msgspec.structs.replace(kept[1], reference_type="Reservation"), kept[2]]
    assert honest.broken() == {"ledger equal"}
    honest.ledger = [kept[0], kept[1], msgspec.structs.replace(kept[2], previous_stock=9, new_stock=7)]
    assert honest.broken() == {"ledger equal"}


def test_a_ledger_that_does_not_catch_up_is_found(honest: Case) -> None:
    honest.drained = msgspec.structs.replace(honest.drained, ledger="503 durability-unknown")
    assert honest.broken() == {"ledger equal"}


@pytest.mark.parametrize("counters", [ProductStatus(SALE.sku, 1, 0, 1), ProductStatus(SALE.sku, 0, 1, 0)])
def test_counters_that_say_otherwise_are_found(honest: Case, counters: ProductStatus) -> None:
    honest.counters = counters
    assert honest.broken() == {"counters equal"}


@pytest.mark.parametrize(("status", "code"), [(500, "internal-error"), (404, "unknown-sku"), (200, "")])
def test_answers_outside_the_contract_are_found(honest: Case, status: int, code: str) -> None:
    honest.replace(honest.seen[4], status=status, code=code)
    assert "clear answers" in honest.broken()


def test_a_buyer_who_was_never_sent_is_found(honest: Case) -> None:
    del honest.seen[4]
    assert honest.broken() == {"clear answers"}


def test_the_same_seed_gives_the_same_sale() -> None:
    sale = msgspec.structs.replace(SALE, buyers=4_000, rate=500)
    buyers = make_buyers(sale)
    assert buyers == make_buyers(sale)
    assert buyers != make_buyers(msgspec.structs.replace(sale, seed=2))
    assert buyers[-1].at_s == pytest.approx(8, rel=0.1)
    for behaviour, share in SHARES.items():
        assert sum(buyer.behaviour == behaviour for buyer in buyers) == pytest.approx(40 * share, rel=0.25)
    assert sum(SHARES.values()) == 100
