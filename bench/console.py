"""The web console over 100,000 products: its first page, a search, how late live counters are, what they cost Redis.

    python -m bench.console

Compares four figures with their goals; there is no rival. The first page counts its HTML, style and scripts as a
browser fetches them (packed), one after the other over one connection. A change is late by the time from a reserve's
answer until a tick of the open page carries it. The cost is Valkey's own CPU time with a page of 50 products open,
less that without, as a share of one core. Caveat: no browser draws anything here; tests/console has one.
"""

from __future__ import annotations

import re
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Final

import httpx
import msgspec
from redis import Redis

from bench.commands import sku_names
from bench.figures import Figure
from bench.rounds import Scale, run_alone
from bench.servers import ADMIN_KEY, STOREFRONT_KEY, HttpServer, holdfast_api, holdfast_worker, postgres, valkey
from bench.whole_store import fill, settle
from engine.commands import Configure

COMMAND = "python -m bench.console"
SKUS: Final = 100_000
ON_SCREEN: Final = 50
LOOKS: Final = 30
COST_S: Final = 15.0
MODULES: Final = ("live.js", "times.js", "stock.js", "charts.js")
"""Scripts that other scripts ask for."""


def measure(scale: Scale) -> list[Figure]:
    """Milliseconds, kilobytes, and a share of a core."""
    count, looks = scale.of(SKUS), max(5, scale.of(LOOKS))
    skus = sku_names(count)
    with ExitStack() as stack:
        redis_server = stack.enter_context(valkey())
        database = stack.enter_context(postgres())
        fill(redis_server.url, database.url, [Configure(sku, 0, 10, True, 500, "admin") for sku in skus])
        settle(database)
        stack.enter_context(holdfast_worker(redis_server.url, database.url))
        server = stack.enter_context(holdfast_api(redis_server.url, database.url))
        browser = stack.enter_context(signed_in(server))
        redis = stack.enter_context(Redis.from_url(redis_server.url))
        first = [_first_page(browser) for _ in range(looks)]
        searches = {
            "a SKU": f"q={skus[count // 2]}",
            "a part of many": "q=1",
            "nothing": "q=no-such-thing-anywhere",
            "most held": "sort=-reserved",
            "least available": "sort=available&state=in",
            "deep": f"q={skus[-1][-4:]}",
        }
        slowest = max(_median_ms(browser, f"/console/stock?{query}", looks) for query in searches.values())
        late = _delays(server, browser, skus[0], looks)
        costs = [_cost(browser, redis, skus[:ON_SCREEN], scale.seconds(COST_S)) for _ in range(scale.rounds)]
    return [
        _figure("console, first page with style and scripts", "ms", statistics.median(ms for ms, _ in first), 300.0),
        _figure("console, bytes of the first page, packed", "kB", first[0][1] / 1000, 200.0),
        _figure(f"console, slowest of six searches over {count:,} products", "ms", slowest, 300.0),
        _figure("console, a reserve on the screen after (slowest)", "ms", max(late), 1000.0),
        _figure(
            f"console, a live page of {ON_SCREEN} products: share of a core of Valkey",
            "%",
            100 * statistics.median(costs),
            1.0,
        ),
    ]


@contextmanager
def signed_in(server: HttpServer) -> Iterator[httpx.Client]:
    """A browser that is signed in with the admin's key."""
    address = f"http://127.0.0.1:{server.port}"
    with httpx.Client(base_url=address, headers={"origin": address}, trust_env=False, timeout=60) as client:
        answer = client.post("/console/sign-in", data={"key": ADMIN_KEY})
        if answer.status_code != 303:
            raise RuntimeError(f"the sign-in was answered {answer.status_code}")
        yield client


def _first_page(browser: httpx.Client) -> tuple[float, int]:
    """Milliseconds and bytes on the wire."""
    began, size = time.perf_counter(), 0
    page = browser.get("/console")
    page.raise_for_status()
    addresses = re.findall(r'(?:src|href)="(/console/static/[^"]+)"', page.text)
    folder = addresses[0].rpartition("/")[0]
    for address in [*dict.fromkeys(addresses), *(f"{folder}/{name}" for name in MODULES)]:
        answer = browser.get(address)
        answer.raise_for_status()
        size += int(answer.headers["content-length"])
    return (time.perf_counter() - began) * 1000, size + int(page.headers["content-length"])


def _median_ms(browser: httpx.Client, path: str, times: int) -> float:
    took = []
    for _ in range(times):
        began = time.perf_counter()
        browser.get(path).raise_for_status()
        took.append(time.perf_counter() - began)
    return statistics.median(took) * 1000


def _delays(server: HttpServer, browser: httpx.Client, sku: str, times: int) -> list[float]:
    """Milliseconds from the answer to a reserve to the tick that shows it."""
    seen: dict[int, float] = {}
    ready, done = threading.Event(), threading.Event()

    def look() -> None:
        for tick in _ticks(browser, [sku]):
            seen.setdefault(tick["stock"][sku][1], time.perf_counter())
            ready.set()
            if done.is_set():
                return

    looking = threading.Thread(target=look, daemon=True)
    looking.start()
    ready.wait(30)
    late = []
    headers = {"authorization": f"Bearer {STOREFRONT_KEY}"}
    with httpx.Client(base_url=f"http://127.0.0.1:{server.port}", headers=headers, trust_env=False) as shop:
        for number in range(1, times + 1):
            body = {"customer_id": "ann", "sku": sku, "quantity": 1}
            shop.post("/inventory/reserve", json=body).raise_for_status()
            began = time.perf_counter()
            while number not in seen:
                if time.perf_counter() - began > 30:
                    raise RuntimeError("the page does not hear of a reserve")
                time.sleep(0.002)
            late.append((seen[number] - began) * 1000)
            # Not in step with the ticks: at any moment between two of them.
            time.sleep((number * 0.137) % 0.75)
    done.set()
    looking.join(10)
    return late


def _cost(browser: httpx.Client, redis: Redis, skus: list[str], seconds: float) -> float:
    """Share of one core that Valkey uses more while a page with these products is open."""
    alone = _cpu_share(redis, seconds)
    done = threading.Event()

    def look() -> None:
        for _ in _ticks(browser, skus):
            if done.is_set():
                return

    looking = threading.Thread(target=look, daemon=True)
    looking.start()
    time.sleep(1.0)
    beside = _cpu_share(redis, seconds)
    done.set()
    looking.join(10)
    return max(0.0, beside - alone)


def _cpu_share(redis: Redis, seconds: float) -> float:
    def used_s() -> float:
        found: Any = redis.info("cpu")
        return float(found["used_cpu_sys_main_thread"] + found["used_cpu_user_main_thread"])

    before, began = used_s(), time.perf_counter()
    time.sleep(seconds)
    return (used_s() - before) / (time.perf_counter() - began)


def _ticks(browser: httpx.Client, skus: list[str]) -> Iterator[Any]:
    query = "&".join(f"sku={sku}" for sku in skus)
    with browser.stream("GET", f"/console/live?{query}") as stream:
        for line in stream.iter_lines():
            if line.startswith("data:"):
                yield msgspec.json.decode(line[5:])


def _figure(what: str, unit: str, ours: float, goal: float) -> Figure:
    return Figure(what=what, unit=unit, ours=ours, comparison="<=", goal=goal, goal_on="ours", command=COMMAND)


if __name__ == "__main__":
    run_alone(measure, "The console")
