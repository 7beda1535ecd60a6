"""A large file on the console: a background job works on it, and the page that is open follows without a reload."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import psycopg
import pytest
from msgspec import structs
from playwright.sync_api import Page, expect

from api.console.pages import imports as imports_page
from inventory.job_queue import JobQueue
from tests.console.browser import BrowserThread
from tests.console.stocked import Stocked
from tests.console.test_work import drop
from tests.console.visitors import Visitors
from tests.console.worked_service import RULES, WorkedService
from tests.http.running import KEYS
from worker.jobs.context import JobContext, JobSettings
from worker.jobs.registry import JOBS

ROWS = 5


class Hands:
    """The jobs that were asked for; done when a test says so."""

    def __init__(self, service: WorkedService, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[dict[str, Any]] = []
        self._service = service
        hands = self

        async def enqueue(queue: JobQueue, job: str, **arguments: Any) -> bool:
            if job == "imports.work":
                hands.asked.append(arguments)
            return True

        monkeypatch.setattr(JobQueue, "enqueue", enqueue)

    def work(self) -> None:
        """Do what was asked for, in the service's loop."""
        services = self._service.services
        context = JobContext(services.inventory, services.jobs, JobSettings(redis_url="", jobs_url="", database_url=""))
        assert self.asked, "the service has asked for a job"
        while self.asked:
            self._service.run(partial(JOBS.run, context, "imports.work", self.asked.pop()))


@pytest.fixture
def hasty(redis_url: str, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[WorkedService]:
    """A service to which every file is a large one, and whose console does not wait for a job."""
    monkeypatch.setattr(imports_page, "WAIT_S", 0.0)
    running = WorkedService(redis_url, database_url, structs.replace(RULES, import_inline_rows=1))
    running.start()
    yield running
    running.stop()


def share(page: Page) -> float:
    """Where the bar on the page stands, 0 to 1."""
    return float(page.locator("#progress").evaluate("bar => bar.value"))


def test_the_page_follows_a_file_from_reading_to_revert(
    hasty: WorkedService, browser: BrowserThread, monkeypatch: pytest.MonkeyPatch, wait_until: Any
) -> None:
    hands = Hands(hasty, monkeypatch)
    stock = Stocked(hasty.address("protocol"), KEYS)
    visitors = Visitors(browser.browser, hasty.address("protocol"))
    skus = [stock.product(stock=20) for _ in range(ROWS)]
    tag = "#import .tag"
    page = visitors.visit("operator", "/console/imports")

    drop(page, "large.csv", "sku,quantity\n" + "".join(f"{sku},25\n" for sku in skus))
    page.get_by_label("Reason").fill("yearly count")
    page.get_by_role("button", name="Show what it would change").click()
    page.wait_for_url("**/console/imports/imp_*")
    expect(page.locator(".toast")).to_contain_text("is being read")
    expect(page.get_by_role("progressbar")).to_be_visible()
    expect(page.get_by_role("button", name="Apply")).to_have_count(0)
    page.evaluate("window.stayed = true")
    hands.work()
    expect(page.locator("table.diff tbody tr")).to_have_count(ROWS)
    expect(page.get_by_role("progressbar")).to_have_count(0)

    page.get_by_role("button", name=f"Apply {ROWS} changes").click()
    expect(page.locator(".toast").last).to_contain_text("Being applied")
    expect(page.get_by_role("progressbar")).to_be_visible()
    assert share(page) == 0
    with psycopg.connect(hasty.database_url, autocommit=True) as database:
        # Steps are of a thousand rows: as if a job had done some of them.
        database.execute("UPDATE imports SET done = 3")
        wait_until(lambda: page.wait_for_timeout(50) or share(page) == 3 / ROWS, what="the bar to move")
        database.execute("UPDATE imports SET done = 0")
    hands.work()
    expect(page.locator(tag).first).to_have_text("applied")
    assert [stock.on_hand(sku) for sku in skus] == [25] * ROWS

    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Revert").click()
    expect(page.get_by_role("progressbar")).to_be_visible()
    hands.work()
    expect(page.locator(tag).first).to_have_text("reverted")
    assert [stock.on_hand(sku) for sku in skus] == [20] * ROWS
    assert page.evaluate("window.stayed"), "the page was never loaded anew"
    assert not visitors.leave()
    stock.close()
