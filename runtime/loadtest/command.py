"""The `holdfast loadtest` command: its options, its exit codes, and its errors in words.

Owns nothing of the sale itself; see session.py.
"""

from __future__ import annotations

import asyncio
import secrets
from pathlib import Path
from typing import Annotated, Final, NoReturn

import typer
import uvloop
from rich.console import Console

from runtime.loadtest.html_report import page_of
from runtime.loadtest.report import show
from runtime.loadtest.schedule import Sale
from runtime.loadtest.session import flash_sale
from runtime.service_client import ServiceError
from runtime.target_options import AdminKey, DataDir, Embedded, StorefrontKey
from runtime.target_service import Target, TargetInvalid, target_service
from runtime.throwaway_service import ThrowawayFailed

BROKEN: Final = 1
UNUSABLE: Final = 2
LOG_WIDTH: Final = 110
"""Characters a line when the output is no terminal."""
MAX_DURATION_S: Final = 3_600


def loadtest(  # noqa: PLR0917 - options of a command
    url: Annotated[str | None, typer.Option(help="Address of a running service; requests go there only.")] = None,
    admin_key: AdminKey = None,
    storefront_key: StorefrontKey = None,
    data_dir: DataDir = None,
    embedded: Embedded = False,
    buyers: Annotated[int, typer.Option(min=1, max=1_000_000, help="How many buyers come.")] = 5_000,
    units: Annotated[int, typer.Option(min=1, max=100_000_000, help="Units on sale.")] = 500,
    rate: Annotated[float, typer.Option(min=0.1, max=100_000, help="Arrivals a second, whatever the answers.")] = 1_000,
    ttl: Annotated[int, typer.Option(min=1, max=3_600, help="Seconds a hold lasts.")] = 5,
    think: Annotated[float, typer.Option(min=0, max=60, help="Seconds a buyer thinks at most.")] = 0.5,
    seed: Annotated[
        int | None, typer.Option(help="Makes a sale again, with the same options. Default: a new one.")
    ] = None,
    connections: Annotated[int, typer.Option(min=1, max=10_000, help="Connections kept open, all together.")] = 64,
    processes: Annotated[int, typer.Option(min=1, max=64, help="Generator processes.")] = 1,
    html: Annotated[Path | None, typer.Option(help="Write the report with its plots to this file as well.")] = None,
) -> None:
    """A flash sale with an oracle: many buyers, few units, and a check of every promise by an account of its own.

    Buyers come at random instants at the given rate (open loop: nobody waits for another's answer) and latencies count
    from the instant each request was meant to be sent. Some confirm, some walk away, some come too late, some release,
    some retry under the same key, some double-click.

    Exit code 0: every promise was kept. 1: one was broken; it is named. 2: the service or the options cannot be used.
    """
    console = Console()
    if not console.is_terminal:
        console = Console(width=LOG_WIDTH)
    if think >= ttl:
        _refuse(console, "--think must be shorter than --ttl, or holds expire while their buyers think")
    if buyers / rate > MAX_DURATION_S:
        _refuse(console, f"{buyers:,} buyers at {rate:g} a second take more than {MAX_DURATION_S} s")
    sale = Sale(
        run=secrets.token_hex(4).upper(),
        buyers=buyers,
        units=units,
        rate=rate,
        ttl_s=ttl,
        think_s=think,
        seed=secrets.randbelow(2**31) if seed is None else seed,
    )
    console.print(f"seed {sale.seed}")
    try:
        with (
            target_service(Target(url, admin_key, storefront_key, data_dir, embedded)) as service,
            asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
        ):
            outcome = runner.run(flash_sale(service, sale, connections, processes, console.print))
    except (TargetInvalid, ThrowawayFailed, ServiceError) as error:
        _refuse(console, str(error))
    show(console, outcome)
    if html is not None:
        html.write_text(page_of(outcome), encoding="utf-8")
        console.print(f"report with plots: {html}")
    if not outcome.verdict.kept:
        raise typer.Exit(BROKEN)


def _refuse(console: Console, message: str) -> NoReturn:
    console.print(message, style="red", markup=False, highlight=False)
    raise typer.Exit(UNUSABLE)
