"""What both FastAPI rivals take and answer: the body of a reserve, its checks, the caller behind a key.

Owns the HTTP side of a well-made FastAPI service; never talks to a store.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from hashlib import blake2b, sha256
from typing import Annotated

from fastapi import Depends, Header, HTTPException
from pydantic import BaseModel, ConfigDict, Field

TTL_SECONDS = 1800


class ReserveBody(BaseModel):
    """A reserve of one SKU."""

    model_config = ConfigDict(extra="forbid")

    customer_id: Annotated[str, Field(min_length=1, max_length=255)]
    sku: Annotated[str, Field(max_length=64, pattern=r"^[A-Za-z0-9._:\-]+( [A-Za-z0-9._:\-]+)*$")]
    quantity: Annotated[int, Field(ge=1, le=1_000_000_000, strict=True)]
    ttl_seconds: Annotated[int, Field(ge=1, le=86_400, strict=True)] = TTL_SECONDS


class Line(BaseModel):
    """What is held."""

    sku: str
    quantity: int


class Reservation(BaseModel):
    """The answer."""

    id: str
    status: str
    customer_id: str
    lines: list[Line]
    expires_at: datetime
    expires_in_seconds: int
    created_at: datetime


_callers = {sha256(os.environ.get("HOLDFAST_BENCH_KEY", "").encode()).digest(): "storefront"}


async def caller(authorization: Annotated[str, Header()] = "") -> str:
    """Who calls, by the hash of the key."""
    known = _callers.get(sha256(authorization.removeprefix("Bearer ").encode()).digest())
    if known is None:
        raise HTTPException(401, "unauthenticated")
    return known


Caller = Annotated[str, Depends(caller)]
IdempotencyKey = Annotated[str, Header(min_length=1, max_length=255)]


def reservation_id(who: str, key: str) -> str:
    """The same key by the same caller gives the same id, so that a repeated request meets its own reservation."""
    return blake2b(f"{len(who)}:{who}{key}".encode(), digest_size=16).hexdigest()


def answer(body: ReserveBody, reservation: str, now: datetime) -> Reservation:
    """The reservation as it is answered."""
    return Reservation(
        id=reservation,
        status="ACTIVE",
        customer_id=body.customer_id,
        lines=[Line(sku=body.sku, quantity=body.quantity)],
        expires_at=now + timedelta(seconds=body.ttl_seconds),
        expires_in_seconds=body.ttl_seconds,
        created_at=now,
    )


def clock() -> datetime:
    """The time of a request."""
    return datetime.now(UTC)


def insufficient(sku: str) -> HTTPException:
    """The stock does not suffice."""
    return HTTPException(409, {"code": "insufficient-stock", "sku": sku})


def key_reused() -> HTTPException:
    """The reservation exists already; this rival does not go on to compare the two requests."""
    return HTTPException(409, {"code": "exists"})
