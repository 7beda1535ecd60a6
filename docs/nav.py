"""A hook of mkdocs: every decision in the navigation, and every page that mkdocs.yml gives no place under "More".

Owns that nothing which is written stays unreachable; never the order of the rest.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any


def on_config(config: Any) -> Any:
    """Complete the navigation before mkdocs reads it."""
    folder = Path(config["docs_dir"])
    placed = set(_pages(config["nav"]))
    written = sorted(str(page.relative_to(folder)) for page in folder.rglob("*.md"))
    missing = [page for page in written if page not in placed]
    for section in config["nav"]:
        if "Decisions" in section:
            section["Decisions"] += [page for page in missing if page.startswith("decisions/")]
    more = [page for page in missing if not page.startswith("decisions/")]
    if more:
        config["nav"].append({"More": more})
    return config


def _pages(nav: Any) -> Iterator[str]:
    if isinstance(nav, str):
        yield nav
    elif isinstance(nav, dict):
        for part in nav.values():
            yield from _pages(part)
    else:
        for part in nav:
            yield from _pages(part)
