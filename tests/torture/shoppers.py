"""Buyers and a stock clerk, all at work at once: reserve, repeat, amend, confirm, release, order, adjust, walk away.

Owns what they ask for, which depends on the seed alone, and the record of it; never judges an answer.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

import msgspec

from tests.torture.calls import Allowed, Answered, Call, Verb, answered
from tests.torture.world import NotSettled, World

SHOPPERS = 10
SHORT_TTL_S = 1
"""Of holds that nobody may ever hear of: they must end by themselves."""
LONG_TTL_S = 600
PAUSE_S = 0.05
RESOLVE_S = 120.0


class Shop:
    """The SKUs of one run, the people in it, and everything they saw."""

    def __init__(self, world: World, name: str, rng: random.Random, think_s: float = 0.01) -> None:
        """`think_s`: the longest that somebody thinks between two steps."""
        self.world = world
        self.name = name
        self._think_s = think_s
        self._rng = rng
        self.stock = {f"{name}-{letter}": rng.randint(6, 60) for letter in "ABCDE"}
        self.quiet_sku = f"{name}-QUIET"
        """Nobody buys it."""
        self.calls: list[Call] = []
        self.answers = 0
        self.closing = False
        self._last_number = 0
        self._last_status = 200

    # --- the day -------------------------------------------------------------------------------------------------

    async def stock_up(self) -> None:
        """Make the products; everything is well while this is done. Raises NotSettled."""

        async def put(sku: str, units: int) -> None:
            body = {"name": sku, "initial_stock": units}
            request = self.world.admin.make("PUT", f"/inventory/products/{sku}", msgspec.json.encode(body))
            deadline = asyncio.get_running_loop().time() + RESOLVE_S
            while (answer := await self.world.ask(request)).status not in (200, 201):
                if asyncio.get_running_loop().time() > deadline:
                    break
                await asyncio.sleep(PAUSE_S)
            else:
                return
            raise NotSettled(f"product {sku} cannot be made: {answer.status} {answer.body[:200]!r}")

        await asyncio.gather(*(put(sku, units) for sku, units in self.all_stock.items()))

    @property
    def all_stock(self) -> dict[str, int]:
        return {**self.stock, self.quiet_sku: 20}

    def open(self) -> list[asyncio.Task[None]]:
        """Let everybody in; they stay until `closing`."""
        people = [self._shop(random.Random(self._rng.random())) for _ in range(SHOPPERS)]
        people.append(self._keep_stock(random.Random(self._rng.random())))
        return [asyncio.create_task(person) for person in people]

    async def resolve(self, allowed: Allowed) -> None:
        """When all is well again: ask until everything that may be repeated is known, and let go of what is held.

        Raises NotSettled when something stays unknown.
        """
        # What was sent and not heard of may arrive late, even after a refusal of its repeat: only now that all is well
        # is a refusal the last word. What may have been forgotten is asked for again as well.
        open_calls = [
            call
            for call in self.calls
            if call.keyed
            and not _firmly_done(call, allowed)
            and any(one.outcome == "unknown" or allowed.forgets(call, one) for one in call.tries)
        ]
        await asyncio.gather(*(self._until_known(call) for call in open_calls))
        ended = {
            reservation_id
            for call in self.calls
            for reservation_id in call.reservation_ids
            if call.verb in ("confirm", "release", "order") and _firmly_done(call, allowed)
        }
        held = {
            one.body["id"]
            for call in self.calls
            for one in call.tries
            if call.verb == "reserve" and one.outcome == "done"
        }
        await asyncio.gather(*(self._let_go(reservation_id) for reservation_id in sorted(held - ended)))

    async def _let_go(self, reservation_id: str) -> None:
        call = self._call("release", keyed=True, reservation_ids=(reservation_id,))
        await self._until_known(call)

    async def _until_known(self, call: Call) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + RESOLVE_S
        while (await self._try(call)).outcome == "unknown" or call.tries[-1].status == 503:
            if loop.time() > deadline:
                last = call.tries[-1]
                raise NotSettled(f"call {call.number} ({call.verb}) has no answer: {last.status} {last.code}")
            await asyncio.sleep(PAUSE_S)

    # --- one person ----------------------------------------------------------------------------------------------

    async def _shop(self, rng: random.Random) -> None:
        while not self.closing:
            hold = await self._reserve(rng)
            if hold is None:
                # Whoever is told to come back later does not come back at once.
                away = self._last_status in (0, 503)
                await asyncio.sleep(rng.uniform(PAUSE_S, 2 * PAUSE_S) if away else rng.uniform(0, 2 * self._think_s))
                continue
            await self._think(rng)
            if rng.random() < 0.2:
                await self._amend(rng, hold)
            await self._end(rng, hold)
            await self._think(rng)

    async def _think(self, rng: random.Random) -> None:
        await asyncio.sleep(rng.uniform(0, self._think_s))

    async def _reserve(self, rng: random.Random) -> str | None:
        """A hold's id, if there is one."""
        skus = rng.sample(sorted(self.stock), rng.choice((1, 1, 1, 2, 3)))
        keyed = rng.random() < 0.6
        call = self._call("reserve", keyed=keyed, lines={sku: rng.randint(1, 3) for sku in skus})
        await self._try(call)
        if keyed:
            for _ in range(3):
                if not call.unknown or self.closing:
                    break
                await asyncio.sleep(PAUSE_S)
                await self._try(call)
            if call.done is not None and rng.random() < 0.2:
                await self._try(call)  # the first answer again
        return None if call.done is None else str(call.done.body["id"])

    async def _amend(self, rng: random.Random, reservation_id: str) -> None:
        skus = rng.sample(sorted(self.stock), rng.choice((1, 2)))
        call = self._call(
            "amend",
            keyed=False,
            lines={sku: rng.randint(1, 3) for sku in skus},
            reservation_ids=(reservation_id,),
        )
        await self._try(call)

    async def _end(self, rng: random.Random, reservation_id: str) -> None:
        choice = rng.random()
        if choice < 0.15:
            return  # walks away: it expires, or is let go in the end
        confirm = self._call(
            "confirm", keyed=True, reservation_ids=(reservation_id,), order_id=f"{self.name}-o{len(self.calls)}"
        )
        release = self._call("release", keyed=True, reservation_ids=(reservation_id,))
        if choice < 0.25:
            await asyncio.gather(self._try(confirm), self._try(release))  # two tabs
            return
        if choice < 0.50:
            self.calls.remove(confirm)
            await self._try(release)
            return
        self.calls.remove(release)
        if choice < 0.70:
            confirm.verb = "order"
            await self._try(confirm)
            if confirm.done is not None and rng.random() < 0.4:
                cancel = self._call("cancel", keyed=True, reservation_ids=(reservation_id,), order_id=confirm.order_id)
                await self._try(cancel)
            return
        await self._try(confirm)
        if rng.random() < 0.2:
            await self._try(confirm)

    async def _keep_stock(self, rng: random.Random) -> None:
        while not self.closing:
            sku = rng.choice(sorted(self.stock))
            units = rng.choice((1, 2, 5, -1, -2))
            call = self._call("adjust", keyed=True, lines={sku: units})
            await self._try(call)
            if rng.random() < 0.3:
                await self._try(call)
            await asyncio.sleep(rng.uniform(self._think_s, 5 * self._think_s))

    # --- asking --------------------------------------------------------------------------------------------------

    def _call(self, verb: Verb, **fields: Any) -> Call:
        self._last_number += 1
        call = Call(self._last_number, verb, tries=[], **fields)
        self.calls.append(call)
        return call

    async def _try(self, call: Call) -> Answered:
        request = _REQUESTS[call.verb](self, call)
        found = answered(await self.world.ask(request))
        call.tries.append(found)
        self._last_status = found.status
        self.answers += 1
        return found

    def _reserve_request(self, call: Call) -> bytes:
        body = {
            "customer_id": self.name,
            "cart_id": f"{self.name}-{call.number}",
            "lines": [{"sku": sku, "quantity": units} for sku, units in call.lines.items()],
            # What is not keyed and not heard of must end by itself.
            "ttl_seconds": LONG_TTL_S if call.keyed and call.number % 4 else SHORT_TTL_S,
        }
        headers = {"Idempotency-Key": f"{self.name}-{call.number}"} if call.keyed else None
        return self.world.storefront.make("POST", "/inventory/reserve", msgspec.json.encode(body), headers)

    def _amend_request(self, call: Call) -> bytes:
        body = {"lines": [{"sku": sku, "quantity": units} for sku, units in call.lines.items()]}
        return self.world.storefront.make(
            "PATCH", f"/inventory/reserve/{call.reservation_ids[0]}", msgspec.json.encode(body)
        )

    def _confirm_request(self, call: Call) -> bytes:
        path = f"/inventory/reserve/{call.reservation_ids[0]}/confirm"
        return self.world.storefront.make("POST", path, msgspec.json.encode({"order_id": call.order_id}))

    def _release_request(self, call: Call) -> bytes:
        return self.world.storefront.make("DELETE", f"/inventory/reserve/{call.reservation_ids[0]}")

    def _order_request(self, call: Call) -> bytes:
        body = {"type": "order.created", "order_id": call.order_id, "reservation_ids": list(call.reservation_ids)}
        return self.world.storefront.make("POST", "/inventory/orders", msgspec.json.encode(body))

    def _cancel_request(self, call: Call) -> bytes:
        body = {"type": "order.cancelled", "order_id": call.order_id, "reason": "changed their mind"}
        return self.world.storefront.make("POST", "/inventory/orders", msgspec.json.encode(body))

    def _adjust_request(self, call: Call) -> bytes:
        ((sku, units),) = call.lines.items()
        body = {
            "sku": sku,
            "kind": "receive" if units > 0 else "remove",
            "quantity": abs(units),
            "reason": "torture",
            "reference": f"{self.name}-{call.number}",
        }
        headers = {"Idempotency-Key": f"{self.name}-{call.number}"}
        return self.world.admin.make("POST", "/inventory/adjust", msgspec.json.encode(body), headers)


def _firmly_done(call: Call, allowed: Allowed) -> bool:
    return any(one.outcome == "done" and not allowed.forgets(call, one) for one in call.tries)


_REQUESTS: dict[Verb, Callable[[Shop, Call], bytes]] = {
    "reserve": Shop._reserve_request,
    "amend": Shop._amend_request,
    "confirm": Shop._confirm_request,
    "release": Shop._release_request,
    "order": Shop._order_request,
    "cancel": Shop._cancel_request,
    "adjust": Shop._adjust_request,
}
