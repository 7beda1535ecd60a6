"""Keys: API keys listed, made and revoked. A new key stands on the page that answers its making, once.

Owns the forms. Keys are kept as their SHA-256, so nobody can show one a second time.
"""

from __future__ import annotations

from typing import Final, cast

from fastapi import APIRouter, Response

from api.auth import Role
from api.console.access import AdminForm, Administering, Visit
from api.console.forms import Form
from api.hot.decode import check_text
from api.problems import invalid
from api.routes.keys import end_key, make_key
from persistence.queries.api_keys import ApiKeys

router = APIRouter(prefix="/console/keys", include_in_schema=False)

PAGE: Final = 50
ROLES: Final[dict[str, str]] = {
    "storefront": "the shop's software: holds, orders, availability",
    "auditor": "looks at everything, changes nothing",
    "operator": "auditor, and changes stock and products",
    "manager": "operator, and decides approvals and repairs",
    "admin": "everything, keys and webhooks too",
}
"""Role -> what a person should know of it."""


@router.get("")
async def keys_page(visit: Administering) -> Response:
    """Every key, newest first, revoked ones too."""
    return await _page(visit)


@router.post("")
async def create(posted: AdminForm) -> Response:
    """Make a key; the page shows it this once."""
    name = posted.form.needed("name", most=255)
    role = cast("Role", posted.form.one_of("role", tuple(ROLES)))
    made = await make_key(posted.request, posted.services, name, role, posted.viewer.caller)
    return await _page(posted, made_name=made.name, made_key=made.key, status=201)


@router.post("/{key_id}/revoke")
async def revoke(key_id: str, posted: AdminForm) -> Response:
    """The key stops here at once, elsewhere within 5 seconds; whoever is signed in with it is signed out."""
    check_text(key_id, "key_id")
    if key_id == posted.viewer.caller.id:
        raise invalid("this is the key that you are signed in with; revoke it from another one", "key")
    await end_key(posted.services, key_id)
    return posted.go("/console/keys", "The key is revoked.")


async def _page(visit: Visit, *, made_name: str = "", made_key: str = "", status: int = 200) -> Response:
    query = Form(dict(visit.request.query_params))
    cursor = query.text("cursor", most=2_000) or None
    keys = ApiKeys(visit.services.database)
    page = await keys.page(PAGE, cursor)
    return visit.page(
        "keys.html",
        "keys",
        "Keys",
        status,
        keys=page.items,
        names=await keys.names(one.created_by for one in page.items),
        roles=ROLES,
        own=visit.viewer.caller.id,
        made_name=made_name,
        made_key=made_key,
        cursor=cursor,
        next_cursor=page.next_cursor,
    )
