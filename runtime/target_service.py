"""Which service a command drives: the one it is told, or a throw-away one of its own.

Owns the rules for `--url`, keys and `--embedded`. Never sends a request.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from runtime.data_folder import read_bootstrap_keys
from runtime.settings import load_settings
from runtime.throwaway_service import ServiceAddress, throwaway_service


class TargetInvalid(ValueError):
    """The options do not name a service and its keys; the message says which is missing."""


@contextmanager
def target_service(
    url: str | None, admin_key: str | None, storefront_key: str | None, *, embedded: bool, workers: int = 1
) -> Iterator[ServiceAddress]:
    """The service to drive. Raises TargetInvalid, or ThrowawayFailed with `embedded`."""
    if embedded:
        if url or admin_key or storefront_key:
            raise TargetInvalid("--embedded runs a service of its own: give neither --url nor keys with it")
        with throwaway_service(workers) as address:
            yield address
    else:
        yield running_service(url, admin_key, storefront_key)


def running_service(url: str | None, admin_key: str | None, storefront_key: str | None) -> ServiceAddress:
    """A running service: as given, else from HOLDFAST_* variables and the data directory's keys.json."""
    settings = load_settings()
    address = url or f"http://{settings.host}:{settings.port}"
    parts = urlsplit(address)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username or parts.query or parts.fragment:
        raise TargetInvalid(f"not an address such as http://127.0.0.1:8000: {parts.scheme}://{parts.hostname}")
    kept = None
    if url is None or os.environ.get("HOLDFAST_DATA_DIR"):
        # Keys of a local service go only to that service, never to an address that somebody typed.
        kept = read_bootstrap_keys(settings.data_folder)
    admin = admin_key or (settings.admin_key.get_secret_value() if settings.admin_key else None)
    storefront = storefront_key or (settings.storefront_key.get_secret_value() if settings.storefront_key else None)
    admin = admin or (kept.admin_key if kept else None)
    storefront = storefront or (kept.storefront_key if kept else None)
    if not admin or not storefront:
        raise TargetInvalid(
            "two keys are needed: HOLDFAST_ADMIN_KEY and HOLDFAST_STOREFRONT_KEY, or --admin-key and --storefront-key "
            "(`holdfast up` keeps its own in <data dir>/keys.json); or use --embedded"
        )
    return ServiceAddress(address, admin, storefront)
