"""Signing in with an API key, and out again.

Owns how often an address may guess. The key goes from the form to the key store and is shown, kept and logged nowhere.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Final

from fastapi import APIRouter, Query, Request, Response

from api.audit import begin_audit
from api.auth import Permission
from api.console.access import ReaderForm, check_origin, find_viewer
from api.console.forms import read_form
from api.console.sessions import COOKIE, PATH, give_cookie, take_cookie
from api.problems import Problem

if TYPE_CHECKING:
    from api.auth import Caller

router = APIRouter(prefix="/console", include_in_schema=False)

GUESSES: Final = 10
"""Wrong keys that an address may send at once ..."""
GUESS_EVERY_S: Final = 6.0
"""... and one more every so many seconds."""
MAX_ADDRESSES: Final = 10_000


class Guesses:
    """How many wrong keys each address may still try, in this process."""

    def __init__(self) -> None:
        self._free_at: dict[str, float] = {}

    def wait_s(self, address: str) -> float:
        """Seconds until the next try is looked at; 0: now."""
        ahead_s = self._free_at.get(address, 0.0) - time.monotonic()
        return max(0.0, ahead_s - (GUESSES - 1) * GUESS_EVERY_S)

    def wrong(self, address: str) -> None:
        """A wrong key came from there."""
        now = time.monotonic()
        if len(self._free_at) >= MAX_ADDRESSES:
            self._free_at = {key: at for key, at in self._free_at.items() if at > now}
        if len(self._free_at) < MAX_ADDRESSES:
            self._free_at[address] = max(now, self._free_at.get(address, 0.0)) + GUESS_EVERY_S


@router.get("/sign-in")
async def sign_in_page(request: Request, to: Annotated[str, Query(alias="next", max_length=2000)] = PATH) -> Response:
    """The form; who is signed in already goes on."""
    if await find_viewer(request) is not None:
        return Response(status_code=303, headers={"location": own_path(to), "cache-control": "no-store"})
    return _form(request, own_path(to))


@router.post("/sign-in")
async def sign_in(request: Request) -> Response:
    """Begin a session. 401 for a key that is not known, 403 for a storefront's, 429 for too many wrong ones."""
    check_origin(request)
    form = await read_form(request)
    to = own_path(form.fields.get("next", PATH))
    address = request.client.host if request.client else ""
    guesses: Guesses = request.app.state.guesses
    wait_s = guesses.wait_s(address)
    if wait_s > 0:
        answer = _form(request, to, 429, f"Too many wrong keys. Try again in {round(wait_s) + 1} seconds.")
        answer.headers["retry-after"] = str(round(wait_s) + 1)
        return answer
    services = request.app.state.services
    key = form.fields.get("key", "").strip()
    try:
        caller: Caller = await services.keys.authenticate(b"Bearer " + key.encode(errors="replace"))
    except Problem as problem:
        if problem.kind.status != 401:
            raise
        guesses.wrong(address)
        return _form(request, to, 401, "This key is not known, or it was revoked.")
    await begin_audit(request, services.database, caller)
    if not caller.grants & Permission.READ:
        return _form(
            request,
            to,
            403,
            f"A {caller.role} key is for the shop's own software. The console needs a key with "
            "the role auditor, operator, manager or admin.",
        )
    token = await request.app.state.sessions.begin(caller.id)
    answer = Response(status_code=303, headers={"location": to, "cache-control": "no-store"})
    give_cookie(request, answer, token)
    return answer


@router.post("/sign-out")
async def sign_out(request: Request, posted: ReaderForm) -> Response:
    """End the session, here and in the table."""
    await request.app.state.sessions.end(posted.viewer.token)
    answer = Response(status_code=303, headers={"location": f"{PATH}/sign-in", "cache-control": "no-store"})
    take_cookie(answer)
    return answer


def own_path(to: str) -> str:
    """`to` if it is a page of the console, else the first one: nobody is sent elsewhere by a link to the sign-in."""
    if (to == PATH or to.startswith((f"{PATH}/", f"{PATH}?"))) and to.isascii() and to.isprintable() and "\\" not in to:
        return to
    return PATH


def _form(request: Request, to: str, status: int = 200, error: str = "") -> Response:
    text = request.app.state.templates.get_template("sign_in.html").render(
        visit=None, here="", title="Sign in", flash=None, csrf="", once="", to=to, error=error
    )
    answer = Response(text, status, {"cache-control": "no-store"}, "text/html")
    if COOKIE in request.cookies:
        take_cookie(answer)
    return answer
