"""/admin/keys: making, listing and revoking API keys. A key is shown once, at its making; only its hash is kept."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Final

import msgspec
from fastapi import APIRouter, Request, Response

from api.audit import audit_target
from api.auth import Caller, Role, digest_of, new_key
from api.hot.decode import check_text
from api.openapi import operation
from api.problems import Problem
from api.requests import Admin, Cursor, Limit, ServicesDep, json_answer, read_json
from api.schemas.shop import KeyBody, KeyList, KeyView, NewKeyView
from api.views import timestamp_of
from persistence.queries.api_keys import ApiKeys

if TYPE_CHECKING:
    from api.services import Services

router = APIRouter(prefix="/admin/keys", tags=["admin"])

_BODY: Final = msgspec.json.Decoder(KeyBody)


@router.post("", summary="Make an API key", **operation({201: NewKeyView}, body=KeyBody))
async def create_key(request: Request, services: ServicesDep, caller: Admin) -> Response:
    """The key stands in the answer and nowhere else."""
    body = await read_json(request, _BODY)
    check_text(body.name, "$.name")
    return json_answer(await make_key(request, services, body.name, body.role, caller), 201)


@router.get("", summary="List API keys", **operation({200: KeyList}, "invalid-cursor"))
async def list_keys(services: ServicesDep, caller: Admin, limit: Limit = 50, cursor: Cursor = None) -> Response:
    """Every key, revoked ones too, newest first, without the keys themselves."""
    page = await ApiKeys(services.database).page(limit, cursor)
    items = [
        KeyView(
            key.id,
            key.name,
            key.role,
            timestamp_of(key.created_at),
            timestamp_of(key.revoked_at) if key.revoked_at else None,
        )
        for key in page.items
    ]
    return json_answer(KeyList(items, page.next_cursor))


@router.delete("/{key_id}", summary="Revoke an API key", **operation({204: None}, "unknown-key"))
async def revoke_key(key_id: str, services: ServicesDep, caller: Admin) -> Response:
    """The key stops here at once, in every other process within 5 seconds. Again: the same answer."""
    check_text(key_id, "key_id")
    await end_key(services, key_id)
    return Response(status_code=204)


async def make_key(request: Request, services: Services, name: str, role: Role, caller: Caller) -> NewKeyView:
    """A new key, which nobody can look up again. Raises DatabaseUnavailable.

    The key store hears of it when it is first used: a question that could fail must not come between a key that was
    made and its only answer.
    """
    key = new_key()
    key_id = "key_" + secrets.token_hex(8)
    audit_target(request, key_id)
    await ApiKeys(services.database).create(key_id, name=name, role=role, key_hash=digest_of(key), created_by=caller.id)
    return NewKeyView(key_id, name, role, key)


async def end_key(services: Services, key_id: str) -> None:
    """The key stops. Raises Problem `unknown-key`, DatabaseUnavailable."""
    if not await ApiKeys(services.database).revoke(key_id):
        raise Problem("unknown-key")
    services.keys.forget(key_id)
