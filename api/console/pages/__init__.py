"""The pages of the console, one file each; what is listed in PAGES is served."""

from __future__ import annotations

from typing import Final

from api.console import live
from api.console.pages import (
    alerts,
    approvals,
    catalogue,
    flash_sale,
    history,
    imports,
    jobs,
    keys,
    overview,
    product,
    reconciliation,
    sign_in,
    stock,
    webhooks,
)

PAGES: Final = (
    sign_in,
    overview,
    stock,
    product,
    catalogue,
    flash_sale,
    live,
    history,
    approvals,
    imports,
    alerts,
    reconciliation,
    webhooks,
    keys,
    jobs,
)
"""Modules with a `router`."""
