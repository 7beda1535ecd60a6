"""The last purchase of a sale: when every hold has ended, all that must be left is bought in one piece.

Owns these few requests, and waiting for the ledger. Never judges: what could not be had is evidence (oracle.py).
"""

from __future__ import annotations

from typing import Final

from runtime.loadtest.observations import Seen, Verb
from runtime.loadtest.oracle import Drained
from runtime.loadtest.schedule import Buyer, Sale, key_of, order_of
from runtime.service_client import Answer, Reservation, ServiceClient, Unreachable

TTL_S: Final = 60


async def buy_the_rest(storefront: ServiceClient, sale: Sale, buyers: list[Buyer], seen: list[Seen]) -> Drained:
    """Buy what must be left by the answers, see that nothing more can be had, wait for the ledger."""
    quantities = {buyer.number: buyer.quantity for buyer in buyers}
    sold_to = {one.target: one.buyer for one in seen if one.verb == Verb.CONFIRM and one.status == 200}
    left = max(0, sale.units - sum(quantities[buyer] for buyer in sold_to.values()))
    order_id = order_of(sale, len(buyers))
    sold, refusal = 0, ""
    newest, buyer = next(reversed(sold_to.items()), ("", 0))
    if left:
        bought, refusal = await _buy(storefront, sale, left, key_of(sale, len(buyers)), order_id)
        if bought:
            newest, buyer, sold = bought, len(buyers), left
    ledger = await _wait_for_ledger(storefront, newest, order_of(sale, buyer)) if newest else ""
    beyond = await _held_beyond(storefront, sale) if sold == left else 0
    return Drained(left, sold, order_id, refusal, ledger, beyond)


async def _buy(storefront: ServiceClient, sale: Sale, units: int, key: str, order_id: str) -> tuple[str, str]:
    """Reserve and confirm; the reservation's id, or "" and why not."""
    body = {"customer_id": "the last buyer", "sku": sale.sku, "quantity": units, "ttl_seconds": TTL_S}
    try:
        answer = await storefront.call("POST", "/inventory/reserve", body, key=key)
        if answer.status != 201:
            return "", _why(answer)
        reservation = answer.read(Reservation).id
        answer = await storefront.call("POST", f"/inventory/reserve/{reservation}/confirm", {"order_id": order_id})
    except Unreachable as error:
        return "", str(error)
    return (reservation, "") if answer.status == 200 else ("", f"confirm: {_why(answer)}")


async def _wait_for_ledger(storefront: ServiceClient, reservation: str, order_id: str) -> str:
    """Return once everything up to now is in the ledger; if that cannot be had, why."""
    # Asked with durability `ledger`, a confirm is answered once everything before it is in the ledger, also when
    # it only repeats an earlier one.
    path, headers = f"/inventory/reserve/{reservation}/confirm", {"Holdfast-Durability": "ledger"}
    try:
        answer = await storefront.call("POST", path, {"order_id": order_id}, headers=headers)
    except Unreachable as error:
        return str(error)
    return "" if answer.status == 200 else _why(answer)


async def _held_beyond(storefront: ServiceClient, sale: Sale) -> int:
    """Units that can be held when none can be left; given back at once."""
    body = {"customer_id": "one too many", "sku": sale.sku, "quantity": 1, "ttl_seconds": TTL_S}
    try:
        answer = await storefront.call("POST", "/inventory/reserve", body)
    except Unreachable:
        return 0  # Nothing was had; that nobody answers is in the evidence already.
    if answer.status != 201:
        return 0
    await storefront.call("DELETE", f"/inventory/reserve/{answer.read(Reservation).id}")
    return 1


def _why(answer: Answer) -> str:
    problem = answer.problem
    there = f", {problem.shortages[0].available} available" if problem.shortages else ""
    return f"{answer.status} {problem.code}{there}"
