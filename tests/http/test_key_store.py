"""The keys in a process's memory, while Postgres answers late."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from api.auth import KeyStore, digest_of, new_key
from api.problems import Problem
from persistence.queries.api_keys import ApiKey

KEY = new_key()
STORED = ApiKey("key_1", "ann", "auditor", digest_of(KEY), datetime.now(UTC), "tests", None)
AUTHORIZATION = f"Bearer {KEY}".encode()


class LateSource:
    """Read the keys before a revoke, and tells of them behind it."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.may_answer = asyncio.Event()

    async def active(self) -> Sequence[ApiKey]:
        return [await self._late()]

    async def by_hash(self, key_hash: bytes) -> ApiKey | None:
        return await self._late()

    async def _late(self) -> ApiKey:
        self.asked.set()
        await self.may_answer.wait()
        return STORED


@pytest.fixture
async def source() -> LateSource:
    return LateSource()


async def test_a_late_look_brings_no_revoked_key_back(source: LateSource) -> None:
    store = KeyStore(source)
    source.may_answer.set()
    await store.refresh()
    assert store.known(AUTHORIZATION) is not None
    source.may_answer.clear()
    source.asked.clear()

    looking = asyncio.create_task(store.refresh())
    await source.asked.wait()
    store.forget(STORED.id)
    assert store.known(AUTHORIZATION) is None
    source.may_answer.set()
    await looking

    assert store.known(AUTHORIZATION) is None


async def test_nor_does_the_question_for_one_key(source: LateSource) -> None:
    store = KeyStore(source)
    source.may_answer.set()
    await store.refresh()
    store.forget(STORED.id)
    with pytest.raises(Problem) as refused:
        await store.look_up(AUTHORIZATION)

    assert refused.value.kind.code == "unauthenticated"
