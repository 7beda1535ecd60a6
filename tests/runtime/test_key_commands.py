"""`holdfast keys` on the server: keys made, listed and revoked, each on record in the admin audit."""

from __future__ import annotations

from hashlib import sha256

import psycopg
import pytest

from persistence.database_url import psycopg_url
from runtime.key_commands import UnknownRole, create_key, list_keys, revoke_key
from runtime.settings import Settings, load_settings


@pytest.fixture
def settings(database_url: str) -> Settings:
    return load_settings(database_url=database_url)


def rows(url: str, query: str) -> list[tuple[object, ...]]:
    with psycopg.connect(psycopg_url(url)) as connection:
        return connection.execute(query).fetchall()


def test_made_listed_revoked(settings: Settings, database_url: str) -> None:
    key_id, key = create_key(settings, "warehouse", "operator")
    assert [(one.id, one.name, one.role, one.key_hash) for one in list_keys(settings)] == [
        (key_id, "warehouse", "operator", sha256(key.encode()).digest())
    ]
    assert revoke_key(settings, key_id)
    assert revoke_key(settings, key_id)
    assert list_keys(settings) == ()
    assert not revoke_key(settings, "key_none")
    with pytest.raises(UnknownRole):
        create_key(settings, "warehouse", "king")
    audited = rows(database_url, "SELECT key_id, key_name, action, method, target, status FROM admin_audit ORDER BY id")
    assert audited == [
        ("command line", "command line", "create_key", "CLI", key_id, 201),
        ("command line", "command line", "revoke_key", "CLI", key_id, 204),
        ("command line", "command line", "revoke_key", "CLI", key_id, 204),
        ("command line", "command line", "revoke_key", "CLI", "key_none", 404),
    ]
    assert key not in str(rows(database_url, "SELECT admin_audit::text FROM admin_audit"))


def test_what_cannot_be_put_on_record_is_not_done(settings: Settings, database_url: str) -> None:
    with psycopg.connect(psycopg_url(database_url)) as connection:
        connection.execute("ALTER TABLE admin_audit RENAME TO away")
    with pytest.raises(Exception, match="admin_audit"):
        create_key(settings, "warehouse", "operator")
    assert rows(database_url, "SELECT count(*) FROM api_keys") == [(0,)]
