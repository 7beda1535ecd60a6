"""The examples, run against a real service: they are promises too."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
import uvicorn

from examples.shop.app import Shop, make_shop
from examples.shop.catalogue import ARTICLES
from holdfast_client import Client
from inventory.webhooks.delivery import deliver
from inventory.webhooks.signing import SigningSecrets, new_secret, signature_headers
from tests.http.running import KEYS, RunningService
from tests.waiting import wait_until

ROOT = Path(__file__).parents[2]
SECRET = new_secret()
MUG = "SHOP-MUG"


def environment(service: RunningService) -> dict[str, str]:
    return {
        **os.environ,
        "HOLDFAST_URL": service.address("protocol"),
        "HOLDFAST_ADMIN_KEY": KEYS["admin"],
        "HOLDFAST_STOREFRONT_KEY": KEYS["storefront"],
    }


def test_the_flash_sale_adds_up(service: RunningService) -> None:
    command = [sys.executable, "-m", "examples.flash_sale", "60", "20"]
    run = subprocess.run(
        command, cwd=ROOT, env=environment(service), capture_output=True, text=True, timeout=100, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr
    outcomes = {text.strip(): int(count) for count, text in (line.split(None, 1) for line in run.stdout.splitlines())}
    # Fewer where a card was refused after the last customer had asked.
    assert 10 <= outcomes["bought"] <= 20
    assert sum(count for text, count in outcomes.items() if "on hand" not in text) == 60


def test_without_a_service_it_says_what_is_missing(tmp_path: Path) -> None:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("HOLDFAST_")}
    run = subprocess.run(
        [sys.executable, "-m", "examples.flash_sale"],
        cwd=ROOT,
        env={**clean, "HOLDFAST_DATA_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert run.returncode == 1
    assert "make up" in run.stderr


@pytest.fixture
def admin(service: RunningService) -> Iterator[Client]:
    with Client(service.address("protocol"), KEYS["admin"]) as client:
        for article in ARTICLES:
            client.put_product(article.sku, article.name)
            client.adjust(article.sku, "count", 3, reason="a fresh day")
        yield client


class Visitor(httpx.Client):
    """A browser at the shop, which is served for it alone."""

    def __init__(self, service: RunningService) -> None:
        app = make_shop(service.address("protocol"), KEYS["storefront"], SECRET)
        config = uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None, access_log=False)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        wait_until(lambda: self._server.started, 30, "the shop is open")
        self.shop: Shop = app.state.shop
        port = self._server.servers[0].sockets[0].getsockname()[1]
        super().__init__(base_url=f"http://127.0.0.1:{port}", timeout=30, trust_env=False)

    def leave(self) -> None:
        self.post("/cart/empty")
        self.close()
        self._server.should_exit = True
        self._thread.join(30)
        assert not self._thread.is_alive(), "the shop did not close"


@pytest.fixture
def visitor(service: RunningService, admin: Client) -> Iterator[Visitor]:
    visitor = Visitor(service)
    yield visitor
    visitor.leave()


def level(admin: Client) -> tuple[int, int]:
    status = admin.stock_status(MUG)
    return status.on_hand, status.reserved


def test_from_the_product_page_to_the_order(visitor: Visitor, admin: Client) -> None:
    assert "3 left" in visitor.get("/").text
    assert "1 x Mug" in visitor.post("/cart", data={"sku": MUG}).text
    assert "2 x Mug" in visitor.post("/cart", data={"sku": MUG}).text
    visitor.post("/cart", data={"sku": "SHOP-TRAY"})
    assert "1 x Tray" in visitor.get("/cart").text
    assert level(admin) == (3, 2)
    done = visitor.post("/checkout")
    assert "Thank you: order-" in done.text
    assert level(admin) == (1, 0)
    assert visitor.post("/checkout").status_code == 410


def test_a_full_cart_stays_whole_when_there_is_no_more(visitor: Visitor, admin: Client) -> None:
    for _ in range(3):
        assert visitor.post("/cart", data={"sku": MUG}).status_code == 200
    refused = visitor.post("/cart", data={"sku": MUG})
    assert refused.status_code == 409
    assert "Sold out" in refused.text
    assert "3 x Mug" in visitor.get("/cart").text
    visitor.post("/cart/empty")
    assert level(admin) == (3, 0)
    assert visitor.post("/cart", data={"sku": "<b>"}).status_code == 404


def test_a_refused_card_keeps_the_cart_and_gives_back_what_was_bought_at_once(visitor: Visitor, admin: Client) -> None:
    assert "Thank you" in visitor.post("/buy-now", data={"sku": MUG}).text
    assert level(admin) == (2, 0)
    visitor.post("/cart", data={"sku": MUG})
    visitor.shop.refused_cards.add(visitor.cookies["visitor"])
    assert visitor.post("/buy-now", data={"sku": MUG}).status_code == 402
    assert visitor.post("/checkout").status_code == 402
    assert level(admin) == (2, 1)


def test_a_cart_that_ended_costs_nothing(visitor: Visitor, admin: Client) -> None:
    visitor.post("/cart", data={"sku": MUG})
    admin.release(next(iter(visitor.shop.carts.values())))
    assert "expired" in visitor.post("/checkout").text
    assert "empty" in visitor.get("/cart").text
    assert level(admin) == (3, 0)


def test_webhooks_are_believed_only_when_signed_and_taken_once(visitor: Visitor) -> None:
    body = (
        '{"type":"stock.low","timestamp":"2026-03-01T12:00:00Z","data":{"alert_id":1,"sku":"SHOP-MUG","state":"LOW_STOCK",'
        '"available":2,"low_stock_threshold":5,"sell_out_seconds":null},"id":"0-1-3","partition":0,"epoch":1,"seq":3}'
    )
    headers = signature_headers(SigningSecrets(SECRET), f"e-{uuid.uuid4()}", datetime.now(UTC), body)
    for _ in range(2):
        assert visitor.post("/hooks/holdfast", content=body, headers=headers).status_code == 204
    assert visitor.shop.seen_events == {"0-1-3"}
    assert "going fast" in visitor.get("/").text
    forged = {**headers, "webhook-signature": "v1,AAAA"}
    assert visitor.post("/hooks/holdfast", content=body, headers=forged).status_code == 400


def test_a_webhook_that_the_service_sends(visitor: Visitor, admin: Client, service: RunningService) -> None:
    webhook = admin.create_webhook(str(visitor.base_url.join("/hooks/holdfast")), ["stock.*"])
    visitor.shop.webhook_secret = str(webhook.secret)
    sent = admin.test_webhook(webhook.id)
    services = service.services
    told = service.run(lambda: deliver(services.inventory, services.jobs, webhook.id))
    assert told == "1 delivered, 0 failed"
    assert visitor.shop.seen_events == {sent.event_id}
    admin.delete_webhook(webhook.id)
