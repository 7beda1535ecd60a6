"""What makes pages live: one stream a page, one look after another for all pages of a process together.

Owns the stream and the looking. It costs Redis the same however much is going on: counters of the SKUs that are on
somebody's screen are read every TICK_S; the journal is not followed (docs/decisions/0030).
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Final

import msgspec
import structlog
from fastapi import APIRouter, Query, Request, Response
from msgspec import Struct

from api.console.access import Reading
from api.console.figures import Figures, Lost, figures_of, lost_of
from api.event_stream import client_leaves, end_stream
from api.hot import asgi
from api.hot.decode import check_sku
from api.problems import invalid
from engine.errors import Unavailable
from inventory.context import PARTITION
from inventory.refusals import TooManyStreams
from persistence.database import DatabaseUnavailable
from persistence.queries import open_work
from persistence.queries.open_work import OpenWork

if TYPE_CHECKING:
    from api.console.sessions import Sessions
    from api.services import Services
    from inventory.events.feed import EventFeed
    from inventory.pulse.fleet import Fleet, FleetReader

router = APIRouter(prefix="/console", include_in_schema=False)
logger = structlog.get_logger("holdfast.api")

TICK_S: Final = 0.75
"""Between two looks: with what a look takes, a change is on the screen within a second."""
MOST_SKUS: Final = 200
"""On one page."""
FIGURES_S: Final = 1.0
PATIENCE_S: Final = 2.0
"""How long the counters are waited for."""
LOOK_AT_SESSION_S: Final = 3.0
_HEADERS: Final = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
]


class Counters(Struct, frozen=True, array_like=True):
    """A SKU's counters as the script takes them: a list."""

    on_hand: int
    reserved: int
    available: int
    threshold: int


class Tick(Struct, frozen=True):
    """What one page hears."""

    at: int
    """Unix ms, this server's clock."""
    figures: Figures | None
    counts: OpenWork | None
    ledger: list[int]
    """[epoch, seq] of the newest event known to be in Postgres: when it moves, lists may have changed."""
    stock: dict[str, Counters]
    lost: dict[str, Lost]


class LiveDesk:
    """Looks while any page is open, for all of them."""

    def __init__(self, services: Services, fleet: FleetReader) -> None:
        self._services = services
        self.reader = fleet
        self._watched: dict[object, tuple[str, ...]] = {}
        self._looking: tuple[asyncio.Task[None], ...] = ()
        self._told = asyncio.Event()
        self._fleet: Fleet | None = None
        self._counts: OpenWork | None = None
        self._levels: dict[str, Counters] = {}

    @property
    def pages(self) -> int:
        """Pages that are open and visible."""
        return len(self._watched)

    def open(self, skus: tuple[str, ...]) -> object:
        """A page begins to listen; gives what `close` takes."""
        page = object()
        self._watched[page] = skus
        if not self._looking:
            loop = asyncio.get_running_loop()
            # Apart, because figures are asked of more than the counters: a slow Postgres must not make those late.
            self._looking = (
                loop.create_task(_repeat(self._look_at_counters, TICK_S)),
                loop.create_task(_repeat(self._look_at_figures, FIGURES_S)),
            )
        return page

    def close(self, page: object) -> None:
        """It does not any more. When nobody does, nothing is looked at."""
        self._watched.pop(page, None)
        if not self._watched:
            for task in self._looking:
                task.cancel()
            self._looking = ()
            # Whoever comes next must not be shown what was true when the last one left.
            self._fleet, self._counts, self._levels = None, None, {}

    async def next(self) -> None:
        """Return at the next look."""
        await self._told.wait()

    def tick(self, skus: tuple[str, ...]) -> Tick:
        """What a page with these SKUs is told now."""
        return Tick(
            at=time.time_ns() // 1_000_000,
            figures=None if self._fleet is None else figures_of(self._fleet),
            counts=self._counts,
            ledger=list(self._services.watermark.position(PARTITION)),
            stock={sku: self._levels[sku] for sku in skus if sku in self._levels},
            lost={} if self._fleet is None else lost_of(self._fleet, skus),
        )

    async def _look_at_counters(self) -> None:
        skus = sorted({sku for some in self._watched.values() for sku in some})
        try:
            async with asyncio.timeout(PATIENCE_S):
                levels = await self._services.engine.stock_levels(skus) if skus else []
            self._levels = {
                level.sku: Counters(level.on_hand, level.reserved, level.available, level.low_stock_threshold)
                for level in levels
            }
        except (Unavailable, TimeoutError):
            # The figures say that Redis is away; old counters must not look like new ones.
            self._levels = {}
        told, self._told = self._told, asyncio.Event()
        told.set()

    async def _look_at_figures(self) -> None:
        self._fleet = await self.reader.read()
        try:
            self._counts = await open_work.count(self._services.database)
        except DatabaseUnavailable:
            self._counts = None


