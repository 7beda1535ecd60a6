"""`holdfast keys`: API keys listed, made and revoked: on the server straight in Postgres, from elsewhere over HTTP.

Owns what is typed and shown, and which of the two ways is taken; a key itself is printed once and kept nowhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from runtime.command_line import REFUSED_BY_SERVICE, load, running
from runtime.commands.output import Column, moment
from runtime.commands.session import Session, command_group, service_command

if TYPE_CHECKING:
    from holdfast_client import Key
    from persistence.queries.api_keys import ApiKey
    from runtime.settings import Settings

app = command_group(
    """List, create and revoke API keys.

On the server it needs no key and works while the API is down. With `--url` or HOLDFAST_URL it asks that service, with
an admin key.""",
)

Role = Literal["storefront", "auditor", "operator", "manager", "admin"]


@service_command(app, "list")
def list_keys(session: Session) -> None:
    """List all keys that are not revoked. The keys themselves are not kept, only their hashes.

    Example: `holdfast keys list`
    """
    if session.is_remote:
        columns: list[Column[Key]] = [
            Column("id", lambda key: key.id),
            Column("name", lambda key: key.name),
            Column("role", lambda key: key.role),
            Column("created", lambda key: moment(key.created_at)),
        ]
        found = (key for key in session.client.list_keys() if key.revoked_at is None)
        session.output.rows(found, columns, limit=None, empty="no keys")
        return
    from runtime.key_commands import list_keys as kept_keys

    local: list[Column[ApiKey]] = [
        Column("id", lambda key: key.id),
        Column("name", lambda key: key.name),
        Column("role", lambda key: key.role),
        Column("created", lambda key: moment(key.created_at)),
        Column("by", lambda key: key.created_by, spare=True),
    ]
    keys = kept_keys(_settings(session))
    if session.output.for_people:
        session.output.rows(keys, local, limit=None, empty="no keys")
    else:
        session.output.rows([_without_hash(key) for key in keys], [], limit=None, empty="")


@service_command(app, "create")
def create_key(
    session: Session,
    name: Annotated[str, typer.Argument(help="What the key is for; shown in lists.", show_default=False)],
    role: Annotated[Role, typer.Argument(help="What it may do.", show_default=False)],
) -> None:
    """Create a key and print it. It is shown this once.

    Example: `holdfast keys create "warehouse terminal" operator`
    """
    if session.is_remote:
        made = session.client.create_key(name, role)
        key_id, key = made.id, made.key
    else:
        from runtime.key_commands import create_key as create

        key_id, key = create(_settings(session), name, role)
    if session.output.for_people:
        typer.echo(f"{key_id}  {key}")
    else:
        session.output.document({"id": key_id, "name": name, "role": role, "key": key})


@service_command(app, "revoke")
def revoke_key(
    session: Session,
    key_id: Annotated[str, typer.Argument(help="Id of the key, as `keys list` shows it.", show_default=False)],
) -> None:
    """Revoke a key; the API stops taking it within 5 seconds.

    Example: `holdfast keys revoke key_0123456789abcdef`
    """
    if session.is_remote:
        session.client.revoke_key(key_id)
    else:
        from runtime.key_commands import revoke_key as revoke

        if not revoke(_settings(session), key_id):
            session.output.say(f"no key {key_id} that could be revoked", "red")
            raise typer.Exit(REFUSED_BY_SERVICE)
    if session.output.for_people:
        typer.echo(f"{key_id} is revoked")
    else:
        session.output.document({"id": key_id, "revoked": True})


def _settings(session: Session) -> Settings:
    return running(load(data_dir=session.data_dir))


def _without_hash(key: ApiKey) -> dict[str, Any]:
    return {
        "id": key.id,
        "name": key.name,
        "role": key.role,
        "created_at": key.created_at,
        "created_by": key.created_by,
    }
