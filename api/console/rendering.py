"""Templates to HTML: the one Jinja environment, and how numbers, times and shares are shown.

Owns the words templates may use. Everything is escaped; nothing here reads a database.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from api.auth import Permission
from api.console.assets import Assets
from api.console.navigation import NAVIGATION

FOLDER: Final = Path(__file__).parent / "templates"


def make_environment(assets: Assets) -> Environment:
    """Templates of the console, compiled when first used."""
    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.globals.update(static=assets.url, navigation=NAVIGATION, Permission=Permission, share=share)
    environment.filters.update(number=number, when=when, url_part=url_part, signed=signed)
    return environment


def number(value: float | None) -> str:
    """A number with thin separators; a dash where there is none."""
    if value is None:
        return "\N{EN DASH}"
    return f"{int(value):,}" if value == int(value) else f"{value:,}"


def signed(value: int) -> str:
    """A change: always with its sign, the minus of typographers."""
    return f"+{value:,}" if value > 0 else f"\N{MINUS SIGN}{-value:,}" if value < 0 else "0"


def when(moment: datetime | int | None, style: str = "short") -> Markup | str:
    """A moment (or Unix ms): UTC as text, put into the viewer's zone by the script.

    `style`: `short` (day and time), `ago` (how long since), `left` (how long until, counting down), `time`.
    """
    if moment is None:
        return "\N{EN DASH}"
    if isinstance(moment, int):
        moment = datetime.fromtimestamp(moment / 1000, UTC)
    utc = moment.astimezone(UTC)
    exact = utc.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    shown = utc.strftime("%Y-%m-%d %H:%M:%S UTC")
    return Markup('<time datetime="{}" data-style="{}">{}</time>').format(exact, style, shown)


def url_part(text: str) -> str:
    """A SKU or an id as one part of a path."""
    return quote(text, safe="")


def share(part: int, whole: int) -> str:
    """`part` of `whole` in percent, 0 to 100, as SVG takes it."""
    return f"{max(0.0, min(100.0, 100.0 * part / whole)):.2f}" if whole > 0 else "0"
