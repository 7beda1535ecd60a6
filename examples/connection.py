"""Where the service is and which keys to use: from the environment, else from the data directory of `make up`."""

from __future__ import annotations

import json
import os
from pathlib import Path


def address() -> str:
    """HOLDFAST_URL, or where `make up` listens."""
    return os.environ.get("HOLDFAST_URL", "http://127.0.0.1:8000")


def key(role: str) -> str:
    """`admin` or `storefront`: HOLDFAST_ADMIN_KEY, HOLDFAST_STOREFRONT_KEY, or the key that the first start has kept.

    Raises SystemExit, saying what is missing.
    """
    given = os.environ.get(f"HOLDFAST_{role.upper()}_KEY")
    if given:
        return given
    file = Path(os.environ.get("HOLDFAST_DATA_DIR", "var/holdfast")) / "keys.json"
    try:
        return str(json.loads(file.read_text())[f"{role}_key"])
    except (OSError, ValueError, KeyError):
        raise SystemExit(
            f"no {role} key: start the service with `make up`, or set HOLDFAST_{role.upper()}_KEY"
        ) from None
