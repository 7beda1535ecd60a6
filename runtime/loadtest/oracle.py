"""The judge of a flash sale: an account of its own, kept from requests and answers alone.

Owns the promises and what counts as breaking one. Never asks Holdfast what the truth is: the counters and the ledger
are held against this account, not the other way round.

What can be known from outside. A hold was made between the sending of its request and its answer, so it surely exists
from the answer on, and may have existed since the sending. It surely lives until the earliest instant at which it can
have ended (its time to live counted from the sending, or the sending of what ended it), and may live until the latest
(counted from the answers). Adding up what surely exists shows overselling at the very moment it happens, adding up what
may exist shows every refusal that had no reason.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from itertools import accumulate
from math import inf
from typing import Final

from msgspec import Struct

from runtime.loadtest.observations import Looked, Seen, Verb
from runtime.loadtest.schedule import Buyer, Sale, order_of
from runtime.service_client import ProductStatus, Transaction

CLOCK_SLACK_S: Final = 0.05
"""How far the server's clock may run from ours over one hold, and the millisecond it rounds to."""


class Promise(Struct, frozen=True):
    """One promise and everything that speaks against its having been kept."""

    name: str
    meaning: str
    objections: tuple[str, ...]


class Drained(Struct, frozen=True):
    """What became of the attempt to buy all that must be left, after every deadline."""

    asked: int
    """Units that must be left by this account; 0: nothing was asked for."""
    sold: int
    """Units that were sold then."""
    order_id: str
    refusal: str
    """Why they were not."""
    ledger: str
    """Why the ledger could not be waited for; empty if it caught up."""
    beyond: int
    """Units that could still be held after that: more than there ever were."""


class Account(Struct, frozen=True):
    """The sale in numbers, by this account."""

    reserved: int
    """Holds granted."""
    refused: int
    """Buyers who were told that nothing is left."""
    sold_units: int
    """Confirmed, the last purchase included."""
    completed: int
    released: int
    expired: int
    unknown: int
    """Buyers whose outcome was never learned."""
    most_surely_taken: int
    """Most units that were surely held or sold at one moment; must not be above the units of the sale."""


class Verdict(Struct, frozen=True):
    """The judgement."""

    promises: tuple[Promise, ...]
    account: Account

    @property
    def kept(self) -> bool:
        """True if nothing speaks against any promise."""
        return not any(promise.objections for promise in self.promises)


class Evidence(Struct, frozen=True):
    """Everything the judgement rests on."""

    sale: Sale
    buyers: Sequence[Buyer]
    seen: Sequence[Seen]
    looked: Sequence[Looked]
    drained: Drained
    ledger: Sequence[Transaction]
    """Every row of the SKU, oldest first."""
    counters: ProductStatus | None
    """None when Redis holds nothing for the SKU that can be read."""


class Hold(Struct):
    """A hold as far as it can be known."""

    id: str
    buyer: int
    quantity: int
    first_sent_s: float
    answered_s: float
    ends: Counter[str]
    """State -> how many answers said that it ended so."""
    first_confirm_sent_s: float = inf
    first_release_sent_s: float = inf
    release_answered_s: float = inf
    gone_answered_s: float = inf
    """First answer that said it has expired."""
    state: str = "ACTIVE"

    def surely_until(self, ttl_s: float) -> float:
        """Until when its units are surely taken."""
        if self.state == "COMPLETED":
            return inf
        return min(self.first_release_sent_s, self.first_sent_s + ttl_s - CLOCK_SLACK_S)

    def maybe_until(self, ttl_s: float) -> float:
        """Until when its units may be taken."""
        if self.state == "COMPLETED":
            return inf
        return min(self.release_answered_s, self.gone_answered_s, self.answered_s + ttl_s + CLOCK_SLACK_S)


