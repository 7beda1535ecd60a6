"""A logical call as a generator: what it wants done with the network, one effect at a time, and what came of each.

Owns the vocabulary between the calls (which decide) and the two drivers (which do). Never touches a socket, a clock
or an event loop.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeAlias, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Upload:
    """A file in a multipart form, with the fields beside it."""

    name: str
    content: bytes
    fields: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request, the address of the service left out."""

    method: str
    path: str
    query: tuple[tuple[str, str], ...] = ()
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None
    upload: Upload | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer, read to its end. Names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Lost:
    """There is no answer. `sent`: the request may have reached the service."""

    error: Exception
    sent: bool


@dataclass(frozen=True, slots=True)
class Send:
    """Effect: send this and read the answer within `timeout_s`. Gives Answer or Lost."""

    request: Request
    timeout_s: float


@dataclass(frozen=True, slots=True)
class Pause:
    """Effect: do nothing for `seconds`. Gives None."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Open:
    """Effect: send this and leave the answer's body to be read in pieces. Gives Opened, Answer (an error) or Lost."""

    request: Request
    timeout_s: float
    """To connect, and between two pieces."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A body that comes in pieces."""

    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Read:
    """Effect: the next piece of the open body. Gives bytes (empty at its end) or Lost."""


@dataclass(frozen=True, slots=True)
class Tell(Generic[T]):
    """Effect of a stream: hand this item to whoever iterates. Gives None."""

    item: T


Effect: TypeAlias = Send | Pause | Open | Read | Tell[Any]

Steps: TypeAlias = Generator[Effect, Any, T]
"""A logical call that ends with a T."""

Stream: TypeAlias = Generator[Effect, Any, None]
"""A logical call that tells items until it ends."""


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """What to ask for once, and how to read the answer."""

    route: str
    """Path with `{}` for each of `names`."""
    method: str
    read: Callable[[Answer], T]
    """Reads an answer with a status below 300. Raises ValueError if it is none that was expected."""
    names: tuple[str, ...] = ()
    query: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str | None] = field(default_factory=dict)
    body: Any = None
    upload: Upload | None = None
    repeatable: bool = True
    """Whether doing it twice does no more than doing it once."""
    also: tuple[int, ...] = ()
    """Further statuses whose body is the answer."""
    gone_is_done: bool = False
    """A 404 to a repetition means that the attempt before it did it."""
    timeout_s: float | None = None
    """Of one attempt, where the answer takes longer than usual."""
