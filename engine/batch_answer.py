"""The script's answer to a batch, decoded: all at once, or piece by piece when one record in it is not text.

Owns the form of that answer (lua/apply.lua); never decides what a caller is told.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

UNREADABLE: Final = "unreadable"
"""Status of a result that cannot be decoded; the state machine gives no such one."""

BatchAnswer = tuple[int, int, list[tuple[Any, ...]], list[str]]
"""Clock in ms, last sequence number, a result a command (status first), due members."""

_at_once = msgspec.msgpack.Decoder(BatchAnswer).decode
_in_pieces = msgspec.msgpack.Decoder(tuple[int, int, list[msgspec.Raw], list[str]]).decode
_result = msgspec.msgpack.Decoder(tuple[Any, ...]).decode


def decode_answer(data: bytes, commands: int) -> BatchAnswer:
    """The answer to a batch of so many commands. Raises ValueError when it is none.

    A result that holds what is no UTF-8, a record that was damaged from outside, becomes `(UNREADABLE,)`: its
    neighbours have run, and must be told so.
    """
    try:
        answer: BatchAnswer = _at_once(data)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        answer = _piece_by_piece(data)
    if len(answer[2]) != commands:
        raise ValueError(f"{len(answer[2])} results for {commands} commands")
    return answer


def _piece_by_piece(data: bytes) -> BatchAnswer:
    try:
        now_ms, seq, pieces, due = _in_pieces(data)
    except msgspec.MsgspecError as error:
        raise ValueError(str(error)) from error
    results: list[tuple[Any, ...]] = []
    for piece in pieces:
        try:
            results.append(_result(piece))
        except (msgspec.MsgspecError, UnicodeDecodeError):
            results.append((UNREADABLE,))
    return now_ms, seq, results, due
