"""From a problem document to the exception that is raised for it.

Owns the table, code -> class; the classes stand in errors.py and refusals.py.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec import Struct

import holdfast_client.refusals  # noqa: F401 - the table is made of its classes, found below Problem
from holdfast_client.errors import InternalError, Problem, Refused, Unavailable
from holdfast_client.steps import Answer


def _all_of(kind: type[Problem]) -> list[type[Problem]]:
    """A class and all below it."""
    return [kind, *(found for child in kind.__subclasses__() for found in _all_of(child))]


PROBLEMS: Final[dict[str, type[Problem]]] = {kind.code: kind for kind in _all_of(Problem) if kind.code}
"""Problem code -> the class that is raised for it."""


class _Head(Struct, frozen=True):
    code: str = ""
    status: int = 500


def problem_of(members: dict[str, Any], headers: dict[str, str] | None = None) -> Problem:
    """The exception for a problem document. A code of a later service gets the class of its status.

    Raises msgspec.ValidationError for members that are none of a problem document.
    """
    head = msgspec.convert(members, _Head)
    kind = PROBLEMS.get(head.code)
    if kind is None:
        kind = Unavailable if head.status == 503 else InternalError if head.status >= 500 else Refused
    return kind(members, headers)


def problem_of_answer(answer: Answer) -> Problem | None:
    """The exception for an answer with a status of 400 and above; None if its body is no problem document."""
    try:
        members = msgspec.json.decode(answer.body, type=dict[str, Any])
        members.setdefault("status", answer.status)
        return problem_of(members, dict(answer.headers)) if members.get("code") else None
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
