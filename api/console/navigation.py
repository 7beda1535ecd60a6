"""The console's pages as its menu lists them, and who sees which. A new page: a line here, a module in pages/."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from api.auth import Permission


class Place(Struct, frozen=True):
    """One entry of the menu."""

    name: str
    """What a page calls itself (`here`), so that its entry is marked."""
    path: str
    title: str
    icon: str
    """Path data of a 24x24 drawing, strokes only."""
    permission: Permission = Permission.READ
    count: str = ""
    """Name of the live count shown beside it; empty: none."""


NAVIGATION: Final[tuple[tuple[str, tuple[Place, ...]], ...]] = (
    (
        "Now",
        (
            Place("overview", "/console", "Overview", "M3 12h4l3-8 4 16 3-8h4"),
            Place("stock", "/console/stock", "Stock", "M3 7l9-4 9 4v10l-9 4-9-4zM3 7l9 4 9-4M12 11v10"),
            Place("flash-sale", "/console/flash-sale", "Flash sale", "M13 2L4 14h7l-1 8 9-12h-7z"),
        ),
    ),
    (
        "Work",
        (
            Place("history", "/console/history", "History", "M12 7v5l4 2M3.5 9a9 9 0 1 1-.4 5M3 4v5h5"),
            Place("approvals", "/console/approvals", "Approvals", "M4 12l5 5L20 6", count="approvals"),
            Place("imports", "/console/imports", "Imports", "M12 3v12M7 10l5 5 5-5M4 21h16"),
            Place(
                "alerts",
                "/console/alerts",
                "Alerts",
                "M6 16V11a6 6 0 1 1 12 0v5l2 2H4zM10 21h4",
                count="alerts",
            ),
        ),
    ),
    (
        "System",
        (
            Place(
                "reconciliation",
                "/console/reconciliation",
                "Reconciliation",
                "M12 3v18M5 8h14M5 8l-3 7h6zM19 8l-3 7h6z",
            ),
            Place(
                "webhooks",
                "/console/webhooks",
                "Webhooks",
                "M10 14l4-4M8 12l-3 3a4 4 0 0 0 6 5l2-2M16 12l3-3a4 4 0 0 0-6-5l-2 2",
                Permission.ADMIN,
            ),
            Place("keys", "/console/keys", "Keys", "M15 9a4 4 0 1 1-3.9 5L3 14v4h3v-2h2", Permission.ADMIN),
            Place("jobs", "/console/jobs", "Jobs", "M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8M12 2v3M12 19v3M2 12h3M19 12h3"),
        ),
    ),
)
