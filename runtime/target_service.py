"""Which service a command drives: the one it is told, the one that runs on the data directory, or one of its own.

Owns the rules for `--url`, keys, `--data-dir` and `--embedded`. Never sends a request.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from msgspec import Struct

from runtime.data_folder import BootstrapKeys, DataFolderUnusable, read_bootstrap_keys, read_running_servers
from runtime.settings import SettingsInvalid, load_settings
from runtime.throwaway_service import ServiceAddress, throwaway_service


class TargetInvalid(ValueError):
    """The options do not name a service and its keys; the message says which is missing."""


class Target(Struct, frozen=True):
    """The options as given; None: not given."""

    url: str | None
    admin_key: str | None
    storefront_key: str | None
    data_dir: Path | None
    embedded: bool

    def __repr__(self) -> str:
        """Without the keys: this may end up in a traceback."""
        return f"Target({self.url}, {self.data_dir}, embedded={self.embedded})"


@contextmanager
def target_service(target: Target) -> Iterator[ServiceAddress]:
    """The service to drive. Raises TargetInvalid, or ThrowawayFailed with `embedded`."""
    if target.embedded:
        if target.url or target.data_dir:
            raise TargetInvalid("--embedded runs a service of its own: give neither --url nor --data-dir with it")
        with throwaway_service() as address:
            yield address
    else:
        yield running_service(target)


def running_service(target: Target) -> ServiceAddress:
    """A running service: as given, else the one on the data directory. Raises TargetInvalid."""
    url, own = _address(target.url, target.data_dir)
    admin = target.admin_key or (own.admin_key if own else None)
    storefront = target.storefront_key or (own.storefront_key if own else None)
    if not admin or not storefront:
        raise TargetInvalid(
            "two keys are needed: HOLDFAST_ADMIN_KEY and HOLDFAST_STOREFRONT_KEY, --admin-key and --storefront-key, or "
            "the --data-dir of a running `holdfast up`, which keeps them; or use --embedded"
        )
    return ServiceAddress(url, admin, storefront)


def service_for_one_key(url: str | None, key: str | None, data_dir: Path | None) -> tuple[str, str]:
    """(address, key) of a running service for a command that needs one key: as given, else the data directory's.

    The key of a data directory is its admin key. Raises TargetInvalid.
    """
    found, own = _address(url, data_dir)
    chosen = key or (own.admin_key if own else None)
    if not chosen:
        raise TargetInvalid(
            "a key is needed: HOLDFAST_API_KEY or --key-file, or the --data-dir of a running `holdfast up`"
        )
    return found, chosen


def _address(given: str | None, data_dir: Path | None) -> tuple[str, BootstrapKeys | None]:
    """The address, and the keys that the data directory keeps for it. Raises TargetInvalid."""
    try:
        settings = load_settings(data_dir=data_dir)
        servers = read_running_servers(settings.data_folder)
        kept = read_bootstrap_keys(settings.data_folder)
    except (SettingsInvalid, DataFolderUnusable) as error:
        raise TargetInvalid(str(error)) from error
    url = given or (servers.http_url if servers and servers.http_url else f"http://{settings.host}:{settings.port}")
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username or parts.query or parts.fragment:
        raise TargetInvalid(f"not an address such as http://127.0.0.1:8000: {parts.scheme}://{parts.hostname}")
    # Keys that a data directory keeps go only to the service that runs on it, never to an address somebody typed.
    own = given is None or (servers is not None and given.rstrip("/") == servers.http_url)
    return url, kept if own else None
