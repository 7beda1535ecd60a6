"""The usual service: FastAPI, redis-py (asyncio, hiredis parser), one textbook script a request.

Owns the one endpoint; the script is textbook_script.py. Idempotent by a reservation id derived from the key.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from redis.asyncio import Redis

from bench.rivals import textbook_script
from bench.rivals.fastapi_body import (
    Caller,
    IdempotencyKey,
    Reservation,
    ReserveBody,
    answer,
    clock,
    insufficient,
    key_reused,
    reservation_id,
)
from bench.rivals.serve import serve


def make_app(redis_url: str) -> FastAPI:
    """The application, connected to `redis_url` while it runs."""
    client = Redis.from_url(redis_url, max_connections=128)
    sha = ""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        nonlocal sha
        sha = await client.script_load(textbook_script.SCRIPT)
        yield
        await client.aclose()

    app = FastAPI(lifespan=lifespan)

    @app.post("/inventory/reserve", status_code=201)
    async def reserve(body: ReserveBody, caller: Caller, idempotency_key: IdempotencyKey) -> Reservation:
        identity = reservation_id(caller, idempotency_key)
        now = clock()
        deadline_ms = int(now.timestamp() * 1000) + body.ttl_seconds * 1000
        keys, arguments = textbook_script.words(body.sku, identity, deadline_ms, body.customer_id, body.quantity)
        outcome = await client.evalsha(sha, len(keys), *keys, *arguments)
        if outcome == 0:
            raise insufficient(body.sku)
        if outcome == -1:
            raise key_reused()
        return answer(body, identity, now)

    return app


if __name__ == "__main__":
    serve(make_app(os.environ["HOLDFAST_BENCH_REDIS_URL"]))
