"""From a call to the request that is sent: paths, queries, headers, bodies.

Owns how values become text. Never decides what is asked.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote

import msgspec

from holdfast_client.steps import Call, Request

JSON: Final = ("content-type", "application/json")


def request_of(call: Call[Any]) -> Request:
    """The request of a call; every attempt sends the same one.

    Raises ValueError for an empty name in the path, and for a header that HTTP cannot carry.
    """
    if not all(call.names):
        raise ValueError(f"an empty name in {call.method} {call.route}")
    path = call.route.format(*map(_part, call.names))
    query: list[tuple[str, str]] = []
    for name, value in call.query.items():
        values = value if isinstance(value, (list, tuple)) else [value]
        query += [(name, _text(one)) for one in values if one is not None]
    headers = [(name, value) for name, value in call.headers.items() if value is not None]
    for name, value in headers:
        # Found here, before anything is sent: the connection would only fail with it, again and again.
        if not (value.isascii() and value.isprintable()) or value != value.strip():
            raise ValueError(f"{name} is printable ASCII without spaces around it, not {value[:80]!r}")
    body: bytes | None = None
    if call.body is not None:
        body = msgspec.json.encode(call.body)
        headers.append(JSON)
    return Request(call.method, path, tuple(query), tuple(headers), body, call.upload)


def given(**values: Any) -> dict[str, Any]:
    """The values that are not None: what is left out, the service decides."""
    return {name: value for name, value in values.items() if value is not None}


def _part(name: str) -> str:
    """A name as one part of a path: also one of dots, which means another place when it stands there as it is."""
    return name.replace(".", "%2E") if name in {".", ".."} else quote(name, safe="")


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError(f"a time without its zone: {value}")
        return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return str(value)
