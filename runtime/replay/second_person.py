"""Whoever approves what one key may not move alone: a manager's key of this run, made when needed and revoked after it.

Owns that key and the decisions made with it. A replay plays what has happened already, so it approves everything.
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Final

import msgspec
from msgspec import Struct

from runtime.service_client import Answer, Page, ServiceClient

_CONNECTIONS: Final = 4


class _Approval(Struct, frozen=True):
    id: str


class _Pending(Struct, frozen=True):
    approval: _Approval


class _Key(Struct, frozen=True):
    id: str
    name: str = ""
    key: str = ""


class SecondPerson:
    """For use in `async with`. `admin` may make keys; `run` names this one."""

    def __init__(self, admin: ServiceClient, url: str, run: str) -> None:
        self._admin = admin
        self._url = url
        self._name = f"replay {run}, approvals"
        self._client: ServiceClient | None = None
        self._opening = asyncio.Lock()

    async def __aenter__(self) -> SecondPerson:
        """Nothing is made yet."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Revoke the key, if there is one."""
        if self._client is None:
            return
        await self._client.__aexit__(kind, error, trace)
        # By name: a request that was repeated may have made more than one.
        page = (await self._admin.expect((200,), "GET", "/admin/keys?limit=500")).read(Page)
        for raw in page.items:
            key = msgspec.json.decode(raw, type=_Key)
            if key.name == self._name:
                await self._admin.expect((204,), "DELETE", f"/admin/keys/{key.id}")

    async def approve(self, pending: Answer) -> Answer:
        """Approve the change that was answered with 202; the answer to that."""
        client = await self._open()
        approval = pending.read(_Pending).approval
        return await client.call("POST", f"/inventory/approvals/{approval.id}/approve", {})

    async def _open(self) -> ServiceClient:
        async with self._opening:
            if self._client is None:
                body = {"name": self._name, "role": "manager"}
                key = (await self._admin.expect((201,), "POST", "/admin/keys", body)).read(_Key)
                client = ServiceClient(self._url, key.key, connections=_CONNECTIONS)
                self._client = await client.__aenter__()
            return self._client