def judge(evidence: Evidence) -> Verdict:
    """Judge a sale."""
    by_buyer: dict[int, list[Seen]] = defaultdict(list)
    for seen in evidence.seen:
        by_buyer[seen.buyer].append(seen)
    quantities = {buyer.number: buyer.quantity for buyer in evidence.buyers}
    holds = [hold for number, own in by_buyer.items() for hold in _holds_of(number, quantities[number], own)]
    unresolved = {number for number, own in by_buyer.items() if _is_unresolved(own)}
    surely, maybe = _bounds(evidence.sale, holds, by_buyer, quantities, unresolved)
    completed = [hold for hold in holds if hold.state == "COMPLETED"]
    sold = sum(hold.quantity for hold in completed) + evidence.drained.sold
    account = Account(
        reserved=len(holds),
        refused=sum(_was_refused(own) for own in by_buyer.values()),
        sold_units=sold,
        completed=len(completed),
        released=sum(hold.state == "CANCELLED" for hold in holds),
        expired=sum(hold.state == "EXPIRED" for hold in holds),
        unknown=len(unresolved),
        most_surely_taken=max((level for _, level in surely), default=0),
    )
    return Verdict(
        (
            Promise("oversold 0", "never more units held or sold than there are", _oversold(evidence, account)),
            Promise(
                "undersold 0",
                "nobody is refused a unit that is free, and all that is left can be sold",
                _undersold(evidence, by_buyer, quantities, maybe, holds),
            ),
            Promise("one end", "each hold ends once, in time, and stays as it ended", _ends(evidence, by_buyer, holds)),
            Promise("one key, one hold", "the same request under the same key gets the first answer", _keys(by_buyer)),
            Promise(
                "ledger equal", "each sale stands in the ledger once, with its order", _ledger(evidence, completed)
            ),
            Promise("counters equal", "on_hand and reserved are what this account says", _counters(evidence, account)),
            Promise("clear answers", "every answer is one that the contract gives here", _answers(evidence, by_buyer)),
        ),
        account,
    )


def _is_unresolved(own: Iterable[Seen]) -> bool:
    return any(seen.final and seen.status in {0, 503} for seen in own)


def _was_refused(own: Iterable[Seen]) -> bool:
    reserves = [seen for seen in own if seen.verb == Verb.RESERVE]
    return any(seen.code == "insufficient-stock" for seen in reserves) and all(s.status != 201 for s in reserves)


def _holds_of(buyer: int, quantity: int, own: Sequence[Seen]) -> list[Hold]:
    """The holds of a buyer: one for each reservation id that an answer named. More than one is a broken promise."""
    reserves = [seen for seen in own if seen.verb == Verb.RESERVE]
    first_sent = min((seen.sent_s for seen in reserves), default=0.0)
    holds: dict[str, Hold] = {}
    for seen in reserves:
        if seen.status == 201:
            known = holds.setdefault(
                seen.reservation, Hold(seen.reservation, buyer, quantity, first_sent, seen.answered_s, Counter())
            )
            known.answered_s = min(known.answered_s, seen.answered_s)
    for seen in own:
        hold = holds.get(seen.target)
        if hold is not None:
            _add_end(hold, seen)
    for hold in holds.values():
        # A sale or a release that was answered is the end; without one the deadline is.
        hold.state = next((state for state in ("COMPLETED", "CANCELLED") if hold.ends[state]), "EXPIRED")
    return list(holds.values())


def _add_end(hold: Hold, seen: Seen) -> None:
    if seen.verb == Verb.CONFIRM:
        hold.first_confirm_sent_s = min(hold.first_confirm_sent_s, seen.sent_s)
    elif seen.verb == Verb.RELEASE:
        hold.first_release_sent_s = min(hold.first_release_sent_s, seen.sent_s)
    if seen.status == 200:
        hold.ends[seen.state] += 1
        if seen.verb == Verb.RELEASE:
            hold.release_answered_s = min(hold.release_answered_s, seen.answered_s)
    elif seen.status == 410:
        hold.ends["EXPIRED"] += 1
        hold.gone_answered_s = min(hold.gone_answered_s, seen.answered_s)


Steps = list[tuple[float, int]]
"""Instants in order, each with the units taken from there on."""


def _bounds(
    sale: Sale,
    holds: Iterable[Hold],
    by_buyer: dict[int, list[Seen]],
    quantities: dict[int, int],
    unresolved: Iterable[int],
) -> tuple[Steps, Steps]:
    surely: Steps = []
    maybe: Steps = []
    for hold in holds:
        until = hold.surely_until(sale.ttl_s)
        if until > hold.answered_s:
            surely += [(hold.answered_s, hold.quantity), (until, -hold.quantity)]
        maybe += [(hold.first_sent_s, hold.quantity), (hold.maybe_until(sale.ttl_s), -hold.quantity)]
    for number in unresolved:
        # Nobody can say whether these took anything, so nobody may be blamed for refusing on their account.
        first = min(seen.sent_s for seen in by_buyer[number])
        maybe.append((first, quantities[number]))
    return _levels(surely), _levels(maybe)


def _levels(changes: Steps) -> Steps:
    changes.sort()  # at one instant what ends comes before what begins
    levels = accumulate(change for _, change in changes)
    return [(at, level) for (at, _), level in zip(changes, levels, strict=True)]


