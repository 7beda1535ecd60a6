"""The commands that live in modules of their own: where each is, and the line that stands for it in lists.

Owns that index, so that help and completion need not load what they only name. A test holds each line against the
command's own help.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

OVER_HTTP: Final = "The shop (over HTTP, from anywhere)"
"""Heading of those that ask a service."""


class Elsewhere(Struct, frozen=True):
    """A command, or a group of them."""

    place: str
    """`module:name` of a Typer, or of a function that is the command."""
    text: str
    """First paragraph of its help."""
    heading: str | None = None
    """None: it works on this machine, without the API."""


ELSEWHERE: Final = {
    "products": Elsewhere(
        "runtime.commands.products:app", "List, look at and change the products of the catalogue.", OVER_HTTP
    ),
    "stock": Elsewhere(
        "runtime.commands.stock:app",
        "Show what is on hand, held and available: of the SKUs named, of what is low or out, else of every SKU.",
        OVER_HTTP,
    ),
    "reserve": Elsewhere(
        "runtime.commands.reserve:app",
        "Hold stock for a customer: all lines or none. Needs a storefront or admin key.",
        OVER_HTTP,
    ),
    "reservations": Elsewhere(
        "runtime.commands.reservations:app", "Find, look at, extend, confirm and release reservations.", OVER_HTTP
    ),
    "orders": Elsewhere(
        "runtime.commands.orders:app",
        "Cancel an order; look at order events that could not be applied, and try them again.",
        OVER_HTTP,
    ),
    "adjust": Elsewhere(
        "runtime.commands.adjust:app",
        "Change stock by hand: each change needs a reason and becomes a row of the ledger.",
        OVER_HTTP,
    ),
    "approvals": Elsewhere(
        "runtime.commands.approvals:app",
        "Look at large stock changes that wait for a second person, approve or reject them.",
        OVER_HTTP,
    ),
    "transactions": Elsewhere(
        "runtime.commands.transactions:app",
        "List the movements of stock, newest first: what moved, how much, from what to what, why and by whom.",
        OVER_HTTP,
    ),
    "alerts": Elsewhere(
        "runtime.commands.alerts:app", "List alerts of low and sold-out stock, and resolve them.", OVER_HTTP
    ),
    "webhooks": Elsewhere(
        "runtime.commands.webhooks:app",
        "Make, test, pause and delete webhooks; look at their deliveries. Needs an admin key.",
        OVER_HTTP,
    ),
    "top": Elsewhere(
        "runtime.commands.top:app",
        "Watch the service live: rates, latencies, lags, holds that end soon, health, busiest SKUs. `q` leaves.",
        OVER_HTTP,
    ),
    "reconciliation": Elsewhere(
        "runtime.commands.oversight:reconciliation_app",
        "Hold counters, holds, journal and ledger against each other now. Exit code 1: they differ.",
        OVER_HTTP,
    ),
    "admin-audit": Elsewhere(
        "runtime.commands.oversight:admin_audit_app",
        "List who asked to change what, with which key, and how it ended; newest first, refused requests too.",
        OVER_HTTP,
    ),
    "audit": Elsewhere(
        "runtime.audit:audit",
        "Hold Redis and the ledger against each other: no oversell, no leak, no lost or doubled event.",
    ),
    "keys": Elsewhere("runtime.commands.keys:app", "List, create and revoke API keys."),
    "jobs": Elsewhere("runtime.commands.jobs:app", "List background jobs, run one, or run the job process."),
    "rebuild": Elsewhere(
        "runtime.rebuild_command:rebuild",
        "Load Redis anew from Postgres, in a new epoch. Requests get 503 until it is done.",
    ),
    "export": Elsewhere(
        "runtime.commands.export:app",
        "Write the stock of every SKU into FILE, as CSV or XLSX by its name, live from the counters.",
        OVER_HTTP,
    ),
    "import": Elsewhere(
        "runtime.commands.imports:app",
        "Import stock (columns sku, quantity or on_hand, note) or, with --catalog, products from FILE.",
        OVER_HTTP,
    ),
    "imports": Elsewhere(
        "runtime.commands.imports:list_app",
        "List stock imports and look at one. `holdfast import` makes them and takes them back.",
        OVER_HTTP,
    ),
    "replay": Elsewhere(
        "runtime.replay.command:replay",
        "Play a shop's order file through the HTTP API, then hold Redis and the ledger against the file, SKU by SKU.",
    ),
    "loadtest": Elsewhere(
        "runtime.loadtest.command:loadtest",
        "A flash sale with an oracle: many buyers, few units, and a check of every promise by an account of its own.",
    ),
}
"""Name -> command, in the order of the help."""
