"""Is there one order of all operations, true to real time, in which the rules give every answer that was given?

Owns the search (Wing and Gong's, with Lowe's memory of what was already tried); the rules are specification.py's.

SKUs that no operation names together are independent of each other, so each such group is searched by itself: a history
is linearizable if and only if each group is. An operation of unknown outcome may stand anywhere after its call or
nowhere. A deadline is an operation that nobody sends: it happens between the earliest and the latest moment that the
clients' own clock allows.

The memory keeps 64-bit digests. Two different states of one digest (chance about 1 in 10^8 for 10^5 steps) could make
the search pass over a right order: a false alarm, never a false pass.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator
from typing import Final

from msgspec import Struct

from tests.checkers.history import Answer, Call, History, Operation, Stock
from tests.checkers.specification import Deadline, Shop, Undo

MAX_STEPS: Final = 3_000_000
TOLERANCE_MS: Final = 100
"""How far the server's clock and the clients' may part while a hold lives: a server that was not given a CPU decides by
a time that has passed. Runs that stop servers or move clocks need more, or None."""


class Verdict(Struct, frozen=True):
    """`ok` only if every group was searched to its end and an order was found."""

    ok: bool
    operations: int
    groups: int
    steps: int
    reason: str = ""


class Step(Struct, frozen=True):
    """An operation or a deadline as the search sees it. `returned_ns` None: it need not happen at all."""

    call: Call | Deadline
    answer: Answer | None
    number: int
    called_ns: int
    returned_ns: int | None
    hint: tuple[int, int, int]
    """Where it probably belongs. Only the search's speed depends on it."""
    is_guess: bool = False
    """True if nothing tells whether and where it happened."""


def check(history: History, *, tolerance_ms: int | None = TOLERANCE_MS, max_steps: int = MAX_STEPS) -> Verdict:
    """The verdict over a history.

    `tolerance_ms` None: deadlines may pass at any time after the call that set them (for runs in which clocks jump).
    `max_steps` bounds the search of a group; past it the verdict is not ok, and says so.
    """
    steps = 0
    groups = list(independent_groups(history))
    for stock, operations in groups:
        search = Search(stock, steps_of(operations, tolerance_ms), max_steps)
        reason = search.run()
        steps += search.steps
        if reason:
            skus = ", ".join(one.sku for one in stock)
            return Verdict(False, len(history.operations), len(groups), steps, f"{skus}: {reason}")
    return Verdict(True, len(history.operations), len(groups), steps)


def independent_groups(history: History) -> Iterator[tuple[tuple[Stock, ...], list[Operation]]]:
    """SKUs that some operation names together, and everything that happened to them."""
    leader = {one.sku: one.sku for one in history.stock}

    def find(sku: str) -> str:
        while leader[sku] != sku:
            leader[sku] = leader[leader[sku]]
            sku = leader[sku]
        return sku

    skus_of: dict[str, set[str]] = defaultdict(set)
    for one in history.operations:
        named = [sku for sku, _ in one.call.lines]
        if one.call.base:
            skus_of[one.call.base].update(named)
            named = list(skus_of[one.call.base])
        for sku in named[1:]:
            leader[find(sku)] = find(named[0])
    groups: dict[str, list[Operation]] = defaultdict(list)
    for one in history.operations:
        named = [sku for sku, _ in one.call.lines] or sorted(skus_of[one.call.base])
        groups[find(named[0]) if named else ""].append(one)
    for name, operations in groups.items():
        yield tuple(one for one in history.stock if name and find(one.sku) == name), operations