def _oversold(evidence: Evidence, account: Account) -> tuple[str, ...]:
    units = evidence.sale.units
    objections = []
    if account.most_surely_taken > units:
        objections.append(f"{account.most_surely_taken} units were held or sold at one moment, of {units}")
    if account.sold_units > units:
        objections.append(f"{account.sold_units} units were sold, of {units}")
    if evidence.drained.beyond:
        objections.append(f"when all {units} units were sold, {evidence.drained.beyond} more could be held")
    return tuple(objections)


def _undersold(
    evidence: Evidence,
    by_buyer: dict[int, list[Seen]],
    quantities: dict[int, int],
    maybe: Steps,
    holds: Iterable[Hold],
) -> tuple[str, ...]:
    objections = []
    drained = evidence.drained
    if drained.sold < drained.asked:
        objections.append(f"{drained.asked} units must be left, but could not be sold: {drained.refusal}")
    instants = [at for at, _ in maybe]
    levels = [level for _, level in maybe]
    own_holds: dict[int, list[Hold]] = defaultdict(list)
    for hold in holds:
        own_holds[hold.buyer].append(hold)
    for number, own in by_buyer.items():
        for seen in own:
            if seen.verb != Verb.RESERVE or seen.code != "insufficient-stock":
                continue
            first = bisect_right(instants, seen.sent_s) - 1
            last = bisect_right(instants, seen.answered_s)
            taken = max(levels[max(0, first) : last], default=0)
            # A buyer's own hold is no reason to refuse the same key: the answer would be that hold.
            taken -= sum(
                hold.quantity
                for hold in own_holds[number]
                if hold.first_sent_s <= seen.sent_s and hold.maybe_until(evidence.sale.ttl_s) >= seen.answered_s
            )
            if taken + quantities[number] <= evidence.sale.units:
                free = evidence.sale.units - taken
                objections.append(f"buyer {number} was refused {quantities[number]} while at least {free} were free")
    return tuple(objections)


def _ends(evidence: Evidence, by_buyer: dict[int, list[Seen]], holds: Iterable[Hold]) -> tuple[str, ...]:
    looked = {look.reservation: look for look in evidence.looked}
    objections = []
    for hold in holds:
        if len(hold.ends) > 1:
            ends = " and ".join(sorted(hold.ends))
            objections.append(f"{hold.id} ended as {ends}")
        objections += _untimely(hold, by_buyer[hold.buyer], evidence.sale.ttl_s)
        look = looked.get(hold.id)
        if look is None or look.status != 200:
            objections.append(f"{hold.id} cannot be read afterwards: {look.status if look else 'not asked'}")
        elif look.state != hold.state:
            objections.append(f"{hold.id} ended as {hold.state}, but reads {look.state} afterwards")
    return tuple(objections)


def _untimely(hold: Hold, own: Iterable[Seen], ttl_s: float) -> list[str]:
    """Answers that come too early or too late for the hold's own deadline."""
    found = []
    surely_alive_until = hold.first_sent_s + ttl_s - CLOCK_SLACK_S
    surely_over_from = hold.answered_s + ttl_s + CLOCK_SLACK_S
    for seen in own:
        if seen.target != hold.id:
            continue
        if seen.status == 410 and seen.answered_s < surely_alive_until:
            found.append(f"{hold.id} expired {surely_alive_until - seen.answered_s:.3f} s before its time")
        first_sent = hold.first_confirm_sent_s if seen.verb == Verb.CONFIRM else hold.first_release_sent_s
        if seen.status == 200 and first_sent > surely_over_from:
            found.append(f"{hold.id}: {seen.verb} succeeded {first_sent - surely_over_from:.3f} s after its deadline")
        if seen.status == 200 and seen.reservation != hold.id:
            found.append(f"{hold.id}: the {seen.verb} was answered with {seen.reservation}")
        alive = seen.answered_s < surely_alive_until
        if seen.status in {404, 409} and alive and not _has_ended(hold, seen):
            found.append(f"{hold.id}: {seen.verb} was answered {seen.status} {seen.code} while it was active")
    return found


def _has_ended(hold: Hold, seen: Seen) -> bool:
    """True if another verb may have ended the hold before this answer."""
    other = hold.first_release_sent_s if seen.verb == Verb.CONFIRM else hold.first_confirm_sent_s
    return other < seen.answered_s


