"""`holdfast audit`: every invariant checked on the running store, and drift repaired when that is asked for.

Owns what is asked, shown and answered at a terminal; what is checked and what can be repaired stands in
inventory/reconciliation.
"""

from __future__ import annotations

import asyncio
import getpass
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
import typer
import uvloop
from rich.console import Console
from rich.table import Table

from engine import Engine
from engine.admission import ANY_SERVER
from inventory.admission import watermark_of
from inventory.context import PARTITION, Inventory
from inventory.reconciliation.findings import Drift, Reconciliation
from inventory.reconciliation.reconcile import Depth, Reconciled, reconcile
from inventory.reconciliation.repair import Repaired, RepairPlan, plan_repair, repair
from inventory.refusals import LedgerLate
from persistence.database import Database
from persistence.queries import ledger_state
from runtime.command_line import FOUND_SOMETHING, WRONG_USE, load, running, told
from runtime.settings import Settings
from runtime.store import StoreUnreachable, urls_of
from runtime.wiring import engine_settings, inventory_settings

SHOWN: Final = 20
"""Differences of one check that are shown; the rest is counted."""
PATIENCE_S: Final = 900.0
"""How long an audit may take: a deep one walks every ledger row."""

Shown = Console(highlight=False)


def audit(  # noqa: PLR0917 - options of a command
    data_dir: Annotated[
        Path | None,
        typer.Option(
            "--data-dir", help="Folder of the embedded servers' data.", show_default="~/.local/share/holdfast"
        ),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Leave out what takes long: old ledger rows, records, the whole journal.")
    ] = False,
    repair: Annotated[
        bool, typer.Option("--repair", help="Put right what can be put right; needs --reason, asks before it does.")
    ] = False,
    reason: Annotated[
        str | None, typer.Option(help="Why there was drift; kept in the ledger. 3-500 characters.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Hold Redis and the ledger against each other: no oversell, no leak, no lost or doubled event.

    Checks every SKU, hold, record and ledger row while the shop goes on. Without --repair it changes nothing, and says
    what a repair would do.
    Exit code 0: all invariants hold. 1: one does not; the table says where. 2: wrong use. 3: Redis or Postgres cannot
    be reached.

    Example: `holdfast audit`, `holdfast audit --repair --reason "restored from backup"`
    """
    if repair and (reason is None or not 3 <= len(reason.strip()) <= 500):
        typer.echo("holdfast: --repair needs a --reason of 3 to 500 characters; the ledger keeps it", err=True)
        raise typer.Exit(WRONG_USE)
    with told():
        settings = running(load(data_dir=data_dir))
        depth: Depth = "levels" if quick else "deep"
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            told_of: dict[str, Any] = {}
            Shown.quiet = as_json
            in_order = runner.run(_audit(settings, depth, reason.strip() if repair and reason else None, yes, told_of))
    if as_json:
        document = msgspec.json.encode({"in_order": in_order, **told_of})
        sys.stdout.write(msgspec.json.format(document, indent=2).decode() + "\n")
    if not in_order:
        raise typer.Exit(FOUND_SOMETHING)


async def _audit(settings: Settings, depth: Depth, reason: str | None, yes: bool, told_of: dict[str, Any]) -> bool:
    """True if in the end all invariants hold. What was found and done is put into `told_of` as well."""
    async with _inventory(settings) as inventory:
        found = await reconcile(inventory, depth, timeout_s=PATIENCE_S)
        told_of["found"] = _outcome(found)
        _show(found)
        if not found.found:
            return True
        plan = await plan_repair(inventory, found)
        told_of["plan"] = plan
        _show_plan(plan, decided=reason is not None)
        if reason is None or (plan.empty and not any(drift.counter == "repair" for drift in found.drift)):
            return False
        if not yes and not _confirmed():
            return False
        # What was seen may be a minute old: the repair looks again, and does only what was agreed to here.
        outcomes = await repair(inventory, reason=reason, actor=_actor(), agreed=plan)
        await _show_repaired(inventory, outcomes)
        again = await reconcile(inventory, depth, timeout_s=PATIENCE_S)
        told_of |= {"repaired": outcomes, "after_repair": _outcome(again)}
        _show(again)
        return not again.found


def _outcome(found: Reconciled) -> dict[str, Any]:
    """Without the shadow, which is every SKU and hold."""
    return {name: getattr(found, name) for name in Reconciliation.__struct_fields__}


@asynccontextmanager
async def _inventory(settings: Settings) -> AsyncIterator[Inventory]:
    redis_url, database_url = urls_of(settings)
    async with AsyncExitStack() as closing:
        database = Database(database_url)
        closing.push_async_callback(database.close)
        cursor = await ledger_state.cursor(database, PARTITION)
        if cursor is None:
            raise StoreUnreachable("the ledger has no cursor: run `holdfast migrate`")
        engine = await Engine.connect(redis_url, engine_settings(settings, cursor.epoch, ANY_SERVER))
        closing.push_async_callback(engine.close)
        watermark = watermark_of(engine, database_url)
        await watermark.start()
        closing.push_async_callback(watermark.close)
        yield Inventory(engine, database, watermark, inventory_settings(settings))


def _show(found: Reconciled) -> None:
    table = Table("invariant", "", "looked at", "result", box=None, header_style="bold")
    for check in found.checks:
        result = "[green]holds[/]" if not check.found else f"[red]{check.found} differences[/]"
        table.add_row(check.invariant, check.statement, f"{check.looked_at:,}", result)
    Shown.print(table)
    for check in found.checks:
        for drift in check.drift[:SHOWN]:
            Shown.print(f"  {check.invariant}: {described(drift)}", style="red", markup=False)
        if check.found > SHOWN:
            Shown.print(f"  {check.invariant}: and {check.found - SHOWN} more", style="red")
    Shown.print(
        f"at event {found.seq:,} of epoch {found.epoch}; "
        f"the ledger was {found.journal_lag_events:,} events behind; {found.took_ms / 1000:.1f} s",
        style="dim",
    )


def described(drift: Drift) -> str:
    """A difference in words."""
    what = " ".join(part for part in (drift.sku, drift.reservation_id) if part) or "store"
    text = f"{what}: {drift.counter} {drift.actual}, expected {drift.expected}"
    return f"{text} ({drift.detail})" if drift.detail else text


def _show_plan(plan: RepairPlan, *, decided: bool) -> None:
    if not plan.empty:
        Shown.print("\nto be repaired:" if decided else "\n`holdfast audit --repair --reason ...` would repair:")
        for counters in plan.counters[:SHOWN]:
            Shown.print(
                f"  {counters.sku}: on_hand {counters.on_hand_change:+d}, reserved {counters.reserved_change:+d}",
                markup=False,
            )
        for deadline in plan.deadlines[:SHOWN]:
            Shown.print(f"  {deadline.reservation_id}: its deadline put back ({deadline.lines})", markup=False)
        more = max(0, len(plan.counters) - SHOWN) + max(0, len(plan.deadlines) - SHOWN)
        if more:
            Shown.print(f"  and {more} more")
    if plan.left:
        Shown.print("\nleft to you:")
        for left in plan.left[:SHOWN]:
            Shown.print(f"  {described(left.drift)}: {left.why}", markup=False)
        if len(plan.left) > SHOWN:
            Shown.print(f"  and {len(plan.left) - SHOWN} more")


def _confirmed() -> bool:
    if not sys.stdin.isatty():
        typer.echo("holdfast: nobody to ask; give --yes to repair without asking", err=True)
        return False
    return typer.confirm("Repair this?")


async def _show_repaired(inventory: Inventory, outcomes: tuple[Repaired, ...]) -> None:
    Shown.print()
    for outcome in outcomes:
        at = f" by event {outcome.seq:,}" if outcome.seq else ""
        Shown.print(f"  {outcome.what}: {outcome.outcome}{at}", markup=False)
    if not outcomes:
        Shown.print("  nothing: it was put right meanwhile")
    try:
        await inventory.caught_up()
    except LedgerLate:
        Shown.print("  the ledger has not got there yet; is a worker running?", style="yellow")
    Shown.print()


def _actor() -> str:
    """Who is at the terminal, as far as the machine knows."""
    try:
        return f"audit:{getpass.getuser()}"
    except (KeyError, OSError):
        return "audit"
