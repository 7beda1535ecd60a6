"""What every operation builds on: asking once, and walking through a list page by page.

Owns the shapes of calls that repeat; the operations themselves stand in operations/, one file a topic.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias, TypeVar

import msgspec

from holdfast_client.answers.shop import Line, Page
from holdfast_client.retrying import Manner, attempts
from holdfast_client.steps import Answer, Call, Steps, Stream, Tell

T = TypeVar("T")

Lines: TypeAlias = Mapping[str, int] | Iterable[tuple[str, int]] | Iterable[Line]
"""SKUs and their units: `{"MUG-RED": 2}`, `[("MUG-RED", 2)]`, or the lines of a reservation."""


class Asking:
    """Whatever makes calls: the clients, and what they hand out."""

    _manner: Manner

    def _ask(self, call: Call[T]) -> Steps[T]:
        """Make one call, with all of its attempts."""
        return attempts(call, self._manner)

    def _walk(self, page: Callable[[str | None], Call[Page[Any]]], cursor: str | None = None) -> Stream:
        """Tell every item of a list, from `cursor` on. `page` makes the call for the page at a cursor."""
        while True:
            found = yield from self._ask(page(cursor))
            for item in found.items:
                yield Tell(item)
            cursor = found.next_cursor
            if cursor is None:
                return


def new_key(given: str | None) -> str:
    """The idempotency key of a logical call: the caller's own, or a fresh one."""
    return str(uuid.uuid4()) if given is None else given


def line_documents(lines: Lines) -> list[dict[str, str | int]]:
    """Lines as they are sent."""
    pairs = lines.items() if isinstance(lines, Mapping) else ((_pair(line)) for line in lines)
    return [{"sku": sku, "quantity": quantity} for sku, quantity in pairs]


def _pair(line: tuple[str, int] | Line) -> tuple[str, int]:
    return (line.sku, line.quantity) if isinstance(line, Line) else line


_decoders: dict[Any, msgspec.json.Decoder[Any]] = {}


def as_(kind: type[T]) -> Callable[[Answer], T]:
    """Reads the body as `kind`."""
    decoder = _decoders.get(kind)
    if decoder is None:
        decoder = _decoders[kind] = msgspec.json.Decoder(kind)

    def read(answer: Answer) -> T:
        found: T = decoder.decode(answer.body)
        return found

    return read


def nothing(_: Answer) -> None:
    """Reads an answer without a body."""


def page_of(kind: type[T]) -> Callable[[Answer], Page[T]]:
    """Reads a page of `kind`."""
    return as_(Page[kind])  # type: ignore[valid-type]
