"""What `holdfast up` prints once it serves: where it is, what it runs on, the keys if they are new, a first command.

Owns the words; never prints.
"""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from shlex import quote

from runtime.data_folder import KEYS_FILE, BootstrapKeys


def welcome(
    *,
    url: str,
    folder: Path,
    redis: str,
    postgres: str,
    durability: str,
    keys: BootstrapKeys,
    made: bool,
    given: bool,
    logs: Path | None,
) -> list[str]:
    """The lines. `made`: the keys are new and shown this once; `given`: they came from the environment."""
    lines = [
        f"Holdfast {version('holdfast')} at {url}  (API: {url}/docs)",
        f"  redis     {redis}",
        f"  postgres  {postgres}",
        f"  promise   durability {durability}",
        f"  data      {folder}",
    ]
    if logs is not None:
        lines.append(f"  logs      {logs}")
    file = folder / KEYS_FILE
    if made:
        lines += [
            f"  keys      made now, printed this once, kept in {file} (mode 0600)",
            f"            admin       {keys.admin_key}",
            f"            storefront  {keys.storefront_key}",
        ]
        admin, storefront = keys.admin_key, keys.storefront_key
    elif given:
        lines.append("  keys      as given in HOLDFAST_ADMIN_KEY and HOLDFAST_STOREFRONT_KEY")
        admin, storefront = "$HOLDFAST_ADMIN_KEY", "$HOLDFAST_STOREFRONT_KEY"
    else:
        lines.append(f"  keys      kept in {file}")
        admin, storefront = _from_file(file, "admin_key"), _from_file(file, "storefront_key")
    return [
        *lines,
        f"  watch it  holdfast top --data-dir {quote(str(folder))}",
        "",
        "Make a product, then hold two of it:",
        f'  curl -X PUT {url}/inventory/products/MUG -H "Authorization: Bearer {admin}" \\',
        """    -H 'Content-Type: application/json' -d '{"name": "Mug", "initial_stock": 100}'""",
        f'  curl {url}/inventory/reserve -H "Authorization: Bearer {storefront}" \\',
        """    -H 'Content-Type: application/json' -d '{"customer_id": "ann", "sku": "MUG", "quantity": 2}'""",
        "",
    ]


def _from_file(file: Path, name: str) -> str:
    return f"""$(sed -n 's/.*"{name}": "\\(.*\\)".*/\\1/p' '{file}')"""
