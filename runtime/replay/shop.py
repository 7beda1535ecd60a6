"""Playing a plan against a service: products, deliveries, then orders, returns and write-offs, many at a time.

Owns the requests and their idempotency keys, and what came of each. Never looks at the stock to decide anything.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Final, Protocol, TypeVar

from msgspec import Struct

from runtime.at_a_time import at_a_time
from runtime.replay.plan import DamagePlan, OrderPlan, Plan, ProductPlan, ReturnPlan, portions
from runtime.replay.second_person import SecondPerson
from runtime.service_client import Answer, Reservation, ServiceClient, refused, sku_path

T = TypeVar("T")

RESERVE_SECONDS: Final = 1800
MAX_REASON: Final = 500
CHANGED: Final = (200, 201)
"""Statuses of a change of stock that was made: approved by a second person, or at once."""


class Progress(Protocol):
    """Who wants to know how far it is."""

    def begin(self, what: str, total: int) -> None:
        """A phase of `total` steps begins."""

    def step(self) -> None:
        """One step is done."""


class Refusal(Struct, frozen=True):
    """Something the service would not do; the comparison that follows will show what is missing for it."""

    document: str
    reason: str


class Played(Struct):
    """What was done. Counts of requests that succeeded."""

    products: int = 0
    kept_products: int = 0
    """Products that existed before: delivered to, otherwise left as they are."""
    deliveries: int = 0
    orders: int = 0
    order_lines: int = 0
    units_sold: int = 0
    returns: int = 0
    damages: int = 0
    refusals: list[Refusal] = []
    last_confirmed: str = ""
    """Id of a confirmed reservation: confirming it again is how to wait for the ledger."""


class Shop:
    """One run of a plan. `run` makes its idempotency keys its own."""

    def __init__(
        self,
        admin: ServiceClient,
        storefront: ServiceClient,
        second_person: SecondPerson,
        run: str,
        *,
        concurrency: int,
        progress: Progress,
    ) -> None:
        self._admin = admin
        self._storefront = storefront
        self._second_person = second_person
        self._run = run
        self._concurrency = concurrency
        self._progress = progress
        self.played = Played(refusals=[])

    async def open(self, products: Sequence[ProductPlan], existing: Iterable[str]) -> None:
        """Make the products that do not exist and receive every product's opening stock."""
        known = set(existing)
        self.played.kept_products = sum(product.sku in known for product in products)
        new = [product for product in products if product.sku not in known]
        await self._each("products", new, self._make_product)
        deliveries = [
            (product.sku, part, units) for product in products for part, units in enumerate(portions(product.opening))
        ]
        await self._each("deliveries", deliveries, self._receive)

    async def trade(self, plan: Plan) -> None:
        """Orders, returns and write-offs, started in the order of the file, `concurrency` at a time."""
        await self._each("orders", plan.work, self._do)

    async def wait_for_ledger(self) -> None:
        """Return once everything acknowledged so far is in the ledger."""
        if not self.played.last_confirmed:
            return  # Every other request was answered only after its own ledger row.
        path = f"/inventory/reserve/{self.played.last_confirmed}/confirm"
        answer = await self._storefront.call("POST", path, {}, headers={"Holdfast-Durability": "ledger"})
        if answer.status != 200:
            raise refused("POST", path, answer)

    async def _each(self, what: str, items: Sequence[T], do: Callable[[T], Awaitable[None]]) -> None:
        self._progress.begin(what, len(items))

        async def step(item: T) -> None:
            await do(item)
            self._progress.step()

        await at_a_time(self._concurrency, items, step)

    async def _make_product(self, product: ProductPlan) -> None:
        body = {"name": product.name, "category": product.category}
        await self._admin.expect((200, 201), "PUT", f"/inventory/products/{sku_path(product.sku)}", body)
        self.played.products += 1

    async def _receive(self, delivery: tuple[str, int, int]) -> None:
        sku, part, units = delivery
        body = {
            "sku": sku,
            "kind": "receive",
            "quantity": units,
            "reason": "opening stock of the replayed month",
            "reference": f"replay {self._run}",
        }
        key = self._key("opening", part, sku)
        answer = await self._change("/inventory/adjust", body, key)
        if answer.status not in CHANGED:
            raise refused("POST", "/inventory/adjust", answer)
        self.played.deliveries += 1

    async def _do(self, item: OrderPlan | ReturnPlan | DamagePlan) -> None:
        if isinstance(item, OrderPlan):
            await self._order(item)
        elif isinstance(item, ReturnPlan):
            await self._take_back(item)
        else:
            await self._write_off(item)

    async def _order(self, order: OrderPlan) -> None:
        body = {
            "customer_id": order.customer,
            "ttl_seconds": RESERVE_SECONDS,
            "lines": [{"sku": sku, "quantity": quantity} for sku, quantity in order.lines],
        }
        key = self._key("order", order.part, order.order_id)
        answer = await self._storefront.call("POST", "/inventory/reserve", body, key=key)
        if answer.status != 201:
            return self._refuse(order.order_id, "reserve", answer)
        reservation = answer.read(Reservation)
        path = f"/inventory/reserve/{reservation.id}/confirm"
        answer = await self._storefront.call("POST", path, {"order_id": order.order_id})
        if answer.status != 200 or answer.read(Reservation).status != "COMPLETED":
            return self._refuse(order.order_id, "confirm", answer)
        self.played.orders += 1
        self.played.order_lines += len(order.lines)
        self.played.units_sold += sum(quantity for _, quantity in order.lines)
        self.played.last_confirmed = reservation.id
        return None

    async def _take_back(self, item: ReturnPlan) -> None:
        body = {
            "order_id": item.order_id,
            "items": [{"sku": sku, "quantity": quantity} for sku, quantity in item.items],
            "reason": f"cancellation {item.order_id}",
        }
        key = self._key("return", item.part, item.order_id)
        answer = await self._change("/inventory/return", body, key)
        if answer.status not in CHANGED:
            return self._refuse(item.order_id, "return", answer)
        self.played.returns += 1
        return None

    async def _write_off(self, item: DamagePlan) -> None:
        note = "".join(letter for letter in item.note if letter.isprintable())
        reason = f"write-off {item.invoice}" + (f": {note}" if note else "")
        body = {"sku": item.sku, "quantity": item.quantity, "reason": reason[:MAX_REASON]}
        key = self._key("damage", item.part, f"{item.sku}/{item.invoice}")
        answer = await self._change("/inventory/damage", body, key)
        if answer.status not in CHANGED:
            return self._refuse(item.invoice, "damage", answer)
        self.played.damages += 1
        return None

    async def _change(self, path: str, body: Mapping[str, object], key: str) -> Answer:
        """Change the stock by hand; what is too much for one person, with the other's approval."""
        answer = await self._admin.call("POST", path, body, key=key)
        return await self._second_person.approve(answer) if answer.status == 202 else answer

    def _key(self, what: str, part: int, document: str) -> str:
        """An idempotency key: printable ASCII whatever an invoice is called, and never too long."""
        digest = hashlib.blake2b(document.encode(), digest_size=16).hexdigest()
        return f"replay-{self._run}-{what}-{part}-{digest}"

    def _refuse(self, document: str, verb: str, answer: Answer) -> None:
        self.played.refusals.append(Refusal(document, str(refused(verb, document, answer))))