async def _repeat(look: Callable[[], Awaitable[None]], every_s: float) -> None:
    loop = asyncio.get_running_loop()
    due = loop.time()
    while True:
        try:
            await look()
        except Exception:
            # A desk that died would leave every page with the numbers of long ago.
            logger.exception("the console could not be brought up to date")
        due = max(due + every_s, loop.time())
        await asyncio.sleep(due - loop.time())


class LiveStream(Response):
    """The answer to GET /console/live: a tick a second for as long as the page is open and the session good."""

    media_type = "text/event-stream"

    def __init__(self, request: Request, token: str, skus: tuple[str, ...]) -> None:
        super().__init__()
        state = request.app.state
        self._desk: LiveDesk = state.live
        self._feed: EventFeed = state.feed
        self._sessions: Sessions = state.sessions
        self._stalled_s: float = state.services.settings.streams.stalled_s
        self._token = token
        self._skus = skus

    async def __call__(self, scope: asgi.Scope, receive: asgi.Receive, send: asgi.Send) -> None:
        """Stream until the page is left, the session ends, or the service stops."""
        await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
        if scope.get("holdfast.head"):
            await send({"type": "http.response.body", "body": b""})
            return
        page = self._desk.open(self._skus)
        try:
            tasks = {
                asyncio.ensure_future(self._tell(send)),
                asyncio.ensure_future(client_leaves(receive)),
                asyncio.ensure_future(self._feed.closing.wait()),
                asyncio.ensure_future(self._session_ends()),
            }
            try:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
        finally:
            self._desk.close(page)
        with contextlib.suppress(OSError):
            await end_stream(scope, receive, send)

    async def _tell(self, send: asgi.Send) -> None:
        async def put(body: bytes) -> None:
            async with asyncio.timeout(self._stalled_s):
                await send({"type": "http.response.body", "body": body, "more_body": True})

        with contextlib.suppress(TimeoutError):
            await put(b"retry: 1000\n\n")
            while True:
                await self._desk.next()
                await put(b"data: %b\n\n" % msgspec.json.encode(self._desk.tick(self._skus)))

    async def _session_ends(self) -> None:
        while True:
            await asyncio.sleep(LOOK_AT_SESSION_S)
            with contextlib.suppress(DatabaseUnavailable):
                if await self._sessions.find(self._token) is None:
                    return


@router.get("/live")
async def live(
    request: Request, visit: Reading, sku: Annotated[list[str] | None, Query(max_length=MOST_SKUS)] = None
) -> Response:
    """A tick a second: figures, counts of open work, how far the ledger is, and the counters of these SKUs."""
    skus = tuple(dict.fromkeys(check_sku(one, "sku") for one in sku or ()))
    if len(skus) > MOST_SKUS:
        raise invalid(f"at most {MOST_SKUS}", "sku")
    desk: LiveDesk = request.app.state.live
    if desk.pages >= visit.services.settings.streams.most:
        raise TooManyStreams
    return LiveStream(request, visit.viewer.token, skus)


@router.get("/session")
async def session(visit: Reading) -> Response:
    """Whether somebody is still signed in: what a page asks whose stream has ended. 204, or 401."""
    return Response(status_code=204, headers={"cache-control": "no-store"})
