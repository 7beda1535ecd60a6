"""The API as one ASGI application: the hot path in front, FastAPI behind it for everything else.

Owns how the two are put together, and what every cold answer has in common (request id, body limit, problem
documents). Never opens a connection: `create_app` gets everything in `Services`.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from contextlib import nullcontext
from typing import Any, Final

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.routing import Match, Route
from structlog.contextvars import bound_contextvars

from api import problems
from api.audit import SCOPE_KEY, AuditSlot, audit_code, end_audit
from api.auth import MIN_KEY_LENGTH
from api.console.app import Console, is_console
from api.hot import asgi
from api.hot.bounded import PlainProtocol, plain_protocol
from api.hot.exchange import Exchange
from api.hot.protocol import HotProtocol, hot_protocol
from api.hot.table import make_hot
from api.metrics import Metrics
from api.openapi import complete_openapi
from api.problems import PROBLEM_JSON, Problem
from api.pulse import api_pulse
from api.rate_limiter import SCOPE_KEY as RATE_LIMIT
from api.rate_limiter import RateLimiter
from api.refusals import problem_of
from api.routes import (
    admin_audit,
    alerts,
    approvals,
    bulk,
    changes,
    docs,
    events,
    export,
    health,
    jobs,
    keys,
    ledger,
    levels,
    orders,
    products,
    pulse,
    reconciliation,
    stock,
    webhooks,
)
from api.scrape import Scrape
from api.services import Services
from api.uploads import body_limits, ending_unread, is_upload
from engine.errors import HoldfastError
from inventory.events.feed import EventFeed
from inventory.pulse.fleet import FleetReader
from inventory.pulse.writer import PulseWriter
from inventory.readiness import ReadinessCheck
from inventory.refusals import Refusal
from persistence.database import DatabaseUnavailable
from persistence.pages import InvalidCursor

logger = structlog.get_logger("holdfast.api")

PUBLISH_INTERVAL_S: Final = 1.0
ROUTERS: Final = (
    health,
    docs,
    jobs,
    keys,
    admin_audit,
    products,
    alerts,
    stock,
    changes,
    approvals,
    ledger,
    levels,
    events,
    export,
    orders,
    webhooks,
    bulk,
    reconciliation,
    pulse,
)


class Application:
    """What a server runs. `protocol_class` is for uvicorn's `http=`; without it every request comes by ASGI."""

    def __init__(self, services: Services) -> None:
        self.services = services
        self.metrics = Metrics(services.settings.metrics_dir, services.settings.process)
        limits = services.settings.rate_limits
        self.limiter = None if limits is None else RateLimiter(limits)
        self.hot = make_hot(services, self.metrics, self.limiter)
        self.connections: Callable[[], int] = lambda: 0
        """How many are open: whoever runs the server says so."""
        self.feed = EventFeed(services.inventory, services.settings.streams.most)
        self.pulse = api_pulse(services, self.metrics, self._open_connections, lambda: self.feed.readers)
        self.cold = _cold_app(services, self.metrics, self.pulse, self.hot.close)
        self.cold.state.feed = self.feed
        self.cold.state.readiness = ReadinessCheck(services.inventory, services.settings.replicas)
        self.cold.state.fleet = FleetReader(services.inventory, self.cold.state.readiness)
        self.cold.state.scrape = Scrape(services, self.metrics, self.cold.state.fleet)
        self.cold.state.limiter = self.limiter
        console = services.settings.console
        self.console = Console(services, self.cold.state.fleet, self.feed, self.limiter) if console else None

    def _open_connections(self) -> int:
        return self.connections()

    def end_streams(self) -> None:
        """Ask every event stream to end: to be called first when the server stops, which waits for open answers."""
        self.feed.closing.set()

    @property
    def protocol_class(self) -> type[HotProtocol]:
        """uvicorn's HTTP protocol with the hot path in it."""
        return hot_protocol(self.hot)

    @property
    def plain_protocol_class(self) -> type[PlainProtocol]:
        """uvicorn's HTTP protocol for the ASGI adapter: nothing of the hot path in it, but its limits."""
        return plain_protocol(self.services.settings)

    async def __call__(self, scope: asgi.Scope, receive: asgi.Receive, send: asgi.Send) -> None:
        """ASGI entry."""
        if scope["type"] != "http":
            await self.cold(scope, receive, send)
            return
        method = scope["method"].encode()
        path = scope["path"]
        found = self.hot.route(b"GET" if method == b"HEAD" else method, path.encode("utf-8", "surrogateescape"))
        if found is not None:
            await asgi.serve(self.hot, found, scope, receive, send)
        else:
            await self._serve_cold(scope, receive, send)

    async def _serve_cold(self, scope: asgi.Scope, receive: asgi.Receive, send: asgi.Send) -> None:
        """FastAPI's part, with what every answer must have: a request id, a body limit, a count."""
        if scope["method"] == "HEAD":
            # The server leaves the body out; it looks at its own scope, where the method is still HEAD.
            scope = {**scope, "method": "GET", "holdfast.head": True}
        started = time.perf_counter()
        exchange = Exchange()
        exchange.read_headers(scope["headers"])
        request_id = exchange.log_id()
        settings = self.services.settings
        limit, patience_s = body_limits(settings, scope)
        status, began = 500, 0.0
        spans = self.services.spans
        span = None if spans is None else spans.begin(scope["method"], exchange.traceparent)
        if span is not None:
            exchange.trace_id = span.trace_id

        body = _Body(receive, limit, patience_s)
        if is_upload(scope):
            send = ending_unread(send, receive, lambda: body.complete)

        async def marked_send(message: asgi.Message) -> None:
            nonlocal status, began
            if message["type"] == "http.response.start":
                # What is told of an answer is how long it took to begin: a stream goes on for hours.
                status, began = message["status"], time.perf_counter()
                await end_audit(audit, self.services.database, status)
                if span is not None:
                    span.end(_name_of(scope), status, request_id.decode())
                common = ((b"x-request-id", request_id), *scope.get(RATE_LIMIT, ()))
                message["headers"] = [*message.get("headers", ()), *common]
            await send(message)

        scope["holdfast.authorization"] = exchange.authorization
        audit = scope[SCOPE_KEY] = AuditSlot(request_id.decode("latin-1"), started)
        try:
            # Whoever logs a line while this request is carried out names it.
            with bound_contextvars(request_id=request_id.decode()), nullcontext() if span is None else span.attached():
                if asgi.content_length(scope["headers"]) > limit:
                    await _send_too_large(limit, receive, marked_send)
                    return
                app = self.console if self.console is not None and is_console(scope) else self.cold
                await app(scope, body.receive, marked_send)
        except Exception as error:
            # Starlette has sent the 500 by now; the log line is ours, so that it carries the request's id.
            exchange.argument = str(scope.get("path_params", {}).get("sku", ""))
            logger.error("request failed", exc_info=error, operation=_name_of(scope), **exchange.named())
        finally:
            name = _name_of(scope)
            exchange.argument = str(scope.get("path_params", {}).get("sku", ""))
            if span is not None:
                span.end(name, status, request_id.decode())
            took_s = (began or time.perf_counter()) - started
            self.metrics.endpoint(name).count(status, took_s)
            if settings.access_log:
                exchange.log(name, status, took_s)


