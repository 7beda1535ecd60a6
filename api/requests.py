"""What cold routes share: who calls, the JSON body, the answer's bytes.

Owns the FastAPI dependencies. Bodies are decoded by the hot path's own functions, so every path refuses alike.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, TypeVar

import msgspec
from fastapi import Depends, Query, Request, Response
from starlette.requests import ClientDisconnect

from api.audit import begin_audit
from api.auth import Caller, Permission, unauthenticated
from api.hot import decode
from api.problems import Problem, invalid
from api.rate_limiter import SCOPE_KEY, RateLimiter
from api.services import Services
from engine.limits import MAX_TEXT

T = TypeVar("T")

_encode = msgspec.json.encode


def services_of(request: Request) -> Services:
    """The process's services."""
    services: Services = request.app.state.services
    return services


ServicesDep = Annotated[Services, Depends(services_of)]


def allowed(permission: Permission) -> Callable[[Request], Awaitable[Caller]]:
    """A dependency: the caller, who must have `permission`. Raises 401, 403, or 503 when nobody can tell."""

    async def check(request: Request) -> Caller:
        authorization: bytes = request.scope["holdfast.authorization"]
        if not authorization:
            raise unauthenticated()
        caller = await services_of(request).keys.authenticate(authorization)
        limiter: RateLimiter | None = request.app.state.limiter
        if limiter is not None:
            request.scope[SCOPE_KEY] = limiter.take(caller)
        # Before the role is looked at: what somebody tried to do and may not is on record as well.
        await begin_audit(request, services_of(request).database, caller)
        caller.require(permission)
        return caller

    return check


Reader = Annotated[Caller, Depends(allowed(Permission.READ))]
StockChanger = Annotated[Caller, Depends(allowed(Permission.CHANGE_STOCK))]
Approver = Annotated[Caller, Depends(allowed(Permission.APPROVE))]
Reserver = Annotated[Caller, Depends(allowed(Permission.RESERVE))]
Admin = Annotated[Caller, Depends(allowed(Permission.ADMIN))]

Limit = Annotated[int, Query(ge=1, le=500, description="items a page")]
Cursor = Annotated[str | None, Query(max_length=2000, description="`next_cursor` of the page before")]
TextFilter = Annotated[str | None, Query(max_length=MAX_TEXT)]


async def read_json(request: Request, decoder: msgspec.json.Decoder[T]) -> T:
    """The body, checked. Raises Problem: 400, 413, 415, 422."""
    decode.check_media_type(request.headers.get("content-type", "").encode("latin-1"))
    try:
        body = await request.body()
    except ClientDisconnect:
        # Nobody is there to hear it; a body that was broken off is no mistake of ours.
        raise Problem("invalid-request") from None
    value = decode.decode_body(decoder.decode, body)
    # Cold bodies are small and rare: look for duplicate keys the thorough way.
    decode.check_no_duplicates(body, -1)
    return value


def check_reason(reason: str) -> str:
    """The reason, 3-500 characters that say something. Raises `validation-error`."""
    decode.check_text(reason.replace("\n", " ").replace("\t", " "), "$.reason")
    if len(reason.strip()) < 3:
        raise invalid("at least 3 characters that are not spaces", "$.reason")
    return reason.strip()


def check_filter(text: str | None, name: str) -> str | None:
    """A filter's value as given. Raises `validation-error` for what no stored text can contain."""
    if text is not None:
        decode.check_text(text, name)
    return text


def idempotency_key(request: Request) -> str | None:
    """The Idempotency-Key, if there is one. Raises `invalid-idempotency-key`."""
    given = request.headers.get("idempotency-key")
    return None if given is None else decode.check_idempotency_key(given.encode("latin-1"))


def json_answer(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A struct as a JSON response."""
    return Response(_encode(value), status, headers, "application/json")
