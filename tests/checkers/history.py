"""What clients saw: calls and answers with real time, as JSON lines, and paired up as operations.

Owns the format and the pairing; never judges what it holds and knows nothing of engine or HTTP.

A line is one of
- `stock`    a SKU and what it began with, before any call
- `call`     a client sends; `number` is its own in the whole history, `at_ns` the monotonic clock of the host
- `answer`   what came back for that number. No answer at all, or status `unknown`: it may have happened, once, at any
             time after the call, or never. Status `not_applied`: it certainly did not happen (nothing was sent, or the
             store refused before its first write).
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import IO, Final, Literal

import msgspec
from msgspec import Struct

Verb = Literal["reserve", "amend", "confirm", "release", "expire", "adjust", "read", "availability"]
Lines = tuple[tuple[str, int], ...]

UNKNOWN: Final = "unknown"
NOT_APPLIED: Final = "not_applied"
_SEES_ONLY: Final = ("read", "availability")


class Stock(Struct, frozen=True, tag="stock", tag_field="event", omit_defaults=True):
    """A SKU as it was before the first call."""

    sku: str
    on_hand: int
    safety: int = 0


class Call(Struct, frozen=True, tag="call", tag_field="event", omit_defaults=True):
    """One request, as it was sent."""

    number: int
    at_ns: int
    client: str
    verb: Verb
    base: str = ""
    """Names the reservation or the adjustment for all who speak of it; the same request again has the same base."""
    lines: Lines = ()
    """(SKU, units); of `availability` the units are not looked at. Empty for an amend that keeps them."""
    ttl_ms: int = 0
    partial: bool = False
    order_id: str = ""
    operation: Literal["", "add", "remove", "set"] = ""
    """Of an adjust."""


class Answer(Struct, frozen=True, tag="answer", tag_field="event", omit_defaults=True):
    """What came back. None (or empty) for what an answer does not tell: it is then not checked."""

    number: int
    at_ns: int
    status: str
    """As engine.results.Status, or `unknown`, or `not_applied`."""
    id: str = ""
    state: str = ""
    """Of the reservation. Empty on `replayed` when the answer is the first one again, not how it stands now."""
    held: Lines | None = None
    short: Lines | None = None
    """(SKU, available) of every line that was short, in order."""
    available: Lines | None = None
    levels: tuple[tuple[str, int, int], ...] | None = None
    """(SKU, on_hand, reserved)."""
    deadline_ms: int = 0
    now_ms: int = 0
    """Server clock; only a hint for the search."""
    seq: int = 0
    """The journal holds this answer's effect at or before this event; 0 when the answer does not say."""


Event = Stock | Call | Answer

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Event).decode


class Operation(Struct, frozen=True):
    """A call and its answer; `answer` is None when the outcome is unknown."""

    call: Call
    answer: Answer | None
    hint: tuple[int, int] | None = None
    """(server clock in ms, sequence number) where an operation without an answer probably belongs: resolving.py."""

    @property
    def status(self) -> str:
        return UNKNOWN if self.answer is None else self.answer.status


class History(Struct, frozen=True):
    """A whole run. `operations` in order of their calls, without those that certainly did nothing."""

    stock: tuple[Stock, ...]
    operations: tuple[Operation, ...]

    @property
    def unknown(self) -> int:
        return sum(one.answer is None for one in self.operations)


class BrokenHistory(ValueError):
    """The lines do not make a history: an answer without its call, two answers, time that goes back."""


def history_of(events: Iterable[Event]) -> History:
    """Events, in any order, as a history. Raises BrokenHistory."""
    stock: list[Stock] = []
    calls: dict[int, Call] = {}
    answers: dict[int, Answer] = {}
    for event in events:
        if isinstance(event, Stock):
            stock.append(event)
        elif isinstance(event, Call):
            if event.number in calls:
                raise BrokenHistory(f"two calls have number {event.number}")
            calls[event.number] = event
        else:
            if event.number in answers:
                raise BrokenHistory(f"call {event.number} has two answers")
            answers[event.number] = event
    operations = []
    for number, answer in answers.items():
        if number not in calls:
            raise BrokenHistory(f"answer {number} has no call")
        if answer.at_ns < calls[number].at_ns:
            raise BrokenHistory(f"answer {number} came before its call")
    for number, call in calls.items():
        known = answers.get(number)
        status = UNKNOWN if known is None else known.status
        if status == NOT_APPLIED or (status == UNKNOWN and call.verb in _SEES_ONLY):
            continue
        operations.append(Operation(call, None if status == UNKNOWN else known))
    operations.sort(key=lambda one: (one.call.at_ns, one.call.number))
    return History(tuple(stock), tuple(operations))


def write_events(file: IO[bytes], events: Iterable[Event]) -> None:
    """Append events as JSON lines."""
    for event in events:
        file.write(_encode(event) + b"\n")


def read_history(path: Path) -> History:
    """The history in a file of JSON lines. A last line that was cut off is left out: the process was killed there.

    Raises BrokenHistory, OSError.
    """
    lines = path.read_bytes().split(b"\n")
    events: list[Event] = []
    for place, line in enumerate(lines):
        if not line:
            continue
        try:
            events.append(_decode(line))
        except msgspec.DecodeError as error:
            if place == len(lines) - 1:
                break
            raise BrokenHistory(f"line {place + 1}: {error}") from error
    return history_of(events)
