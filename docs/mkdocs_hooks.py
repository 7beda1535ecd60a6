"""Hooks of mkdocs: every page reachable, and no link that leads out of the site into the repository.

Owns what the pages cannot say for both places that they are read in: every decision gets its place in the navigation,
and so does every page that mkdocs.yml gives none, under "More"; a link to a file of the repository becomes its name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

_LINK: Final = re.compile(r"\[(?P<name>(?:[^\[\]]|\[[^\[\]]*\])*)\]\((?P<path>\.\.?/[^)#\s]+)(?:#[^)\s]*)?\)")


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


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Leave only the name of links to files outside the documentation. A link to nothing stays, and fails the build."""
    folder, site = Path(page.file.abs_src_path).parent, Path(config["docs_dir"]).resolve()

    def named(link: re.Match[str]) -> str:
        target = (folder / link["path"]).resolve()
        outside = not target.is_relative_to(site)
        return link["name"] if outside and target.exists() else link[0]

    return _LINK.sub(named, markdown)


def _pages(nav: Any) -> Iterator[str]:
    if isinstance(nav, str):
        yield nav
    elif isinstance(nav, dict):
        for part in nav.values():
            yield from _pages(part)
    else:
        for part in nav:
            yield from _pages(part)
