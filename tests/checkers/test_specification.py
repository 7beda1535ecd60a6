"""The rules that histories are held against say the same as the model that the engine is held against."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

from tests.checkers import linearizability
from tests.checkers.history import (
    Call,
    history_of,
)
from tests.checkers.specification import Shop
from tests.checkers.written import Written, lines_of
from tests.model.model import Model, Outcome


def test_the_rules_agree_with_the_model() -> None:
    """Two texts written apart from each other, given the same programs."""
    seed = random.randrange(10**9)
    print(f"seed {seed}")
    dice = random.Random(seed)
    compared: Counter[str] = Counter()
    for _ in range(250):
        model, run = Model(1_000_000), Written(A=dice.randint(0, 9), B=dice.randint(0, 9))
        shop = Shop(tuple(run.events))  # type: ignore[arg-type]
        for stock in history_of(run.events).stock:
            model.configure(stock.sku, 0, 0, True, stock.on_hand)
        set_by: dict[str, int] = {}
        for number in range(1, 31):
            # What expires does so by itself here, and in the model when it is looked at: sweep, so that both know.
            model.clock_ms += dice.choice([0, 0, 500])
            for hold in model.due():
                model.expire(hold)
                shop.step(linearizability.Deadline(hold.base, set_by[hold.base]), None)
            call, outcome = random_step(model, dice, number)
            told = getattr(shop, "_" + call.verb)(call, number, None)
            compare(call, told, outcome)
            if call.ttl_ms and outcome.status == "ok":
                set_by[call.base] = number
            compared[f"{call.verb} {told.status}"] += 1
            levels = {sku: (level.on_hand, level.reserved) for sku, level in model.skus.items()}
            assert levels == {key: tuple(value) for key, value in shop.cells.items() if isinstance(key, str)}
    print(compared)
    assert len(compared) >= 22


def random_step(  # noqa: PLR0911  one return a verb reads best
    model: Model, dice: random.Random, number: int
) -> tuple[Call, Outcome]:
    lines = lines_of(dice.choice(["A=1", "B=2", "A=3", "A=1,B=2"]))
    base = f"r{dice.randrange(8)}"
    created = model.holds[base].created_ms if base in model.holds else 0
    verb = dice.choice(["reserve", "reserve", "amend", "confirm", "release", "read", "adjust", "availability"])
    ttl = dice.choice([400, 900, 5_000])
    if verb == "reserve":
        partial = dice.random() < 0.3
        call = Call(number, 0, "c", "reserve", base, lines, ttl, partial)
        return call, model.reserve(base, lines, ttl, partial, "", f"{lines} {ttl} {partial}")
    if verb == "amend":
        lines, ttl = dice.choice([(lines, 0), (lines, ttl), ((), ttl)])
        return Call(number, 0, "c", "amend", base, lines, ttl), model.amend(base, created, lines, ttl, "")
    if verb == "confirm":
        order = dice.choice(["o1", "o2"])
        call = Call(number, 0, "c", "confirm", base, order_id=order)
        return call, model.confirm(((base, created),), order, "", False)
    if verb == "release":
        return Call(number, 0, "c", "release", base), model.release(base, created, "")
    if verb == "read":
        return Call(number, 0, "c", "read", base), model.read(base, created, "")
    if verb == "adjust":
        operation = dice.choice(["add", "remove", "set"])
        base = f"d{dice.randrange(20)}"
        call = Call(number, 0, "c", "adjust", base, lines, operation=operation)
        asked = tuple((sku, operation, units) for sku, units in lines)
        return call, model.adjust(base, asked, f"{operation} {lines}")
    return Call(number, 0, "c", "availability", lines=lines), model.availability(tuple(sku for sku, _ in lines))


def compare(call: Call, told: Any, outcome: Outcome) -> None:
    assert told.status == outcome.status, call
    if outcome.reservations:
        (seen,) = outcome.reservations
        if told.status == "replayed" and call.verb == "reserve":
            return  # without an answer to look at, the rules give the first one
        assert (told.state, told.held) == (seen.status, seen.lines), call
    if outcome.shortages and told.short is not None:
        assert told.short == tuple((sku, available) for sku, _, available in outcome.shortages), call
    if outcome.levels:
        assert told.levels == tuple((sku, on_hand, reserved) for sku, on_hand, reserved, *_ in outcome.levels), call
    if outcome.movements:
        assert told.levels == tuple((sku, on_hand, reserved) for sku, _, on_hand, reserved in outcome.movements), call
