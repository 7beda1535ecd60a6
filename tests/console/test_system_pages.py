"""What admins do on the pages of the menu's end: reconcile, tell others, give keys, and look at jobs."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import pytest
import redis
from playwright.sync_api import Page, expect
from standardwebhooks import Webhook

from runtime.jobs_redis import next_database
from tests.console.stocked import Stocked
from tests.console.worked_service import RULES, WorkedService
from tests.waiting import wait_until
from worker.jobs import running
from worker.jobs.context import JobSettings
from worker.jobs.registry import JOBS


class Receiver(BaseHTTPRequestHandler):
    """Takes webhooks; answers what the test says."""

    heard: ClassVar[list[tuple[dict[str, str], bytes]]]
    answer: ClassVar[int]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        type(self).heard.append(({name.lower(): value for name, value in self.headers.items()}, body))
        self.send_response(type(self).answer)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def receiver() -> Iterator[tuple[str, type[Receiver]]]:
    kind = type("OneReceiver", (Receiver,), {"heard": [], "answer": 200})
    with ThreadingHTTPServer(("127.0.0.1", 0), kind) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/hook", kind
        server.shutdown()
        thread.join(60)


def run_job(service: WorkedService, name: str, **arguments: str) -> None:
    """One run of a job, as the job process does it."""
    settings = JobSettings(
        redis_url=service.redis_url,
        jobs_url=next_database(service.redis_url),
        database_url=service.database_url,
        inventory=RULES,
    )
    service.run(lambda: running.run_job(settings, JOBS, name, arguments, uuid.uuid4().hex))


def test_drift_is_found_explained_and_repaired(
    visit: Callable[..., Page], stock: Stocked, service: WorkedService
) -> None:
    sku = stock.product(stock=30)
    page = visit("manager", "/console/reconciliation")
    page.get_by_role("button", name="Check now").click()
    expect(page.locator("#verdict")).to_have_text("Everything agrees")

    with redis.Redis.from_url(service.redis_url) as store:
        counters = store.hget("{h00}:stock", sku).split(b" ")  # type: ignore[union-attr]
        assert counters[0] == b"30"
        store.hset("{h00}:stock", sku, b" ".join([b"33", *counters[1:]]))  # type: ignore[arg-type]
    auditor = visit("auditor")

    def found() -> bool:
        auditor.goto("/console/reconciliation?check=now")
        return auditor.locator("#verdict").inner_text() == "1 difference"

    # Whoever asks within a second of somebody else gets the same answer.
    wait_until(found, 30, every_s=0.2)
    expect(auditor.get_by_role("button", name="Repair")).to_have_count(0)

    page.get_by_role("button", name="Check again").click()
    expect(page.locator("#verdict")).to_have_text("1 difference")
    row = page.locator("tbody tr", has_text=sku)
    expect(row).to_contain_text("30")
    expect(row).to_contain_text("33")
    page.get_by_label("Reason").fill("somebody wrote into Redis by hand")
    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Repair").click()
    expect(page.locator(".flash")).to_have_text("1 repaired.")
    expect(page.locator("#verdict")).to_have_text("Everything agrees")
    assert stock.on_hand(sku) == 30
    page.goto(f"/console/history?sku={sku}&reference_type=Reconciliation")
    expect(page.locator("#rows")).to_contain_text("somebody wrote into Redis by hand")


def test_a_webhook_from_its_making_to_its_end(
    visit: Callable[..., Page], service: WorkedService, receiver: tuple[str, type[Receiver]]
) -> None:
    url, kind = receiver
    page = visit("admin", "/console/webhooks")
    page.get_by_label("Address").fill(url)
    page.get_by_label("approval.*").check()
    page.get_by_role("button", name="Make it and show its secret").click()
    secret = page.locator("#secret").inner_text()
    page.locator(".crumb a").click()
    page.get_by_role("link", name=url).click()
    assert secret not in page.content()
    webhook_id = page.url.rpartition("/")[2]

    kind.answer = 500
    page.get_by_role("button", name="Send a test event").click()
    rows = page.locator("#deliveries tbody tr")
    expect(rows).to_have_count(1)
    run_job(service, "webhooks.deliver", webhook_id=webhook_id)
    expect(rows.first).to_contain_text("500")
    expect(page.locator("#webhook")).to_contain_text("failing")
    kind.answer = 200
    rows.first.get_by_role("button", name="again").click()
    expect(page.locator(".toast")).to_contain_text("sent again")
    run_job(service, "webhooks.deliver", webhook_id=webhook_id)
    page.reload()
    expect(rows.first).to_contain_text("delivered")
    headers, body = kind.heard[-1]
    Webhook(secret).verify(body, headers)
    assert json.loads(body)["type"] == "webhook.test"

    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="New secret").click()
    expect(page.locator("#secret")).not_to_have_text(secret)
    expect(page.locator("#webhook")).to_contain_text("signs as well until")
    page.goto(f"/console/webhooks/{webhook_id}")
    page.get_by_role("button", name="Disable").click()
    expect(page.locator("#webhook")).to_contain_text("Nothing is sent")
    page.get_by_role("button", name="Enable").click()
    expect(page.locator("#webhook .tag")).to_have_text("active")
    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Delete").click()
    expect(page.get_by_role("link", name=url)).to_have_count(0)


def test_a_webhook_that_may_not_be(visit: Callable[..., Page]) -> None:
    page = visit("admin", "/console/webhooks", expected=("422",))
    page.get_by_label("Address").fill("https://shop.example.com/hook")
    page.get_by_role("button", name="Make it and show its secret").click()
    expect(page.locator("main")).to_contain_text("choose at least one")


def test_a_key_is_shown_once_and_revoked(visit: Callable[..., Page]) -> None:
    name = f"Ann {uuid.uuid4().hex[:6]}"
    page = visit("admin", "/console/keys")
    page.get_by_label("Name").fill(name)
    page.get_by_label("Role").select_option("auditor")
    page.get_by_role("button", name="Make the key").click()
    key = page.locator("#secret").inner_text()
    assert key.startswith("hf_")
    ann = visit(None, "/console/jobs", expected=("401",))
    ann.get_by_label("API key").fill(key)
    ann.get_by_role("button", name="Sign in").click()
    expect(ann.get_by_role("heading", name="Jobs")).to_be_visible()
    expect(ann.locator(".who-name")).to_have_text(name)

    page.goto("/console/keys")
    assert key not in page.content()
    expect(page.locator("tbody tr", has_text="you are signed in with it")).to_have_count(1)
    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name=f"Revoke the key of {name}").click()
    expect(page.locator(".toast")).to_contain_text("revoked")
    # Her page notices by itself.
    expect(ann.get_by_role("heading", name="Sign in")).to_be_visible()


def test_jobs_tell_how_they_stand(visit: Callable[..., Page], service: WorkedService) -> None:
    page = visit("auditor", "/console/jobs")
    row = page.locator("tbody tr", has_text="holds.leftover")
    expect(page.locator("tbody tr", has_text="imports.expire")).to_contain_text("every 60 min")
    page.evaluate("window.sameDocument = true")
    run_job(service, "holds.leftover")
    expect(row.locator(".tag")).to_have_text("ok")
    assert page.evaluate("window.sameDocument") is True
    row.get_by_role("link", name="holds.leftover").click()
    expect(page.locator("#runs tbody tr").first).to_contain_text("ok")
