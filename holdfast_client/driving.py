"""Two drivers for the same generators: one does their effects on this thread, the other on an event loop.

Owns everything that must be written twice because Python has two kinds of functions; nothing here decides anything. The
decorators make of a method that is a generator what its caller sees: a plain or an async method, an iterator or an
async iterator, by the class it is looked up on.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Generator, Iterator
from contextlib import AsyncExitStack, ExitStack
from functools import partial, update_wrapper
from typing import Any, Concatenate, Generic, ParamSpec, Self, TypeVar, overload

import anyio
import httpx

from holdfast_client.connections import Connections
from holdfast_client.steps import Answer, Lost, Open, Opened, Pause, Read, Request, Send, Steps, Stream, Tell

P = ParamSpec("P")
T = TypeVar("T")

Doable = Send | Pause | Open | Read
"""Every effect but Tell, which concerns only whoever iterates."""

_Outcome = Answer | Opened | Lost | bytes | None


class Sync:
    """Does effects with an httpx.Client."""

    _http: Connections

    def _run(self, steps: Steps[T]) -> T:
        outcome: _Outcome = None
        with _SyncHands(self._http.here()) as hands:
            while True:
                try:
                    effect = steps.send(outcome)
                except StopIteration as end:
                    value: T = end.value
                    return value
                outcome = None if isinstance(effect, Tell) else hands.do(effect)

    def _iterate(self, steps: Stream) -> Generator[Any, None, None]:
        outcome: _Outcome = None
        with _SyncHands(self._http.here()) as hands:
            while True:
                try:
                    effect = steps.send(outcome)
                except StopIteration:
                    return
                outcome = None
                if isinstance(effect, Tell):
                    yield effect.item
                else:
                    outcome = hands.do(effect)


class _SyncHands:
    """What one generator has open."""

    def __init__(self, http: httpx.Client) -> None:
        self._http = http
        self._open = ExitStack()
        self._pieces: Iterator[bytes] = iter(())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def do(self, effect: Doable) -> _Outcome:
        if isinstance(effect, Pause):
            time.sleep(effect.seconds)
            return None
        try:
            if isinstance(effect, Read):
                return next(self._pieces, b"")
            self._open.close()
            stream = self._http.stream(**_arguments(effect.request, effect.timeout_s))
            response = self._open.enter_context(stream)
            if isinstance(effect, Open) and response.status_code < 300:
                self._pieces = response.iter_bytes()
                return Opened(_headers(response))
            body = _Body(effect.timeout_s)
            for piece in response.iter_bytes():
                body.add(piece)
            self._open.close()
            return body.answer(response)
        except httpx.HTTPError as error:
            self._open.close()
            return _lost(error)


class Async:
    """Does effects with an httpx.AsyncClient."""

    _http: httpx.AsyncClient

    async def _run(self, steps: Steps[T]) -> T:
        outcome: _Outcome = None
        async with _AsyncHands(self._http) as hands:
            while True:
                try:
                    effect = steps.send(outcome)
                except StopIteration as end:
                    value: T = end.value
                    return value
                outcome = None if isinstance(effect, Tell) else await hands.do(effect)

    async def _iterate(self, steps: Stream) -> AsyncGenerator[Any, None]:
        outcome: _Outcome = None
        async with _AsyncHands(self._http) as hands:
            while True:
                try:
                    effect = steps.send(outcome)
                except StopIteration:
                    return
                outcome = None
                if isinstance(effect, Tell):
                    yield effect.item
                else:
                    outcome = await hands.do(effect)


class _AsyncHands:
    """What one generator has open."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http
        self._open = AsyncExitStack()
        self._pieces: AsyncIterator[bytes]

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._open.aclose()

    async def do(self, effect: Doable) -> _Outcome:
        if isinstance(effect, Pause):
            await anyio.sleep(effect.seconds)
            return None
        try:
            if isinstance(effect, Read):
                return await anext(self._pieces, b"")
            await self._open.aclose()
            stream = self._http.stream(**_arguments(effect.request, effect.timeout_s))
            response = await self._open.enter_async_context(stream)
            if isinstance(effect, Open) and response.status_code < 300:
                self._pieces = response.aiter_bytes()
                return Opened(_headers(response))
            body = _Body(effect.timeout_s)
            async for piece in response.aiter_bytes():
                body.add(piece)
            await self._open.aclose()
            return body.answer(response)
        except httpx.HTTPError as error:
            await self._open.aclose()
            return _lost(error)