class _Body:
    """What is received of a cold request, within its limits of size and time."""

    def __init__(self, receive: asgi.Receive, limit: int, patience_s: float) -> None:
        self._receive = receive
        self._limit = limit
        self._deadline = asyncio.get_running_loop().time() + patience_s
        self._taken = 0
        self.complete = False

    async def receive(self) -> asgi.Message:
        """The next message. Raises Problem `request-timeout`, `payload-too-large`."""
        if self.complete:
            # Only the client's leaving can come now, and that may take as long as the answer.
            return await self._receive()
        try:
            async with asyncio.timeout_at(self._deadline):
                message = await self._receive()
        except TimeoutError:
            raise asgi.request_timeout() from None
        self.complete = not message.get("more_body", False)
        self._taken += len(message.get("body", b""))
        if self._taken > self._limit:
            raise asgi.too_large(self._limit)
        return message


def create_app(services: Services) -> Application:
    """The application of one API process."""
    return Application(services)


async def _send_too_large(limit: int, receive: asgi.Receive, send: asgi.Send) -> None:
    problem = asgi.too_large(limit)
    body = problem.body()
    headers = [(b"content-type", PROBLEM_JSON), (b"content-length", b"%d" % len(body)), *problem.headers()]
    await send({"type": "http.response.start", "status": problem.kind.status, "headers": headers})
    await asgi.send_last(body, receive, send)


