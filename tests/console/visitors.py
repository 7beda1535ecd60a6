"""Visitors of the console: each with a browser profile of its own, signed in with a role's key.

Owns signing in and what is listened to meanwhile; every complaint of a browser is kept for the end of the test.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Final

import httpx
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request

from tests.console.browser import PATIENCE_MS
from tests.http.running import KEYS

SIGN_IN: Final = "/console/sign-in"
COOKIE: Final = "holdfast_session"
DESK: Final = {"width": 1280, "height": 900}
PHONE: Final = {"width": 375, "height": 740}


def sign_in_cookie(address: str, key: str) -> str:
    """Sign in as a form does, without a browser; the session's token."""
    with httpx.Client(base_url=address, timeout=30, trust_env=False) as client:
        answer = client.post(SIGN_IN, data={"key": key}, headers={"origin": address})
        assert answer.status_code == 303, answer.text
        return answer.cookies[COOKIE]


class Visitors:
    """Everybody who came in one test."""

    def __init__(self, browser: Browser, address: str, keys: Mapping[str, str] = KEYS) -> None:
        self._browser = browser
        self._keys = keys
        self._address = address
        self._contexts: list[BrowserContext] = []
        self._cookies: dict[str, str] = {}
        self.complaints: list[str] = []

    def visit(
        self,
        role: str | None = "admin",
        path: str = "",
        *,
        dark: bool = False,
        phone: bool = False,
        zone: str = "UTC",
        scale: float = 1,
        expected: tuple[str, ...] = (),
    ) -> Page:
        """A page of a new visitor. `scale`: of a screen's pixels; `expected`: parts of complaints that are provoked."""
        context = self._browser.new_context(
            base_url=self._address,
            color_scheme="dark" if dark else "light",
            viewport=PHONE if phone else DESK,  # type: ignore[arg-type]
            has_touch=phone,
            device_scale_factor=scale,
            timezone_id=zone,
            locale="en-GB",
            reduced_motion="reduce",
        )
        self._contexts.append(context)
        context.set_default_timeout(PATIENCE_MS)
        if role is not None:
            if role not in self._cookies:
                self._cookies[role] = sign_in_cookie(self._address, self._keys[role])
            host = httpx.URL(self._address).host
            cookie: Any = {"name": COOKIE, "value": self._cookies[role], "domain": host, "path": "/console"}
            context.add_cookies([{**cookie, "httpOnly": True, "sameSite": "Strict"}])
        page = context.new_page()
        page.on("console", partial(self._heard, expected))
        page.on("pageerror", lambda error: self.complaints.append(f"script: {error}"))
        page.on("request", self._asked)
        if path:
            page.goto(path)
        return page

    def leave(self) -> list[str]:
        """Everybody goes; what their browsers complained of."""
        for context in self._contexts:
            context.close()
        return self.complaints

    def _heard(self, expected: tuple[str, ...], message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"} and not any(part in message.text for part in expected):
            self.complaints.append(f"{message.type}: {message.text} ({message.location})")

    def _asked(self, request: Request) -> None:
        if not request.url.startswith((self._address, "data:", "blob:")):
            self.complaints.append(f"asked somebody else: {request.url}")
