"""What every page begins with: who is looking, whether they may, and for a form whether it came from our own page.

Owns the dependencies of console routes: `visiting(permission)` for pages, `posting(permission)` for forms.
"""

from __future__ import annotations

import base64
import binascii
import secrets
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import msgspec
from fastapi import Depends, Request, Response
from msgspec import Struct

from api.audit import begin_audit
from api.auth import Permission
from api.console.forms import Form, read_form
from api.console.sessions import COOKIE, PATH, Viewer, by_https, is_same
from api.rate_limiter import SCOPE_KEY, RateLimiter
from inventory.context import PARTITION

if TYPE_CHECKING:
    from jinja2 import Environment

    from api.console.sessions import Sessions
    from api.services import Services

FLASH: Final = "holdfast_flash"
CSRF_FIELD: Final = "csrf"
CSRF_HEADER: Final = "x-csrf-token"
MAX_FLASH: Final = 600
"""Characters of a message that is carried over to the next page."""


class SignInNeeded(Exception):
    """Nobody is signed in, or not any more."""


class NotOurForm(Exception):
    """A change was asked for that did not come from a page of this session."""


class Flash(Struct, frozen=True):
    """What the last form came to, told on the next page."""

    message: str
    kind: Literal["good", "bad"] = "good"


class Done(Struct, frozen=True):
    """The same for the script, which stays on the page."""

    message: str
    to: str
    once: str


class Visit:
    """One request of somebody who is signed in."""

    def __init__(self, request: Request, viewer: Viewer) -> None:
        self.request = request
        self.viewer = viewer
        self.services: Services = request.app.state.services
        self.ledger_place = "{}-{}".format(*self.services.watermark.position(PARTITION))
        """How far the ledger is known to be before anything is read for the page; it shows at least that."""

    def may(self, permission: Permission) -> bool:
        """Whether the viewer's role grants it: templates leave out what it does not."""
        return self.viewer.may(permission)

    def page(self, template: str, here: str, title: str, status: int = 200, **context: Any) -> Response:
        """A page of the console. `here`: its name in the menu; `context`: what the template asks for."""
        environment: Environment = self.request.app.state.templates
        flash = self._flash()
        text = environment.get_template(template).render(
            visit=self,
            here=here,
            title=title,
            flash=flash,
            csrf=self.viewer.csrf,
            once=secrets.token_hex(8),
            **context,
        )
        answer = Response(text, status, {"cache-control": "no-store"}, "text/html")
        if FLASH in self.request.cookies:
            answer.delete_cookie(FLASH, path=PATH, httponly=True, samesite="strict")
        return answer

    def go(self, to: str, message: str, kind: Literal["good", "bad"] = "good") -> Response:
        """After a form: to the page `to` with a message; the script gets both as JSON instead and stays."""
        if wants_json(self.request):
            body = msgspec.json.encode(Done(message, to, secrets.token_hex(8)))
            return Response(body, headers={"cache-control": "no-store"}, media_type="application/json")
        answer = Response(status_code=303, headers={"location": to, "cache-control": "no-store"})
        payload = msgspec.json.encode(Flash(message[:MAX_FLASH], kind))
        signed = f"{base64.urlsafe_b64encode(payload).decode()}.{self.viewer.sign(payload)}"
        answer.set_cookie(
            FLASH, signed, max_age=60, path=PATH, secure=by_https(self.request), httponly=True, samesite="strict"
        )
        return answer

    def _flash(self) -> Flash | None:
        """The message of the last form, if it is ours: another site under the same name could leave a cookie, too."""
        text, _, mark = self.request.cookies.get(FLASH, "").partition(".")
        try:
            payload = base64.urlsafe_b64decode(text)
            return msgspec.json.decode(payload, type=Flash) if is_same(mark, self.viewer.sign(payload)) else None
        except (binascii.Error, ValueError, msgspec.MsgspecError):
            return None


class Posted(Visit):
    """A form that somebody sent who is signed in and may; it came from a page of theirs."""

    def __init__(self, request: Request, viewer: Viewer, form: Form) -> None:
        super().__init__(request, viewer)
        self.form = form


def visiting(permission: Permission) -> Callable[[Request], Awaitable[Visit]]:
    """A dependency: a look at a page. Raises SignInNeeded, `forbidden`, DatabaseUnavailable."""

    async def visit(request: Request) -> Visit:
        viewer = await _viewer(request)
        request.state.visit = visit = Visit(request, viewer)
        _count(request, viewer)
        viewer.caller.require(permission)
        return visit

    return visit


def posting(permission: Permission, *, upload: bool = False) -> Callable[[Request], Awaitable[Posted]]:
    """A dependency: a form. Raises SignInNeeded, NotOurForm, `forbidden`, DatabaseUnavailable, what read_form raises.

    `upload`: the body is the route's to read; the token comes in the header X-CSRF-Token, or the route calls
    `check_token` with the field before it does anything.
    """

    async def posted(request: Request) -> Posted:
        check_origin(request)
        viewer = await _viewer(request)
        request.state.visit = Visit(request, viewer)
        _count(request, viewer)
        form = Form({}) if upload else await read_form(request)
        given = request.headers.get(CSRF_HEADER, "") or form.fields.get(CSRF_FIELD, "")
        if given or not upload:
            check_token(viewer, given)
        await begin_audit(request, request.app.state.services.database, viewer.caller)
        viewer.caller.require(permission)
        return Posted(request, viewer, form)

    return posted


def check_origin(request: Request) -> None:
    """Raise NotOurForm for a form that another site sent.

    Browsers say so by Sec-Fetch-Site (https and localhost), all of them by Origin; who says neither is no browser.
    """
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        if site != "same-origin":
            raise NotOurForm
        return
    # Compared as text: what comes from outside need not be an address that can be taken apart.
    _, _, theirs = request.headers.get("origin", "").partition("://")
    if not theirs or theirs != request.headers.get("host", ""):
        raise NotOurForm


def check_token(viewer: Viewer, given: str) -> None:
    """Raise NotOurForm unless this is what the session's forms carry."""
    if not is_same(given, viewer.csrf):
        raise NotOurForm


def wants_json(request: Request) -> bool:
    """Whether our script asks, which shows the answer where the form is."""
    return request.headers.get("accept", "").startswith("application/json")


async def find_viewer(request: Request) -> Viewer | None:
    """Who is signed in, if anybody. Raises DatabaseUnavailable."""
    sessions: Sessions = request.app.state.sessions
    token = request.cookies.get(COOKIE, "")
    return await sessions.find(token) if token else None


async def _viewer(request: Request) -> Viewer:
    viewer = await find_viewer(request)
    if viewer is None:
        raise SignInNeeded
    return viewer


def _count(request: Request, viewer: Viewer) -> None:
    """A console's requests count against its key's limit like any other. Raises Problem `rate-limited`."""
    limiter: RateLimiter | None = request.app.state.limiter
    if limiter is not None:
        request.scope[SCOPE_KEY] = limiter.take(viewer.caller)


Reading = Annotated[Visit, Depends(visiting(Permission.READ))]
Administering = Annotated[Visit, Depends(visiting(Permission.ADMIN))]
StockForm = Annotated[Posted, Depends(posting(Permission.CHANGE_STOCK))]
ApprovalForm = Annotated[Posted, Depends(posting(Permission.APPROVE))]
ReserveForm = Annotated[Posted, Depends(posting(Permission.RESERVE))]
AdminForm = Annotated[Posted, Depends(posting(Permission.ADMIN))]
ReaderForm = Annotated[Posted, Depends(posting(Permission.READ))]