def problem_response(problem: Problem) -> Response:
    """A problem as FastAPI sends it."""
    headers = {name.decode(): value.decode() for name, value in problem.headers()}
    return Response(problem.body(), problem.kind.status, headers, PROBLEM_JSON.decode())


def _cold_app(services: Services, metrics: Metrics, pulse: PulseWriter, close_hot: Any) -> FastAPI:
    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        publishing = asyncio.get_running_loop().create_task(_publish(metrics))
        await pulse.start()
        yield
        await pulse.close()
        publishing.cancel()
        metrics.publish()
        await close_hot()

    app = FastAPI(
        title="Holdfast",
        version=services.settings.version,
        description=f"Inventory reservations that never oversell. Send your key ({MIN_KEY_LENGTH}+ characters) as "
        "`Authorization: Bearer <key>`. Errors are `application/problem+json` with a stable `code`.",
        lifespan=lifespan,
        # Its own spans would stand beside ours, and know nothing of the hot path.
        telemetry={"tracing": False, "metrics": False, "logs": False, "operation_spans": False},
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.services = services
    app.state.metrics = metrics
    for module in ROUTERS:
        app.include_router(module.router)
    complete_openapi(app)
    _handle_errors(app)
    return app


async def _publish(metrics: Metrics) -> None:
    while True:
        await asyncio.sleep(PUBLISH_INTERVAL_S)
        try:
            metrics.publish()
        except Exception:
            # Whatever it was: the next second is told again.
            logger.exception("counters cannot be published")


def _name_of(scope: asgi.Scope) -> str:
    """The operation that a cold request came to; there are as many as there are routes."""
    route = scope.get("route")
    return getattr(route, "operation_id", None) or getattr(route, "name", None) or "unmatched"


def _methods_of(scope: asgi.Scope) -> set[str]:
    """Every method that some route of this path takes."""
    allowed: set[str] = set()
    for route in (route for module in ROUTERS for route in module.router.routes):
        if isinstance(route, Route) and route.matches(scope)[0] is not Match.NONE:
            allowed |= route.methods or set()
    return allowed | {"HEAD"} if "GET" in allowed else allowed


def _handle_errors(app: FastAPI) -> None:
    def answered(request: Request, problem: Problem) -> Response:
        audit_code(request.scope, problem.kind.code)
        app.state.metrics.endpoint(_name_of(request.scope)).problems[problem.kind.code] += 1
        return problem_response(problem)

    @app.exception_handler(Problem)
    async def on_problem(request: Request, error: Problem) -> Response:
        return answered(request, error)

    @app.exception_handler(HoldfastError)
    async def on_engine_error(request: Request, error: HoldfastError) -> Response:
        return answered(request, problems.of_exception(error))

    @app.exception_handler(DatabaseUnavailable)
    async def on_database_error(request: Request, error: DatabaseUnavailable) -> Response:
        return answered(request, problems.of_exception(error))

    @app.exception_handler(Refusal)
    async def on_refusal(request: Request, error: Refusal) -> Response:
        return answered(request, problem_of(error))

    @app.exception_handler(InvalidCursor)
    async def on_cursor(request: Request, error: InvalidCursor) -> Response:
        return answered(request, Problem("invalid-cursor"))

    @app.exception_handler(RequestValidationError)
    async def on_invalid(request: Request, error: RequestValidationError) -> Response:
        found = [{"at": ".".join(map(str, e["loc"])), "message": str(e["msg"])} for e in error.errors()]
        detail = "; ".join(f"{e['at']}: {e['message']}" for e in found)[:500]
        return answered(request, Problem("validation-error", detail, {"errors": found}))

    @app.exception_handler(HTTPException)
    async def on_http_error(request: Request, error: HTTPException) -> Response:
        if error.status_code == 405:
            allow = ", ".join(sorted(_methods_of(request.scope)))
            return answered(request, Problem("method-not-allowed", headers=((b"allow", allow.encode()),)))
        return answered(request, Problem("not-found" if error.status_code == 404 else "invalid-request"))

    @app.exception_handler(Exception)
    async def on_failure(request: Request, error: Exception) -> Response:
        return answered(request, Problem("internal-error"))
