"""The table of settings in docs/operations.md, made from the code so that the two can't part.

Owns the table's form; `python -m runtime.settings_table` prints it.
"""

from __future__ import annotations

import sys

from runtime.settings import PREFIX, SECRETS, Settings, bounds_of, default_of


def settings_table() -> str:
    """Markdown: one row a setting, in the order of the code."""
    rows = ["| variable | default | accepted | meaning |", "|---|---|---|---|"]
    for name, field in Settings.model_fields.items():
        default = default_of(name)
        accepted = bounds_of(name) or ("secret" if name in SECRETS else "")
        shown = f"`{default}`" if default else ""
        rows.append(f"| `{PREFIX}{name.upper()}` | {shown} | {accepted} | {field.description} |")
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    sys.stdout.write(settings_table())
