"""The pages of the console, one file each; what is listed in PAGES is served."""

from __future__ import annotations

from typing import Final

from api.console import live
from api.console.pages import overview, sign_in

PAGES: Final = (
    sign_in,
    overview,
    live,
)
"""Modules with a `router`."""
