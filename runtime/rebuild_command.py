"""`holdfast rebuild`: load Redis anew from the ledger, by hand, while the service runs or not.

Owns what is asked and shown at a terminal; what is done stands in worker/recovery.py.
"""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from runtime.command_line import REFUSED_BY_SERVICE, load, running, told
from runtime.store import recovery_settings, urls_of
from worker.recovery import Recovery


def rebuild(
    data_dir: Annotated[
        Path | None,
        typer.Option(
            "--data-dir", help="Folder of the embedded servers' data.", show_default="~/.local/share/holdfast"
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document; the rest goes beside it.")] = False,
) -> None:
    """Load Redis anew from Postgres, in a new epoch. Requests get 503 until it is done.

    Holdfast does this by itself when Redis has lost something. By hand it is for the cases that it leaves to a person,
    and harmless otherwise: what Redis holds beyond the ledger and continues it goes into the ledger first. What does
    not continue it is forgotten.

    Example: `holdfast rebuild --yes`
    """
    # Standard output is for the document alone; whatever logs or tells goes beside it.
    with told(), redirect_stdout(sys.stderr if as_json else sys.stdout):
        document = _rebuilt(data_dir, yes)
    if as_json:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(document), indent=2).decode() + "\n")


def _rebuilt(data_dir: Path | None, yes: bool) -> dict[str, Any]:
    settings = running(load(data_dir=data_dir))
    recovery = Recovery(*urls_of(settings), recovery_settings(settings), progress=typer.echo)
    try:
        verdict, facts, cursor = recovery.verdict()
        typer.echo(f"Redis: epoch {facts.epoch or 'none'}, event {facts.seq}")
        typer.echo(f"ledger: epoch {cursor.epoch}, event {cursor.seq}")
        typer.echo(f"by itself Holdfast would do: {verdict.action}{f' ({verdict.reason})' if verdict.reason else ''}")
        if not yes and not typer.confirm("Rebuild Redis from the ledger?"):
            raise typer.Exit(REFUSED_BY_SERVICE)
        admitted = recovery.rebuild("asked for by `holdfast rebuild`")
        typer.echo(f"done: Redis is open in epoch {admitted.epoch}")
    finally:
        recovery.close()
    return {"was": facts, "ledger": cursor, "by_itself": verdict, "epoch": admitted.epoch}