def steps_of(operations: list[Operation], tolerance_ms: int | None) -> list[Step]:
    """The operations, and the deadlines that they set as far as those may come before the end of the history."""
    last_ns = max(one.answer.at_ns if one.answer else one.call.at_ns for one in operations)
    known = sorted(
        one.answer.now_ms * 1_000_000 - (one.call.at_ns + one.answer.at_ns) // 2
        for one in operations
        if one.answer and one.answer.now_ms
    )
    offset_ns = known[len(known) // 2] if known else 0
    steps = []
    for place, one in enumerate(operations):
        call, answer = one.call, one.answer
        now_ms, seq = one.hint or ((answer.now_ms, answer.seq) if answer else (0, 0))
        if not now_ms:
            end_ns = answer.at_ns if answer else call.at_ns
            now_ms = ((call.at_ns + end_ns) // 2 + offset_ns) // 1_000_000
        returned = answer.at_ns if answer else None
        guess = answer is None and one.hint is None
        steps.append(Step(call, answer, call.number, call.at_ns, returned, (now_ms, seq, place), guess))
        sets_one = call.ttl_ms and call.verb in {"reserve", "amend"} and (answer is None or answer.status == "ok")
        if not sets_one:
            continue
        earliest, latest = call.at_ns, None
        if tolerance_ms is not None:
            earliest = call.at_ns + (call.ttl_ms - tolerance_ms) * 1_000_000
            latest = answer.at_ns + (call.ttl_ms + tolerance_ms) * 1_000_000 if answer else None
        if earliest > last_ns:
            continue
        due_ms = answer.deadline_ms if answer and answer.deadline_ms else now_ms + call.ttl_ms
        steps.append(Step(Deadline(call.base, call.number), None, -1, earliest, latest, (due_ms, -1, place)))
    return steps


class Search:
    """One group. The events stand in a doubly linked list; what has been put in order is lifted out of it."""

    def __init__(self, stock: tuple[Stock, ...], steps: list[Step], max_steps: int) -> None:
        self.shop = Shop(stock)
        self.todo = steps
        self.max_steps = max_steps
        self.steps = 0
        dice = random.Random(1)
        self._marks = [dice.getrandbits(64) for _ in steps]
        # An answer at the very moment of a call leaves the two concurrent: calls first.
        events = [(one.called_ns, 0, place) for place, one in enumerate(steps)]
        events += [(one.returned_ns, 1, place) for place, one in enumerate(steps) if one.returned_ns is not None]
        events.sort()
        self._places = [-1, *[place for _, _, place in events]]
        self._returns = [False, *[bool(kind) for _, kind, _ in events]]
        self._after = [*range(1, len(events) + 1), 0]
        self._before = [len(events), *range(len(events))]
        self._call_node, self._return_node = [0] * len(steps), [0] * len(steps)
        for node in range(1, len(events) + 1):
            (self._return_node if self._returns[node] else self._call_node)[self._places[node]] = node
        self._unanswered = sum(self._returns)
        self._deepest = -1
        self._stuck_at = ""

    def run(self) -> str:
        """Empty if there is an order, else why there is none."""
        seen: set[tuple[int, int]] = set()
        stack: list[tuple[int, Undo, list[int], int]] = []
        done = 0
        candidates, position = self._candidates(), 0
        while self._unanswered:
            chosen = -1
            while position < len(candidates):
                place = candidates[position]
                position += 1
                one = self.todo[place]
                self.steps += 1
                log = self.shop.step(one.call, one.answer, one.number)
                if log is None:
                    continue
                if not log and one.returned_ns is None:
                    continue  # it need not happen, and would change nothing
                key = (done ^ self._marks[place], self.shop.digest)
                if key in seen:
                    self.shop.undo(log)
                    continue
                seen.add(key)
                stack.append((place, log, candidates, position))
                chosen = place
                break
            if chosen >= 0:
                self._lift(chosen)
                done ^= self._marks[chosen]
                candidates, position = self._candidates(), 0
                continue
            if len(stack) > self._deepest:
                self._deepest, self._stuck_at = len(stack), self._describe(candidates)
            if not stack:
                return self._stuck_at
            if self.steps > self.max_steps:
                return f"undecided after {self.steps} steps; {self._stuck_at}"
            place, log, candidates, position = stack.pop()
            self._put_back(place)
            self.shop.undo(log)
            done ^= self._marks[place]
        return ""

    def _candidates(self) -> list[int]:
        """What may come next: everything called before the first answer still to come. The likeliest first."""
        hinted, guesses = [], []
        node = self._after[0]
        while node and not self._returns[node]:
            place = self._places[node]
            one = self.todo[place]
            if one.returned_ns is not None or not self.shop.can_never_matter(one.call):
                (guesses if one.is_guess else hinted).append(place)
            node = self._after[node]
        hinted.sort(key=lambda place: self.todo[place].hint)
        # When the likeliest does not fit, something unseen has probably happened before it.
        return hinted[:1] + guesses + hinted[1:]

    def _lift(self, place: int) -> None:
        for node in (self._call_node[place], self._return_node[place]):
            if node:
                before, after = self._before[node], self._after[node]
                self._after[before], self._before[after] = after, before
        self._unanswered -= self._return_node[place] > 0

    def _put_back(self, place: int) -> None:
        for node in (self._return_node[place], self._call_node[place]):
            if node:
                self._after[self._before[node]] = self._before[self._after[node]] = node
        self._unanswered += self._return_node[place] > 0

    def _describe(self, candidates: list[int]) -> str:
        """What did not fit, where the search came furthest."""
        told = []
        for place in candidates[:6]:
            one = self.todo[place]
            if isinstance(one.call, Deadline):
                told.append(f"deadline of {one.call.base}")
            else:
                status = one.answer.status if one.answer else "unknown"
                told.append(f"#{one.number} {one.call.verb} {one.call.base} {one.call.lines} -> {status}")
        levels = {key: tuple(value) for key, value in self.shop.cells.items() if isinstance(key, str)}
        return f"no order: {len(self.todo)} steps, stuck with (on_hand, reserved) {levels} before " + "; ".join(told)
