"""Returns: never more than an order sold less what came back, by whatever way and however many at once."""

from __future__ import annotations

import asyncio
import contextlib
import random

import pytest

from inventory import approvals
from inventory.order_events import OrderCancelled
from inventory.orders import Reporter, report_order
from inventory.refusals import KeyReused, ReturnExceedsOrder, UnknownSku
from persistence.queries.approvals import Approval
from tests.inventory.stock.conftest import ANN, Desk


def rows_of(made: object) -> list[tuple[str, str, int, str | None]]:
    assert isinstance(made, tuple)
    return [(row.sku, row.transaction_type, row.quantity, row.reference_type) for row in made]


async def test_parts_of_an_order_until_nothing_is_left(desk: Desk) -> None:
    sku = await desk.sku(20)
    await desk.sell("o-1", (sku, 5))
    for units in (2, 1, 2):
        assert rows_of(await desk.give_back("o-1", (sku, units))) == [(sku, "RETURN", units, "Order")]
    with pytest.raises(ReturnExceedsOrder) as refused:
        await desk.give_back("o-1", (sku, 1))
    assert [(item.sku, item.requested, item.returnable) for item in refused.value.items] == [(sku, 1, 0)]
    assert await desk.level(sku) == (20, 0)


async def test_every_line_that_asks_too_much_is_named_and_nothing_moves(desk: Desk) -> None:
    a, b, c = await desk.sku(20), await desk.sku(20), await desk.sku(20)
    await desk.sell("o-2", (a, 2), (b, 3))
    with pytest.raises(ReturnExceedsOrder) as refused:
        await desk.give_back("o-2", (a, 1), (b, 4), (c, 1), (a, 2))
    assert [(item.sku, item.requested, item.returnable) for item in refused.value.items] == [
        (a, 3, 2),
        (b, 4, 3),
        (c, 1, 0),
    ]
    assert await desk.level(a) == (18, 0)


async def test_an_order_sold_in_several_parts_counts_as_one(desk: Desk) -> None:
    sku = await desk.sku(20)
    await desk.sell("o-3", (sku, 2))
    await desk.sell("o-3", (sku, 3))
    assert rows_of(await desk.give_back("o-3", (sku, 5))) == [(sku, "RETURN", 5, "Order")]


async def test_orders_never_sold_here_are_external_and_unlimited(desk: Desk) -> None:
    sku = await desk.sku(0)
    for _ in range(2):
        assert rows_of(await desk.give_back("elsewhere-9", (sku, 4))) == [(sku, "RETURN", 4, "ExternalOrder")]
    with pytest.raises(UnknownSku):
        await desk.give_back("elsewhere-9", ("NOPE", 1))


async def test_a_sale_the_ledger_has_not_seen_yet_is_waited_for(desk: Desk) -> None:
    """The limit is judged at the journal's end, not at the ledger's."""
    sku = await desk.sku(9)
    held = await desk.hold(sku, 4)
    await desk.engine.confirm(held, order_id="o-4")
    assert rows_of(await desk.give_back("o-4", (sku, 4))) == [(sku, "RETURN", 4, "Order")]


async def test_what_a_cancellation_put_back_cannot_come_back_again(desk: Desk) -> None:
    sku = await desk.sku(9)
    await desk.sell("o-5", (sku, 4))
    await desk.give_back("o-5", (sku, 1))
    await report_order(desk.inventory, Reporter("shop"), OrderCancelled("o-5"))
    assert await desk.level(sku) == (9, 0)
    with pytest.raises(ReturnExceedsOrder):
        await desk.give_back("o-5", (sku, 1))


async def test_the_same_return_again_gives_the_same_rows(desk: Desk) -> None:
    sku = await desk.sku(9)
    await desk.sell("o-6", (sku, 4))
    first = await desk.give_back("o-6", (sku, 4), idempotency_key="r-1")
    assert await desk.give_back("o-6", (sku, 4), idempotency_key="r-1") == first
    with pytest.raises(KeyReused):
        await desk.give_back("o-6", (sku, 3), idempotency_key="r-1")
    assert await desk.level(sku) == (9, 0)


async def test_parallel_returns_never_exceed_the_order(desk: Desk) -> None:
    sku = await desk.sku(50)
    await desk.sell("o-7", (sku, 10))

    async def one(number: int) -> int:
        try:
            await desk.give_back("o-7", (sku, 3), idempotency_key=f"p-{number % 8}")
        except ReturnExceedsOrder:
            return 0
        return number % 8 + 1

    # Each of eight returns is asked for twice, at once.
    done = await asyncio.gather(*(one(number) for number in range(16)))
    assert len(set(done) - {0}) == 3
    assert await desk.level(sku) == (49, 0)


async def test_returns_and_cancellations_of_one_order_at_once(desk: Desk) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    choose = random.Random(seed)
    for number in range(4):
        order, sku = f"o-8-{number}", await desk.sku(50)
        await desk.sell(order, (sku, 6))

        async def give_back(order: str = order, sku: str = sku) -> None:
            with contextlib.suppress(ReturnExceedsOrder):
                await desk.give_back(order, (sku, choose.randint(1, 4)))

        async def cancel(order: str = order) -> None:
            await report_order(desk.inventory, Reporter("shop"), OrderCancelled(order))

        await asyncio.gather(*(choose.choice((give_back, cancel))() for _ in range(5)), cancel())
        assert await desk.level(sku) == (50, 0)


async def test_a_return_that_waits_for_approval_is_judged_again(desk: Desk) -> None:
    sku = await desk.sku(50)
    await desk.sell("o-9", (sku, 30))
    first, second = [await desk.give_back("o-9", (sku, 20)) for _ in range(2)]
    assert isinstance(first, Approval)
    assert isinstance(second, Approval)
    assert await desk.level(sku) == (20, 0)
    decision = await approvals.approve(desk.inventory, first.id, ANN)
    assert rows_of(decision.transactions) == [(sku, "RETURN", 20, "Order")]
    with pytest.raises(ReturnExceedsOrder) as refused:
        await approvals.approve(desk.inventory, second.id, ANN)
    assert refused.value.items[0].returnable == 10
    assert (await desk.state(second.id)).status == "PENDING"
    assert await desk.level(sku) == (40, 0)
    with pytest.raises(ReturnExceedsOrder):
        # Too much at once is said at once, not after somebody has thought about it.
        await desk.give_back("o-9", (sku, 11))