class _Body:
    """A body as it comes in. httpx bounds the wait for each piece, this bounds all of them."""

    def __init__(self, timeout_s: float) -> None:
        self._until = time.monotonic() + timeout_s
        self._content = bytearray()

    def add(self, piece: bytes) -> None:
        self._content += piece
        if time.monotonic() > self._until:
            raise httpx.ReadTimeout("the answer did not come to its end in time")

    def answer(self, response: httpx.Response) -> Answer:
        return Answer(response.status_code, _headers(response), bytes(self._content))


def _arguments(request: Request, timeout_s: float) -> dict[str, Any]:
    """What httpx is asked."""
    arguments: dict[str, Any] = {
        "method": request.method,
        "url": request.path,
        "headers": dict(request.headers),
        "timeout": timeout_s,
    }
    if request.query:
        arguments["params"] = list(request.query)
    if request.upload is not None:
        arguments["files"] = {"file": (request.upload.name, request.upload.content)}
        arguments["data"] = dict(request.upload.fields)
    elif request.body is not None:
        arguments["content"] = request.body
    return arguments


def _headers(response: httpx.Response) -> dict[str, str]:
    return dict(response.headers.items())


def _lost(error: httpx.HTTPError) -> Lost:
    unsent = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol)
    return Lost(error, sent=not isinstance(error, unsent))


class Operation(Generic[P, T]):
    """A method that is a generator, as the classes that drive it show it."""

    def __init__(self, steps: Callable[Concatenate[Any, P], Steps[T]]) -> None:
        self.steps = steps
        self.__doc__ = steps.__doc__
        self.__name__ = steps.__name__

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...
    @overload
    def __get__(self, instance: Sync, owner: type) -> Callable[P, T]: ...
    @overload
    def __get__(self, instance: Async, owner: type) -> Callable[P, Coroutine[Any, Any, T]]: ...
    def __get__(self, instance: Any, owner: type) -> Any:
        if instance is None:
            return self
        steps, run = partial(self.steps, instance), instance._run

        def method(*args: P.args, **kwargs: P.kwargs) -> Any:
            return run(steps(*args, **kwargs))

        return update_wrapper(method, self.steps)


class Streamed(Generic[P, T]):
    """A method that is a generator which tells items, as the classes that drive it show it."""

    def __init__(self, steps: Callable[Concatenate[Any, P], Stream], item: type[T] | None = None) -> None:
        self.steps = steps
        self.__doc__ = steps.__doc__
        self.__name__ = steps.__name__

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...
    @overload
    def __get__(self, instance: Sync, owner: type) -> Callable[P, Generator[T, None, None]]: ...
    @overload
    def __get__(self, instance: Async, owner: type) -> Callable[P, AsyncGenerator[T, None]]: ...
    def __get__(self, instance: Any, owner: type) -> Any:
        if instance is None:
            return self
        steps, iterate = partial(self.steps, instance), instance._iterate

        def method(*args: P.args, **kwargs: P.kwargs) -> Any:
            return iterate(steps(*args, **kwargs))

        return update_wrapper(method, self.steps)


def operation(steps: Callable[Concatenate[Any, P], Steps[T]]) -> Operation[P, T]:
    """A method of a client that gives one value."""
    return Operation(steps)


def streamed(item: type[T]) -> Callable[[Callable[Concatenate[Any, P], Stream]], Streamed[P, T]]:
    """A method of a client that gives any number of `item`, one after the other."""

    def decorate(steps: Callable[Concatenate[Any, P], Stream]) -> Streamed[P, T]:
        return Streamed(steps, item)

    return decorate
