"""axe-core over a page: what it finds to be serious or critical, in words that lead to the place.

Owns how axe is run; which pages it looks at stands in the tests. The script comes from the package
axe-playwright-python and is put in by the debugger, so the page's content security policy stays as it is.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any, Final

from playwright.sync_api import Page

GRAVE: Final = {"serious", "critical"}
_RUN: Final = """
async () => {
  const found = await axe.run(document, {resultTypes: ['violations'], elementRef: false});
  return found.violations.map(one => ({
    id: one.id, impact: one.impact, help: one.help,
    nodes: one.nodes.map(node => ({target: node.target.join(' '), html: node.html, why: node.failureSummary})),
  }));
}
"""


@cache
def _script() -> str:
    return files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")


def grave_findings(page: Page) -> list[str]:
    """One line for each place on the page with a serious or critical finding."""
    page.evaluate(f"() => {{ {_script()} }}")
    found: list[dict[str, Any]] = page.evaluate(_RUN)
    return [
        f"{one['impact']} {one['id']} ({one['help']}) at {node['target']}: {node['html'][:160]} - {node['why']}"
        for one in found
        if one["impact"] in GRAVE
        for node in one["nodes"]
    ]
