"""The console as one ASGI application: its pages, what every answer of it carries, and how its errors look.

Owns headers and error pages; never a page's content (pages/) and never who may see it (access.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

import msgspec
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from api import problems
from api.audit import audit_code
from api.console import assets
from api.console.access import NotOurForm, SignInNeeded, Visit, wants_json
from api.console.assets import Assets
from api.console.live import LiveDesk
from api.console.pages import PAGES, sign_in
from api.console.rendering import make_environment
from api.console.sessions import PATH, Sessions
from api.hot import asgi
from api.problems import PROBLEM_JSON, Problem
from api.refusals import problem_of
from engine.errors import HoldfastError
from inventory.refusals import Refusal
from persistence.database import DatabaseUnavailable
from persistence.pages import InvalidCursor

if TYPE_CHECKING:
    from api.rate_limiter import RateLimiter
    from api.services import Services
    from inventory.events.feed import EventFeed
    from inventory.pulse.fleet import FleetReader

HEADERS: Final = (
    (
        b"content-security-policy",
        b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        b"form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    # Not `no-referrer`: with it browsers send `Origin: null` with our own forms, and access.py could not tell them
    # from a stranger's. Other sites get no referrer either way.
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"x-frame-options", b"DENY"),
)


class Console:
    """What serves /console and everything below it."""

    def __init__(self, services: Services, fleet: FleetReader, feed: EventFeed, limiter: RateLimiter | None) -> None:
        self._app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)
        state = self.state = self._app.state
        state.services = services
        state.feed = feed
        state.limiter = limiter
        state.assets = Assets()
        state.templates = make_environment(state.assets)
        state.sessions = Sessions(services.database)
        state.live = LiveDesk(services, fleet)
        state.guesses = sign_in.Guesses()
        self._app.include_router(assets.router)
        for module in PAGES:
            self._app.include_router(module.router)
        _handle_errors(self._app)

    async def __call__(self, scope: asgi.Scope, receive: asgi.Receive, send: asgi.Send) -> None:
        """ASGI entry."""

        async def guarded_send(message: asgi.Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *HEADERS]
            await send(message)

        await self._app(scope, receive, guarded_send)


def is_console(scope: asgi.Scope) -> bool:
    """Whether this request is for the console: its own paths, and `/` when a browser asks."""
    path = scope["path"]
    if path == PATH or path.startswith(f"{PATH}/"):
        return True
    return path == "/" and any(name == b"accept" and b"text/html" in value for name, value in scope["headers"])


def _handle_errors(app: FastAPI) -> None:
    @app.exception_handler(SignInNeeded)
    async def on_sign_in(request: Request, error: SignInNeeded) -> Response:
        if wants_json(request) or request.method != "GET":
            return _answer(request, Problem("unauthenticated", "You are not signed in any more. Sign in again."))
        query = f"?{request.url.query}" if request.url.query else ""
        back = urlencode({"next": f"{request.url.path}{query}"}) if request.url.path != PATH else ""
        return Response(
            status_code=303,
            headers={"location": f"{PATH}/sign-in{'?' if back else ''}{back}", "cache-control": "no-store"},
        )

    @app.exception_handler(NotOurForm)
    async def on_foreign_form(request: Request, error: NotOurForm) -> Response:
        return _answer(
            request, Problem("forbidden", "This form did not come from a page of your session. Load the page again.")
        )

    @app.exception_handler(Problem)
    async def on_problem(request: Request, error: Problem) -> Response:
        return _answer(request, error)

    @app.exception_handler(HoldfastError)
    async def on_engine_error(request: Request, error: HoldfastError) -> Response:
        return _answer(request, problems.of_exception(error))

    @app.exception_handler(DatabaseUnavailable)
    async def on_database_error(request: Request, error: DatabaseUnavailable) -> Response:
        return _answer(request, problems.of_exception(error))

    @app.exception_handler(Refusal)
    async def on_refusal(request: Request, error: Refusal) -> Response:
        return _answer(request, problem_of(error))

    @app.exception_handler(InvalidCursor)
    async def on_cursor(request: Request, error: InvalidCursor) -> Response:
        return _answer(request, Problem("invalid-cursor", "This page of the list is gone. Begin at its first page."))

    @app.exception_handler(RequestValidationError)
    async def on_invalid(request: Request, error: RequestValidationError) -> Response:
        found = [{"at": str(e["loc"][-1]), "message": str(e["msg"])} for e in error.errors()]
        detail = "; ".join(f"{e['at']}: {e['message']}" for e in found)[:500]
        return _answer(request, Problem("validation-error", detail, {"errors": found}))

    @app.exception_handler(HTTPException)
    async def on_http_error(request: Request, error: HTTPException) -> Response:
        code = {404: "not-found", 405: "method-not-allowed"}.get(error.status_code, "invalid-request")
        return _answer(request, Problem(code))

    @app.exception_handler(Exception)
    async def on_failure(request: Request, error: Exception) -> Response:
        return _answer(request, Problem("internal-error"))


def _answer(request: Request, problem: Problem) -> Response:
    """A problem: as JSON for the script, as a page for a person."""
    audit_code(request.scope, problem.kind.code)
    headers = {name.decode(): value.decode() for name, value in problem.headers()} | {"cache-control": "no-store"}
    status = problem.kind.status
    if wants_json(request):
        document = {**problem.document(), "detail": told(problem)}
        return Response(msgspec.json.encode(document), status, headers, PROBLEM_JSON.decode())
    visit: Visit | None = getattr(request.state, "visit", None)
    context: dict[str, Any] = {"problem": problem, "told": told(problem)}
    if visit is not None:
        answer = visit.page("error.html", "", problem.kind.title, status, **context)
    else:
        template = request.app.state.templates.get_template("error.html")
        text = template.render(visit=None, here="", title=problem.kind.title, flash=None, csrf="", once="", **context)
        answer = Response(text, status, media_type="text/html")
    for name, value in headers.items():
        answer.headers[name] = value
    return answer


def told(problem: Problem) -> str:
    """What a person is told: the detail, with the field that is wrong and the SKUs that are short by name."""
    extra = problem.extra or {}
    if problem.kind.code == "validation-error" and extra.get("errors"):
        error = extra["errors"][0]
        at = str(error.get("at", "")).removeprefix("$.").replace("_", " ").strip()
        return f"{at.capitalize()}: {error['message']}." if at else f"{error['message']}."
    if problem.kind.code == "unknown-sku":
        return f"No such SKU: {', '.join(map(str, extra.get('skus', ())))}."
    if problem.kind.code == "insufficient-stock":
        short = [
            f"{line['sku']}: {line['available']} of {line['requested']} can be taken" for line in extra["shortages"]
        ]
        return f"Not enough stock that is not held. {'; '.join(short)}."
    return problem.detail if problem.detail.endswith((".", "?", "!")) else f"{problem.detail}."
