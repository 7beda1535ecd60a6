"""From a reserve that takes a SKU below its threshold to the alert that an operator sees, in a shop that sells.

    python -m bench.alert_delay

Compares with nothing: a job that looks every minute needs 30 s on average. Time counts from the moment the reserve was
answered until GET /inventory/alerts shows the SKU's alert, asked again and again; so the figure holds one more request
than the alert took. Meanwhile other SKUs sell, up to 200 reserves a second. Caveat: the slowest of the alerts is the
figure, so one pause of the machine is in it.
"""

from __future__ import annotations

import statistics
import threading
import time
from contextlib import ExitStack
from typing import Final

import httpx

from bench.commands import sku_names
from bench.figures import Figure
from bench.rounds import Scale, run_alone
from bench.servers import STOREFRONT_KEY, HttpServer, holdfast_api, holdfast_worker, postgres, valkey
from bench.whole_store import admin_client, fill
from engine.commands import Configure

COMMAND = "python -m bench.alert_delay"
ALERTS: Final = 40
BUSY_SKUS: Final = 100
PAUSE_S: Final = 0.005
TIMEOUT_S: Final = 30.0


def measure(scale: Scale) -> list[Figure]:
    """Milliseconds from movement to alert, the slowest of all."""
    alerts = max(3, scale.of(ALERTS * scale.rounds))
    took: list[float] = []
    with ExitStack() as stack:
        redis_server = stack.enter_context(valkey())
        database = stack.enter_context(postgres())
        falling = [f"LOW-{number:04d}" for number in range(alerts)]
        products = [Configure(sku, 0, 5, True, 6, "admin") for sku in falling]
        products += [Configure(sku, 0, 0, True, 1_000_000, "admin") for sku in sku_names(BUSY_SKUS)]
        fill(redis_server.url, database.url, products)
        stack.enter_context(holdfast_worker(redis_server.url, database.url))
        server = stack.enter_context(holdfast_api(redis_server.url, database.url))
        client = stack.enter_context(admin_client(server))
        stack.enter_context(_Busy(server))
        for sku in falling:
            took.append(_alert_after_reserve(client, sku) * 1000)
    return [
        Figure(
            what="alert raised after the movement, the slowest",
            unit="ms",
            ours=max(took),
            comparison="<=",
            goal=2_000.0,
            goal_on="ours",
            note=f"{len(took)} alerts, median {statistics.median(took):.0f} ms",
            command=COMMAND,
        )
    ]


def _alert_after_reserve(client: httpx.Client, sku: str) -> float:
    answer = client.post("/inventory/reserve", json={"customer_id": "ann", "sku": sku, "quantity": 3})
    if answer.status_code != 201:
        raise RuntimeError(f"a reserve of the benchmark was refused: {answer.text}")
    began = time.perf_counter()
    while time.perf_counter() < began + TIMEOUT_S:
        found = client.get("/inventory/alerts", params={"sku": sku}).raise_for_status().json()["items"]
        if found:
            return time.perf_counter() - began
        time.sleep(PAUSE_S)
    raise RuntimeError(f"no alert for {sku} within {TIMEOUT_S:g} s")


class _Busy:
    """A shop that sells other things meanwhile: some 200 reserves a second."""

    def __init__(self, server: HttpServer) -> None:
        self._stop = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(server,), daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(30)
        if self._failure is not None:
            raise self._failure

    def _run(self, server: HttpServer) -> None:
        try:
            headers = {"authorization": f"Bearer {STOREFRONT_KEY}"}
            with httpx.Client(base_url=f"http://127.0.0.1:{server.port}", headers=headers, trust_env=False) as client:
                number = 0
                while not self._stop.wait(PAUSE_S):
                    number += 1
                    body = {"customer_id": "bob", "sku": f"SKU-{number % BUSY_SKUS:05d}", "quantity": 1}
                    client.post("/inventory/reserve", json=body).raise_for_status()
        except BaseException as error:  # noqa: BLE001 - raised again where the benchmark ends
            self._failure = error


if __name__ == "__main__":
    run_alone(measure, "How soon an alert comes")
