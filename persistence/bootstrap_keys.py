"""The two keys a deployment starts with, put into `api_keys` when a process starts.

Owns that one upsert; never makes a key and never sees one in plain text.
"""

from __future__ import annotations

from typing import Literal

import psycopg

from persistence.database_url import psycopg_url


class KeyTaken(RuntimeError):
    """The bootstrap key is already the key of another id."""


def ensure_bootstrap_key(database_url: str, key_id: Literal["admin", "storefront"], key_hash: bytes) -> None:
    """Make `key_hash` (SHA-256, 32 bytes) the key of `key_id`, whose role has the same name.

    A key that was revoked stays revoked until the deployment is given another one. Raises KeyTaken if some other
    id has this key, psycopg.Error when Postgres can't be asked.
    """
    with psycopg.connect(psycopg_url(database_url), connect_timeout=10) as connection:
        try:
            connection.execute(
                "INSERT INTO api_keys AS k (id, name, role, key_hash, created_by) VALUES (%s, %s, %s, %s, %s)"
                " ON CONFLICT (id) DO UPDATE SET key_hash = excluded.key_hash, revoked_at = NULL"
                " WHERE k.key_hash <> excluded.key_hash",
                (key_id, f"bootstrap {key_id}", key_id, key_hash, "bootstrap"),
            )
        except psycopg.errors.UniqueViolation as error:
            raise KeyTaken(f"the bootstrap {key_id} key is already the key of another id") from error