def _keys(by_buyer: dict[int, list[Seen]]) -> tuple[str, ...]:
    objections = []
    for number, own in by_buyer.items():
        reserves = [seen for seen in own if seen.verb == Verb.RESERVE]
        granted = [seen for seen in reserves if seen.status == 201]
        if not granted:
            continue
        ids = {seen.reservation for seen in granted}
        if len(ids) > 1:
            objections.append(f"buyer {number}: one key, reservations {', '.join(sorted(ids))}")
        elif len({seen.body_hash for seen in granted}) > 1:
            objections.append(f"buyer {number}: one key, answers that differ")
        firsts = sum(not seen.replayed for seen in granted)
        if firsts > 1:
            objections.append(f"buyer {number}: one key, {firsts} answers that claim to be the first")
        known_from = min(seen.answered_s for seen in granted)
        later = [s for s in reserves if s.sent_s > known_from and s.status not in {201, 0, 503}]
        if later:
            objections.append(f"buyer {number}: the same key was granted, then answered {later[0].status}")
    return tuple(objections)


def _ledger(evidence: Evidence, completed: Iterable[Hold]) -> tuple[str, ...]:
    sale, rows = evidence.sale, evidence.ledger
    objections = [f"the ledger does not catch up: {evidence.drained.ledger}"] if evidence.drained.ledger else []
    wanted = Counter({order_of(sale, hold.buyer): 0 for hold in completed})
    for hold in completed:
        wanted[order_of(sale, hold.buyer)] -= hold.quantity
    if evidence.drained.sold:
        wanted[evidence.drained.order_id] -= evidence.drained.sold
    sales = [row for row in rows if row.transaction_type == "OUT"]
    others = [row for row in rows if row.transaction_type != "OUT"]
    found: Counter[str] = Counter()
    for row in sales:
        found[row.reference_id or ""] += row.quantity
        if row.reference_type != "Order":
            objections.append(f"row {row.id} refers to {row.reference_type} {row.reference_id}, not to an order")
    counts = Counter(row.reference_id or "" for row in sales)
    for order in sorted({*wanted, *found}):
        if found[order] != wanted[order]:
            objections.append(f"{order or 'no order'}: the ledger says {found[order]}, the account {wanted[order]}")
        elif counts[order] > 1:
            objections.append(f"{order}: {counts[order]} rows for one sale")
    if [(row.transaction_type, row.quantity) for row in others] != [("IN", sale.units)]:
        listed = ", ".join(f"{row.transaction_type} {row.quantity:+d}" for row in others)
        objections.append(f"beside the sales, only IN {sale.units:+d} is expected; found {listed or 'nothing'}")
    stock = 0
    for row in rows:
        if row.previous_stock != stock or row.new_stock != stock + row.quantity:
            step = f"{row.previous_stock} {row.quantity:+d} -> {row.new_stock}"
            objections.append(f"row {row.id}: {step} does not follow {stock}")
            break
        stock = row.new_stock
    return tuple(objections)


def _counters(evidence: Evidence, account: Account) -> tuple[str, ...]:
    counters = evidence.counters
    if counters is None:
        return ("the counters cannot be read",)
    left = evidence.sale.units - account.sold_units
    objections = []
    if counters.on_hand != left:
        objections.append(f"on_hand is {counters.on_hand} instead of {left}")
    if counters.reserved != 0:
        objections.append(f"{counters.reserved} units are reserved though every hold has ended")
    return tuple(objections)


_ALLOWED: Final = {
    Verb.RESERVE: {(201, ""), (409, "insufficient-stock")},
    Verb.CONFIRM: {(200, ""), (409, "reservation-not-active"), (410, "reservation-expired")},
    Verb.RELEASE: {(200, ""), (409, "reservation-not-active"), (410, "reservation-expired")},
}


def _answers(evidence: Evidence, by_buyer: dict[int, list[Seen]]) -> tuple[str, ...]:
    objections = []
    behaviours = {buyer.number: buyer.behaviour for buyer in evidence.buyers}
    for number, own in by_buyer.items():
        for seen in own:
            if seen.status in {0, 503}:
                if seen.final:
                    objections.append(f"buyer {number}: the outcome of {seen.verb} was never learned")
            elif (seen.status, seen.code) not in _ALLOWED[seen.verb]:
                objections.append(f"buyer {number}: {seen.verb} was answered {seen.status} {seen.code}")
            elif seen.status == 200 and seen.state != _STATE_AFTER[seen.verb]:
                objections.append(f"buyer {number}: {seen.verb} was answered 200 with status {seen.state}")
    silent = behaviours.keys() - by_buyer.keys()
    if silent:
        objections.append(f"{len(silent)} buyers were never sent")
    return tuple(objections)


_STATE_AFTER: Final = {Verb.CONFIRM: "COMPLETED", Verb.RELEASE: "CANCELLED", Verb.RESERVE: "ACTIVE"}
