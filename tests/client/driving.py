"""Both clients with one face, so that each test of what a client does is written once and run over both.

Owns the bridge from async to sync; never decides what is asked.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import httpx
from anyio.from_thread import BlockingPortal, start_blocking_portal

from holdfast_client import AsyncClient, Client, Retries

KINDS = ("sync", "async")


class Bridged:
    """An object with async methods, asked from ordinary code."""

    def __init__(self, portal: BlockingPortal, inner: Any) -> None:
        self._portal = portal
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if not callable(found):
            return found

        def call(*args: Any, **kwargs: Any) -> Any:
            made = found(*args, **kwargs)
            if inspect.isasyncgen(made):
                return self._items(made)
            return self._portal.call(_awaited, made)

        return call

    def _items(self, made: Any) -> Iterator[Any]:
        try:
            while True:
                try:
                    yield self._portal.call(made.__anext__)
                except StopAsyncIteration:
                    return
        finally:
            self._portal.call(made.aclose)


async def _awaited(made: Any) -> Any:
    return await made


class BridgedClient(Bridged):
    @contextmanager
    def hold(self, *args: Any, **kwargs: Any) -> Iterator[Bridged]:
        block = self._inner.hold(*args, **kwargs)
        with self._portal.wrap_async_context_manager(block) as hold:
            yield Bridged(self._portal, hold)


@contextmanager
def open_client(
    kind: str,
    url: str,
    key: str | None,
    *,
    answer: Callable[[httpx.Request], httpx.Response] | None = None,
    **options: Any,
) -> Iterator[Any]:
    """A client of this kind. `answer`: stands in for the service."""
    if answer is not None:
        options["transport"] = httpx.MockTransport(answer)
    if kind == "sync":
        with Client(url, key, **options) as client:
            yield client
        return
    with start_blocking_portal() as portal:
        client = portal.call(lambda: _made(url, key, options))
        with portal.wrap_async_context_manager(client):
            yield BridgedClient(portal, client)


async def _made(url: str, key: str | None, options: dict[str, Any]) -> AsyncClient:
    return AsyncClient(url, key, **options)


OpenClient = Callable[..., AbstractContextManager[Any]]
QUICK = Retries(deadline_s=20.0, first_pause_s=0.001, longest_pause_s=0.01)
