"""A client of a running service: the HTTP contract as typed calls, repeated safely while the service is away.

Owns requests, answers and when to ask again; never looks behind the HTTP contract. For programs that drive a service
(replay, loadtest); follows no redirect and no proxy, so that nothing goes anywhere but to the address given.
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Any, Final, TypeVar
from urllib.parse import quote

import msgspec
from msgspec import Struct

from runtime.wire import RequestMaker, Wire, WireAnswer, parse_origin

T = TypeVar("T")

TIMEOUT_S: Final = 30.0
PATIENCE_S: Final = 60.0
"""How long a request is repeated while the service says 503 or does not answer, before Unreachable."""

LONGEST_WAIT_S: Final = 2.0
PAGE: Final = 500


class ServiceError(Exception):
    """The service cannot be used as it was asked to be; the message says why, without secrets."""


class Unreachable(ServiceError):
    """No usable answer for PATIENCE_S: the service is down, or is not a Holdfast."""


class UnexpectedAnswer(ServiceError):
    """An answer that the contract does not give here."""


class Shortage(Struct, frozen=True):
    """A line that was short."""

    sku: str
    requested: int
    available: int


class Problem(Struct, frozen=True):
    """A problem response (RFC 9457)."""

    code: str = ""
    detail: str = ""
    shortages: tuple[Shortage, ...] = ()


class Line(Struct, frozen=True):
    """One SKU and a quantity in units."""

    sku: str
    quantity: int


class Reservation(Struct, frozen=True):
    """A reservation as the contract shows it, as far as these programs look."""

    id: str
    status: str
    lines: tuple[Line, ...] = ()
    order_id: str | None = None


class ProductStatus(Struct, frozen=True):
    """The live counters of a SKU."""

    sku: str
    on_hand: int
    reserved: int
    available: int


class Level(Struct, frozen=True):
    """The stock of a SKU as Postgres has it."""

    sku: str
    on_hand: int
    reserved: int


class Transaction(Struct, frozen=True):
    """A row of the ledger. `quantity` is signed, in units."""

    id: str | int
    sku: str
    transaction_type: str
    quantity: int
    previous_stock: int
    new_stock: int
    reference_type: str | None
    reference_id: str | None
    seq: int


class Page(Struct, frozen=True):
    """A page of a list."""

    items: tuple[msgspec.Raw, ...]
    next_cursor: str | None = None


class Answer(Struct, frozen=True):
    """An HTTP answer that came through."""

    status: int
    body: bytes

    def read(self, kind: type[T]) -> T:
        """The body as `kind`. Raises UnexpectedAnswer if it is something else."""
        try:
            return msgspec.json.decode(self.body, type=kind)
        except msgspec.MsgspecError as error:
            raise UnexpectedAnswer(f"not a {kind.__name__}: {error}: {self.body[:300]!r}") from error

    @property
    def problem(self) -> Problem:
        """The body as a problem; an empty one if it is none."""
        try:
            return msgspec.json.decode(self.body, type=Problem)
        except msgspec.MsgspecError:
            return Problem()


def sku_path(sku: str) -> str:
    """A SKU as one segment of a path."""
    return quote(sku, safe="")


class ServiceClient:
    """One API key's view of one service; for use in `async with`, which raises Unreachable if nobody is there."""

    def __init__(self, url: str, key: str, *, connections: int = 32, patience_s: float = PATIENCE_S) -> None:
        self._url = url
        self._patience_s = patience_s
        self._connections = connections
        self._make = RequestMaker(parse_origin(url), key)
        self._wire: Wire | None = None
        self.requests = 0
        self.repeats = 0
        """Requests sent again, because of 503 or a lost answer."""

    async def __aenter__(self) -> ServiceClient:
        """Connect."""
        self._wire = Wire(parse_origin(self._url), self._connections, TIMEOUT_S)
        try:
            await self._wire.start()
        except (OSError, TimeoutError) as error:
            await self._wire.close()
            raise Unreachable(f"{self._url} cannot be reached: {error}") from error
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connections."""
        if self._wire is not None:
            await self._wire.close()

    async def call(
        self, method: str, path: str, body: Any = None, *, key: str = "", headers: dict[str, str] | None = None
    ) -> Answer:
        """Send a request that is safe to repeat (`key`: its Idempotency-Key) until there is an answer other than 503.

        Any status comes back. Raises Unreachable after the patience has run out.
        """
        more = {"Idempotency-Key": key, **(headers or {})} if key else headers
        request = self._make.make(method, path, None if body is None else msgspec.json.encode(body), more)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._patience_s
        wait_s = 0.05
        while True:
            self.requests += 1
            answer = await self._ask(request)
            if answer.status not in {0, 503}:
                return Answer(answer.status, answer.body)
            reason = f"503 {Answer(503, answer.body).problem.code}".strip() if answer.status else "no answer"
            if loop.time() + wait_s > deadline:
                raise Unreachable(f"{method} {path}: {reason} for {self._patience_s:g} s")
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, LONGEST_WAIT_S)
            self.repeats += 1

    async def _ask(self, request: bytes) -> WireAnswer:
        if self._wire is None:
            raise RuntimeError("a ServiceClient is used in `async with`")
        return await self._wire.ask(request)

    async def expect(
        self, statuses: tuple[int, ...], method: str, path: str, body: Any = None, *, key: str = ""
    ) -> Answer:
        """As `call`; any status but `statuses` raises UnexpectedAnswer with the problem in its message."""
        answer = await self.call(method, path, body, key=key)
        if answer.status not in statuses:
            raise refused(method, path, answer)
        return answer

    async def wait_ready(self) -> None:
        """Wait until the service says it is ready. Raises Unreachable."""
        await self.expect((200,), "GET", "/readyz")

    async def status_of(self, sku: str) -> ProductStatus:
        """The live counters of a SKU."""
        answer = await self.expect((200,), "GET", f"/inventory/products/{sku_path(sku)}/status")
        return answer.read(ProductStatus)

    async def status_or_none(self, sku: str) -> ProductStatus | None:
        """The live counters of a SKU, None if there is no such SKU."""
        answer = await self.expect((200, 404), "GET", f"/inventory/products/{sku_path(sku)}/status")
        return answer.read(ProductStatus) if answer.status == 200 else None

    async def newest_transaction(self) -> str | int | None:
        """Id of the newest ledger row, None if the ledger is empty."""
        page = (await self.expect((200,), "GET", "/inventory/transactions?limit=1")).read(Page)
        return msgspec.json.decode(page.items[0], type=Transaction).id if page.items else None

    async def transactions_after(self, newest_before: str | int | None, sku: str = "") -> list[Transaction]:
        """Ledger rows newer than the row `newest_before` (None: all), oldest first; of one SKU if it is given."""
        path = f"/inventory/transactions/{sku_path(sku)}" if sku else "/inventory/transactions"
        rows: list[Transaction] = []
        cursor: str | None = None
        while True:
            query = f"?limit={PAGE}" + (f"&cursor={quote(cursor, safe='')}" if cursor else "")
            page = (await self.expect((200,), "GET", path + query)).read(Page)
            for raw in page.items:
                row = msgspec.json.decode(raw, type=Transaction)
                if row.id == newest_before:
                    return rows[::-1]
                rows.append(row)
            cursor = page.next_cursor
            if cursor is None:
                return rows[::-1]

    async def levels(self) -> list[Level]:
        """The stock of every SKU as Postgres has it."""
        found: list[Level] = []
        cursor: str | None = None
        while True:
            query = f"?limit={PAGE}" + (f"&cursor={quote(cursor, safe='')}" if cursor else "")
            page = (await self.expect((200,), "GET", "/inventory/levels" + query)).read(Page)
            found += [msgspec.json.decode(raw, type=Level) for raw in page.items]
            cursor = page.next_cursor
            if cursor is None:
                return found


def refused(method: str, path: str, answer: Answer) -> UnexpectedAnswer:
    """The error that stands for an answer nobody expected."""
    problem = answer.problem
    what = f"{problem.code}: {problem.detail}" if problem.code else repr(answer.body[:200])
    return UnexpectedAnswer(f"{method} {path} was answered {answer.status} {what}")
