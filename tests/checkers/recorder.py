"""Writes down what clients send and hear, over the engine: each call before it is sent, each answer as it comes.

Owns the translation of commands and results; never chooses what is sent (workload.py) and never judges.
"""

from __future__ import annotations

import itertools
import time
from typing import Any

from msgspec.structs import asdict

from engine import Adjust, Amend, Availability, Confirm, Engine, Expire, Read, Release, Reserve
from engine.commands import Command
from engine.errors import OutcomeUnknown, Unavailable
from engine.identity import make_id
from engine.results import Result
from tests.checkers.history import NOT_APPLIED, UNKNOWN, Answer, Call, Event, History, Lines, Stock, Verb, history_of

DETAILS = '{"c":"ann"}'


class Recorder:
    """The events of one run, in memory. Several clients share it; one event loop or one lock of theirs."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._numbers = itertools.count(1)

    def stock(self, sku: str, on_hand: int, safety: int = 0) -> None:
        self.events.append(Stock(sku, on_hand, safety))

    def call(self, client: str, verb: Verb, base: str = "", lines: Lines = (), **more: Any) -> Call:
        call = Call(next(self._numbers), time.monotonic_ns(), client, verb, base, lines, **more)
        self.events.append(call)
        return call

    def answer(self, call: Call, status: str, **told: Any) -> Answer:
        answer = Answer(call.number, time.monotonic_ns(), status, **told)
        self.events.append(answer)
        return answer

    def history(self) -> History:
        return history_of(self.events)


class EngineClient:
    """One client of an engine. `send` gives the answer as it was written down."""

    def __init__(self, name: str, engine: Engine, recorder: Recorder) -> None:
        self.name = name
        self.engine = engine
        self._recorder = recorder

    async def send(self, verb: Verb, base: str = "", lines: Lines = (), *, created_ms: int = 0, **more: Any) -> Answer:
        """`created_ms`: of the reservation, for verbs that name one."""
        call = self._recorder.call(self.name, verb, base, lines, **more)
        command = command_of(call, created_ms)
        try:
            result = await self.engine.execute(command)
        except OutcomeUnknown:
            return self._recorder.answer(call, UNKNOWN)
        except Unavailable:
            return self._recorder.answer(call, NOT_APPLIED)
        return self._recorder.answer(call, result.status, **told_by(call, result))


def command_of(call: Call, created_ms: int) -> Command:  # noqa: PLR0911  one return a verb reads best
    """The engine's command for a call. Everything that makes something is keyed, so that it may be repeated."""
    base, text = call.base, ",".join(f"{sku}={units}" for sku, units in call.lines)
    match call.verb:
        case "reserve":
            request = f"{text} {call.ttl_ms} {call.partial}"
            return Reserve(base, text, call.ttl_ms, call.partial, "", request, DETAILS)
        case "amend":
            return Amend(base, created_ms, text, call.ttl_ms)
        case "confirm":
            return Confirm(((base, created_ms),), call.order_id)
        case "release":
            return Release(base, created_ms)
        case "expire":
            return Expire(base, f"{make_id(base, created_ms)} {text}")
        case "read":
            return Read(base, created_ms)
        case "availability":
            return Availability(text)
        case "adjust":
            assert call.operation, "an adjust needs an operation"
            lines = tuple((sku, call.operation, units) for sku, units in call.lines)
            return Adjust(base, lines, "ADJUSTMENT", "count", "", "", "admin", f"{call.operation} {text}")


def told_by(call: Call, result: Result) -> dict[str, Any]:
    """What a result tells, as fields of Answer."""
    told: dict[str, Any] = {"now_ms": result.now_ms, "seq": result.seq}
    for one in result.reservations:
        told |= {"id": one.id, "state": one.status, "held": one.lines, "deadline_ms": one.deadline_ms}
    if result.shortages:
        told["short"] = tuple((one.sku, one.available) for one in result.shortages)
    if result.levels:
        told["available"] = tuple((one.sku, one.available) for one in result.levels)
        told["levels"] = tuple((one.sku, one.on_hand, one.reserved) for one in result.levels)
    if result.movements:
        told["id"] = result.adjustment_id
        told["levels"] = tuple((one.sku, one.on_hand, one.reserved) for one in result.movements)
    return told


def fields(answer: Answer) -> dict[str, Any]:
    """For messages."""
    return asdict(answer)
