"""A flash sale: five hundred customers, a hundred units, all at once. Prints what each got and checks that it adds up.

    python -m examples.flash_sale [CUSTOMERS] [UNITS]

Every seventh customer's payment fails: the hold's block ends with an exception, and the unit is there for whoever asks
next.
"""

from __future__ import annotations

import asyncio
import sys
import time
import uuid
from collections import Counter

from examples.connection import address, key
from holdfast_client import AsyncClient, InsufficientStock, StockStatus

HOLD_S = 60
"""How long a customer may take to pay."""


class PaymentFailedError(Exception):
    """The card was refused."""


async def pay(number: int) -> None:
    """Stands for a payment service: it takes a moment, and every seventh card is refused."""
    await asyncio.sleep(0.01)
    if number % 7 == 0:
        raise PaymentFailedError


async def buy(client: AsyncClient, sku: str, number: int) -> str:
    """One customer: hold, pay, confirm. What became of it."""
    try:
        async with client.hold(sku, 1, customer_id=f"customer-{number}", ttl_s=HOLD_S) as hold:
            await pay(number)
            await hold.confirm(order_id=f"order-{sku}-{number}")
    except InsufficientStock:
        return "sold out"
    except PaymentFailedError:
        return "payment failed, unit given back"
    return "bought"


async def settled(admin: AsyncClient, sku: str) -> StockStatus:
    """The stock once nobody holds any: a hold that could not be given back at once ends by itself."""
    deadline = time.monotonic() + HOLD_S + 10
    while True:
        stock = await admin.stock_status(sku)
        if stock.reserved == 0 or time.monotonic() > deadline:
            return stock
        await asyncio.sleep(0.5)


async def sale(customers: int, units: int) -> bool:
    """Run it. True if no unit was lost and none sold twice."""
    sku = f"FLASH-{uuid.uuid4().hex[:8]}"
    async with AsyncClient(address(), key("admin")) as admin, AsyncClient(address(), key("storefront")) as shop:
        await admin.put_product(sku, "One day only", initial_stock=units)
        outcomes = Counter(await asyncio.gather(*(buy(shop, sku, number) for number in range(customers))))
        after = await settled(admin, sku)
    for outcome, count in sorted(outcomes.items()):
        print(f"{count:6} {outcome}")
    print(f"{after.on_hand:6} on hand, {after.reserved} reserved")
    return after.on_hand == units - outcomes["bought"] and after.reserved == 0 and outcomes["bought"] <= units


def main() -> None:
    """Entry point."""
    given = [int(text) for text in sys.argv[1:3]]
    customers, units = given + [500, 100][len(given) :]
    if not asyncio.run(sale(customers, units)):
        raise SystemExit("it does not add up")


if __name__ == "__main__":
    main()
