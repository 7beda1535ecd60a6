"""The browser itself, before anything of the console is looked at: it runs, obeys, and its complaints are heard."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page

from tests.console.accessibility import grave_findings
from tests.console.browser import BrowserThread, chromium_path
from tests.console.visitors import Visitors
from tests.console.worked_service import WorkedService


def test_the_browser_that_was_asked_for_must_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOLDFAST_CHROMIUM", "/nowhere/chromium")
    with pytest.raises(FileNotFoundError, match="/nowhere/chromium"):
        chromium_path()


def test_axe_finds_what_is_wrong_and_nothing_else(visit: Callable[..., Page]) -> None:
    page = visit(None)
    page.set_content("<html lang=en><title>Good</title><main><h1>Good</h1><label>Name <input></label></main></html>")
    assert grave_findings(page) == []
    page.set_content("<html lang=en><title>Bad</title><main><h1>Bad</h1><input></main></html>")
    (finding,) = grave_findings(page)
    assert "critical label" in finding


def test_complaints_of_a_browser_are_heard(service: WorkedService, browser: BrowserThread) -> None:
    visitors = Visitors(browser.browser, service.address("protocol"))
    page = visitors.visit(None, "/healthz")
    page.evaluate("console.error('something broke')")
    with page.expect_event("pageerror"):
        page.evaluate("setTimeout(() => { throw new Error('a script fell over') })")
    with page.expect_event("requestfailed"):
        page.evaluate("fetch('http://localhost:1/elsewhere').catch(() => 0)")
    complaints = "\n".join(visitors.leave())
    assert "something broke" in complaints
    assert "a script fell over" in complaints
    assert "asked somebody else: http://localhost:1/elsewhere" in complaints
