"""Answers that come in pieces: the event stream, with its place kept over lost connections, and whole files.

Owns server-sent events as text. What an event means stands in events.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec
from msgspec import Struct

from holdfast_client.errors import AnswerLost, UnreadableAnswer
from holdfast_client.events import read_event
from holdfast_client.retrying import Manner, opening
from holdfast_client.steps import Answer, Call, Lost, Pause, Read, Stream, Tell

SILENCE_S: Final = 45.0
"""After this long without even a heartbeat (the service sends one every 15 s) the connection counts as lost."""

RECONNECT_S: Final = 1.0
_MAX_MESSAGE: Final = 16 * 1024 * 1024


class Message(Struct, frozen=True):
    """One message of a stream. `data` is empty where only a position was told."""

    id: str | None
    data: str


class MessageReader:
    """Bytes in any pieces -> messages. `retry_s`: after how long the service wants to see us again."""

    def __init__(self) -> None:
        self.retry_s = RECONNECT_S
        self._rest = b""
        self._id: str | None = None
        self._data: list[str] = []

    def feed(self, piece: bytes) -> Iterator[Message]:
        """The messages that end in this piece. Raises ValueError for one that has no end."""
        *lines, self._rest = (self._rest + piece).split(b"\n")
        if len(self._rest) > _MAX_MESSAGE:
            raise ValueError("a line of the stream is too long")
        for line in lines:
            text = line.removesuffix(b"\r").decode()
            if not text:
                if self._data or self._id is not None:
                    yield Message(self._id, "\n".join(self._data))
                self._id, self._data = None, []
                continue
            name, _, value = text.partition(":")
            value = value.removeprefix(" ")
            if name == "data":
                self._data.append(value)
            elif name == "id":
                self._id = value
            elif name == "retry" and value.isascii() and value.isdigit():
                self.retry_s = int(value) / 1000


def event_steps(manner: Manner, types: tuple[str, ...], last_event_id: str | None, reconnect: bool) -> Stream:
    """Tell every event behind `last_event_id`, each once, over as many connections as it takes."""
    position = last_event_id
    while True:
        call: Call[Any] = Call(
            "/inventory/events",
            "GET",
            _no_body,
            query={"types": ",".join(types) or None},
            headers={"last-event-id": position, "accept": "text/event-stream"},
            timeout_s=SILENCE_S,
        )
        yield from opening(call, manner)
        reader = MessageReader()
        while True:
            piece: bytes | Lost = yield Read()
            if isinstance(piece, Lost) or not piece:
                break
            try:
                for message in reader.feed(piece):
                    if message.data:
                        yield Tell(read_event(message.data.encode()))
                    position = message.id or position
            except (ValueError, msgspec.MsgspecError) as error:
                raise UnreadableAnswer(f"not an event: {error}", Answer(200, {}, piece)) from error
        if not reconnect:
            if isinstance(piece, Lost):
                raise AnswerLost("the event stream was cut") from piece.error
            return
        yield Pause(reader.retry_s * (0.5 + manner.dice() / 2))


def body_pieces(call: Call[Any], manner: Manner) -> Stream:
    """Tell the bytes of a file as they come. Once the first has come nothing is tried again: AnswerLost."""
    yield from opening(call, manner)
    while True:
        piece: bytes | Lost = yield Read()
        if isinstance(piece, Lost):
            raise AnswerLost("the file was cut off: what has come is not the whole") from piece.error
        if not piece:
            return
        yield Tell(piece)


def _no_body(_: Answer) -> None:
    raise ValueError("the answer is a stream")
