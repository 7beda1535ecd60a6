"""A browser without a screen: signed in, finds the forms of a page, sends them as they are.

Owns what a browser does by itself (Origin, cookies, hidden fields); holds no test.
"""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

import httpx

from tests.http.running import KEYS

SIGN_IN = "/console/sign-in"
SECRETS = ("csrf", "once")


class Hidden(HTMLParser):
    """Collects the forms of a page: (action, hidden fields) each."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.forms: list[tuple[str, dict[str, str]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.forms.append((found.get("action", ""), {}))
        if tag == "input" and found.get("type") == "hidden" and self.forms:
            self.forms[-1][1][found["name"]] = found.get("value", "")


class FormClient:
    """One visitor. `role` None: nobody is signed in."""

    def __init__(self, address: str, role: str | None = "admin") -> None:
        self.address = address
        self.http = httpx.Client(base_url=address, timeout=30, trust_env=False, headers={"origin": address})
        if role is not None:
            answer = self.http.post(SIGN_IN, data={"key": KEYS[role]})
            assert answer.status_code == 303, answer.text

    def __enter__(self) -> FormClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()

    def get(self, path: str, **more: Any) -> httpx.Response:
        """A page."""
        return self.http.get(path, **more)

    def secrets(self, path: str = "/console") -> dict[str, str]:
        """What the forms of a page carry by themselves."""
        found: dict[str, str] = {}
        for _, hidden in Hidden(self.get(path).text).forms:
            found |= {name: value for name, value in hidden.items() if name in SECRETS}
        return found

    def post(self, path: str, page: str = "/console", *, inline: bool = False, **fields: Any) -> httpx.Response:
        """Send a form of `page` to `path`; `inline` as the script does, which gets JSON."""
        headers = {"accept": "application/json"} if inline else {}
        return self.http.post(path, data={**self.secrets(page), **fields}, headers=headers)
