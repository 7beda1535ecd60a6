"""The options of commands that drive a whole service: a running one, or one of their own.

Owns their names and what they say of themselves; which service they mean is found by target_service.py.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

AdminKey = Annotated[
    str | None, typer.Option(envvar="HOLDFAST_ADMIN_KEY", show_envvar=True, help="Key with role admin.")
]
StorefrontKey = Annotated[
    str | None, typer.Option(envvar="HOLDFAST_STOREFRONT_KEY", show_envvar=True, help="Key with role storefront.")
]
DataDir = Annotated[
    Path | None, typer.Option("--data-dir", help="Data directory of a running `holdfast up`: its address and keys.")
]
Embedded = Annotated[
    bool, typer.Option("--embedded", help="Run a throw-away service for this and remove it afterwards.")
]
