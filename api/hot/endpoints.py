"""Which requests are hot, and what happens to each before and after its endpoint: keys, roles, errors, waits.

Owns the routing table and the one place where exceptions of the hot path become problems. Never reads a socket.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import TYPE_CHECKING, Any, Final

import structlog

from api import problems
from api.auth import Permission, forbidden, unauthenticated
from api.hot.audited import ROUTES, put_on_record
from api.hot.exchange import Exchange, Headers
from api.metrics import EndpointCounts, Metrics
from api.problems import Problem
from engine.results import Reply

if TYPE_CHECKING:
    from api.services import Durability, Services
    from engine.batcher import OnReply
    from engine.commands import Command

logger = structlog.get_logger("holdfast.api")

Run = Callable[[Exchange], None]
Submit = Callable[["Command", "OnReply"], None]

RESERVE_PATH: Final = b"/inventory/reserve"
BATCH_PATH: Final = b"/inventory/reserve/batch"
BY_ID_PREFIX: Final = b"/inventory/reserve/"
CONFIRM_SUFFIX: Final = b"/confirm"
AVAILABILITY_PATH: Final = b"/inventory/availability"
AVAILABILITY_PREFIX: Final = b"/inventory/availability/"
PARTITION: Final = 0


class Endpoint:
    """One hot operation: who may call it, how large its body may be, what runs."""

    def __init__(  # noqa: PLR0917
        self,
        name: str,
        permission: Permission,
        max_body_bytes: int,
        run: Run,
        counts: EndpointCounts,
        access_log: bool = False,
    ) -> None:
        self.name = name
        self.permission = int(permission)
        self.audited = name in ROUTES
        self.max_body_bytes = max_body_bytes
        self.run = run
        self.count = counts.count
        self.count_refused = counts.refuse
        self.access_log = access_log


class Hot:
    """Everything the hot path shares within one process."""

    def __init__(self, services: Services, metrics: Metrics) -> None:
        self.services = services
        self.settings = services.settings
        self.engine = services.engine
        level = services.settings.durability
        self.submit_change = self.submit_of(level)
        """Where changes go that name no durability of their own."""
        self.waits_for_ledger = level == "ledger"
        """True if their answers wait for the ledger."""
        self.metrics = metrics
        self._known = services.keys.known
        self.refused = Endpoint("refused", Permission(0), 0, _nothing, metrics.endpoint("refused"))
        """Counts what is refused before it is known which endpoint was meant."""
        self.charge_items: Callable[[Exchange, int], None] | None = None
        """Counts a batch as so many requests, where keys have a rate limit (api/hot/limited.py)."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._exact: dict[bytes, dict[bytes, Endpoint]] = {}
        self._by_id: dict[bytes, Endpoint] = {}
        self._confirm: dict[bytes, Endpoint] = {}
        self._availability: dict[bytes, Endpoint] = {}

    def add(self, place: str, method: bytes, name: str, permission: Permission, run: Run) -> None:
        """Put an endpoint into the routing table; `place` is a path, or `by_id`, `confirm`, `availability`."""
        limit = self.settings.max_batch_body_bytes if name == "batch" else self.settings.max_body_bytes
        counts = self.metrics.endpoint(name, hot=True)
        endpoint = Endpoint(name, permission, limit, run, counts, self.settings.access_log)
        tables = {"by_id": self._by_id, "confirm": self._confirm, "availability": self._availability}
        table = tables.get(place)
        if table is None:
            table = self._exact.setdefault(place.encode(), {})
        table[method] = endpoint

    def endpoints(self) -> Iterator[Endpoint]:
        """Every endpoint, the ones that refuse included."""
        for table in [*self._exact.values(), self._by_id, self._confirm, self._availability]:
            yield from table.values()

    def seal(self) -> None:
        """Answer 405 for every other method of the paths added so far."""
        tables = [*self._exact.values(), self._by_id, self._confirm, self._availability]
        for table in tables:
            allowed = b", ".join(sorted(table | ({b"HEAD": None} if b"GET" in table else {})))
            refuse = _method_not_allowed(allowed)
            table[_ANY] = Endpoint("method_not_allowed", Permission(0), 0, refuse, self.metrics.endpoint("refused"))

    def submit_of(self, durability: Durability) -> Submit:
        """Where a change goes whose answer promises this much. Waiting for the ledger comes behind it (`finish`)."""
        return self.engine.submit_replicated if durability == "replicated" else self.engine.submit

    def route(self, method: bytes, path: bytes) -> tuple[Endpoint, str] | None:
        """The endpoint for a method and a path without its query, and the path's variable part; None: not hot."""
        table = self._exact.get(path)
        if table is not None:
            return table.get(method) or table[_ANY], ""
        if path.startswith(BY_ID_PREFIX):
            rest = path[len(BY_ID_PREFIX) :]
            table = self._by_id
            if rest.endswith(CONFIRM_SUFFIX):
                rest = rest[: -len(CONFIRM_SUFFIX)]
                table = self._confirm
        elif path.startswith(AVAILABILITY_PREFIX):
            rest = path[len(AVAILABILITY_PREFIX) :]
            table = self._availability
        else:
            return None
        if not rest or b"/" in rest:
            return None
        return table.get(method) or table[_ANY], _text_of(rest)

    def is_stranger(self, exchange: Exchange) -> bool:
        """True if it is not known yet whether the caller may ask for anything."""
        return exchange.endpoint.permission != 0 and self._known(exchange.authorization) is None

    def dispatch(self, exchange: Exchange) -> None:
        """Run the exchange's endpoint. Whatever happens, the exchange is answered exactly once, now or later."""
        exchange.started = time.perf_counter()
        caller = self._known(exchange.authorization)
        if caller is not None:
            exchange.caller = caller
            if caller.owner or not exchange.endpoint.audited:
                self._run(exchange)
            else:
                self.later(exchange, self._run_audited(exchange))
        elif exchange.endpoint.permission == 0:
            self._run(exchange)
        elif not exchange.authorization:
            exchange.refuse(unauthenticated())
        else:
            self.later(exchange, self._authenticate(exchange))

    async def _authenticate(self, exchange: Exchange) -> None:
        caller = exchange.caller = await self.services.keys.look_up(exchange.authorization)
        if caller.owner or not exchange.endpoint.audited:
            self._run(exchange)
        else:
            await self._run_audited(exchange)

    async def _run_audited(self, exchange: Exchange) -> None:
        await put_on_record(exchange, self.services.database, self._tasks)
        self._run(exchange)

    def _run(self, exchange: Exchange) -> None:
        endpoint = exchange.endpoint
        try:
            if endpoint.permission and not exchange.caller.grants & endpoint.permission:
                raise forbidden(exchange.caller)
            endpoint.run(exchange)
        except Exception as error:  # noqa: BLE001 - the boundary: whatever goes wrong is answered
            self.fail(exchange, error)

    def fail(self, exchange: Exchange, error: Exception) -> None:
        """Answer with the problem that an exception stands for; what nobody foresaw is logged and answered 500."""
        problem = error if isinstance(error, Problem) else problems.of_exception(error)
        if problem is not error and problem.kind.status == 500:
            self.log_failure(exchange, error)
        exchange.refuse(problem)
        # It has come through frames that hold it, as the reply of a batch: in that circle the request, and every other
        # that the same lost connection failed, would stay until the garbage collector comes.
        error.__traceback__ = None

    def log_failure(self, exchange: Exchange, error: Exception) -> None:
        """Put what nobody foresaw into the log, under the request's id."""
        logger.error("request failed", exc_info=error, operation=exchange.endpoint.name, **exchange.named())

    def later(self, exchange: Exchange, work: Coroutine[Any, Any, None]) -> None:
        """Finish an exchange in a task: only for what must wait for Postgres. The batch is never waited for so."""
        task = asyncio.get_running_loop().create_task(self._guarded(exchange, work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _guarded(self, exchange: Exchange, work: Coroutine[Any, Any, None]) -> None:
        # A task has a context of its own: lines of anybody who works for this request carry its id.
        structlog.contextvars.bind_contextvars(**exchange.named())
        try:
            await work
        except Exception as error:  # noqa: BLE001 - the boundary again, for what runs in a task
            self.fail(exchange, error)

    def on_reply(self, exchange: Exchange, handle: Callable[[Any, Reply], None]) -> Callable[[Any, Any], None]:
        """A callback for `engine.submit` that cannot throw into the batch it is called from."""

        def answered(command: Any, reply: Any) -> None:
            try:
                if type(reply) is not Reply:
                    raise reply
                handle(command, reply)
            except Exception as error:  # noqa: BLE001 - one caller's trouble must not reach the others of its batch
                self.fail(exchange, error)

        return answered

    def finish(  # noqa: PLR0917
        self,
        exchange: Exchange,
        status: int,
        body: bytes,
        epoch: int,
        seq: int,
        headers: Headers = (),
        *,
        ledger: bool,
    ) -> None:
        """Answer a change: at once, or, when that is what was promised, once the ledger has event `seq` of `epoch`.

        Both as the engine's answer has them: by the time this is called another epoch may have begun.
        """
        if not ledger:
            exchange.answer(status, body, headers)
            return

        def on_reached(reached: bool) -> None:
            if reached:
                exchange.answer(status, body, headers)
            else:
                exchange.refuse(Problem("durability-unknown"))

        settings = self.settings
        self.services.watermark.watch(PARTITION, epoch, seq, settings.ledger_timeout_s, on_reached)

    async def close(self) -> None:
        """Wait for the exchanges that are still being finished."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=self.settings.ledger_timeout_s)


_ANY: Final = b"*"
"""Stands in a routing table for every method that has no endpoint of its own."""


def _method_not_allowed(allowed: bytes) -> Run:
    problem = Problem("method-not-allowed", headers=((b"allow", allowed),))

    def refuse(exchange: Exchange) -> None:
        exchange.refuse(problem)

    return refuse


def _nothing(exchange: Exchange) -> None:
    raise NotImplementedError


def _text_of(part: bytes) -> str:
    # The server has taken percent signs away; one that is left is meant as it stands.
    return part.decode("utf-8", "replace")
