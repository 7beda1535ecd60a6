"""One flash sale from opening to verdict: put the units up, let the buyers in, wait for the deadlines, settle, judge.

Owns the order of these. Never sends a buyer's request (buyers.py) and never judges (oracle.py).
"""

from __future__ import annotations

import asyncio
import multiprocessing
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Final

from msgspec import Struct

from runtime.loadtest.buyers import Share, decode_share, look_at, play_share, run_share
from runtime.loadtest.last_purchase import buy_the_rest
from runtime.loadtest.observations import Looked, Seen, Verb
from runtime.loadtest.oracle import Evidence, Verdict, judge
from runtime.loadtest.schedule import Buyer, Sale, make_buyers
from runtime.service_client import ServiceClient, ServiceError, sku_path
from runtime.throwaway_service import ServiceAddress

LEAD_S: Final = 0.3
LEAD_PROCESSES_S: Final = 2.0
"""From the start of the generator to the first arrival: its connections, or its processes as well, must be up."""

SETTLE_S: Final = 0.5
"""After the last deadline, before holds are read as they ended."""

PATIENCE_S: Final = 20.0


class Outcome(Struct, frozen=True):
    """A sale that was played and judged."""

    sale: Sale
    buyers: list[Buyer]
    seen: list[Seen]
    verdict: Verdict
    processes: int
    took_s: float
    """From the first arrival's instant to the last answer to a buyer."""


Tell = Callable[[str], None]


async def flash_sale(  # noqa: PLR0917
    service: ServiceAddress,
    sale: Sale,
    connections: int,
    processes: int,
    tell: Tell,
    patience_s: float = PATIENCE_S,
) -> Outcome:
    """Run a sale against a service and judge it.

    `patience_s`: how long a request whose outcome is unknown is repeated, and how long the ledger may take to catch up.
    Raises ServiceError when the service cannot be used.
    """
    buyers = make_buyers(sale)
    async with (
        ServiceClient(service.url, service.admin_key, connections=4) as admin,
        ServiceClient(service.url, service.storefront_key, connections=4, patience_s=patience_s) as storefront,
    ):
        await admin.wait_ready()
        tell(f"{sale.sku}: {sale.units:,} units on sale")
        product = {"name": f"Flash sale {sale.run}", "category": "Flash sale", "initial_stock": sale.units}
        await admin.expect((201,), "PUT", f"/inventory/products/{sku_path(sale.sku)}", product)
        tell(f"{len(buyers):,} buyers in about {sale.duration_s:.1f} s, then {sale.ttl_s} s for the last holds to end")
        started, seen = await _let_in(service, sale, buyers, connections, processes, patience_s)
        await _wait_for_deadlines(sale, seen)
        tell("every deadline has passed: buying what must be left, reading every hold and the ledger")
        drained = await buy_the_rest(storefront, sale, buyers, seen)
        looked = await _look(service, seen, connections, patience_s)
        evidence = Evidence(
            sale=sale,
            buyers=buyers,
            seen=seen,
            looked=looked,
            drained=drained,
            ledger=await admin.transactions_after(None, sale.sku),
            counters=await admin.status_or_none(sale.sku),
        )
    last = max((one.answered_s for one in seen), default=started)
    return Outcome(sale, buyers, seen, judge(evidence), processes, last - started)


async def _let_in(  # noqa: PLR0917
    service: ServiceAddress, sale: Sale, buyers: list[Buyer], connections: int, processes: int, patience_s: float
) -> tuple[float, list[Seen]]:
    """Play every buyer; the instant of the start, and all that was seen."""
    start_s = time.monotonic() + (LEAD_S if processes == 1 else LEAD_PROCESSES_S)
    shares = [
        Share(
            url=service.url,
            api_key=service.storefront_key,
            sale=sale,
            buyers=tuple(buyers[number::processes]),
            connections=max(1, connections // processes),
            patience_s=patience_s,
            start_s=start_s,
        )
        for number in range(processes)
    ]
    try:
        if processes == 1:
            return start_s, await play_share(shares[0])
        loop = asyncio.get_running_loop()
        with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
            played = await asyncio.gather(*(loop.run_in_executor(pool, run_share, share) for share in shares))
        return start_s, [seen for raw in played for seen in decode_share(raw)]
    except (OSError, TimeoutError) as error:
        raise ServiceError(f"{service.url} cannot be reached: {error}") from error


async def _wait_for_deadlines(sale: Sale, seen: list[Seen]) -> None:
    granted = [one.answered_s for one in seen if one.verb == Verb.RESERVE and one.status == 201]
    if granted:
        await asyncio.sleep(max(0.0, max(granted) + sale.ttl_s + SETTLE_S - time.monotonic()))


async def _look(service: ServiceAddress, seen: list[Seen], connections: int, patience_s: float) -> list[Looked]:
    ids = list({one.reservation: None for one in seen if one.verb == Verb.RESERVE and one.reservation})
    return await look_at(service.url, service.storefront_key, ids, connections, patience_s)
