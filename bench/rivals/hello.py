"""Bare uvicorn, saying hello: the least that a Python web server can do for a request."""

from __future__ import annotations

from typing import Any

from bench.rivals.serve import serve

_START = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", b"text/plain"), (b"content-length", b"5")],
}
_BODY = {"type": "http.response.body", "body": b"hello"}


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Say hello, whatever is asked."""
    await send(_START)
    await send(_BODY)


if __name__ == "__main__":
    serve(app, lifespan=False)
