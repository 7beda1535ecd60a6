"""The `holdfast replay` command: its options, its exit codes, and its errors in words.

Owns nothing of the replay itself; see session.py.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, Final

import typer
import uvloop
from rich.console import Console

from runtime.replay.order_file import OrderFileError
from runtime.replay.session import prepare
from runtime.replay.session import replay as play
from runtime.service_client import ServiceError
from runtime.target_options import AdminKey, DataDir, Embedded, StorefrontKey
from runtime.target_service import Target, TargetInvalid, target_service
from runtime.throwaway_service import ThrowawayFailed

SAMPLE: Final = Path(__file__).parent.parent / "samples" / "online-retail-2010-12-sample.csv.gz"

DIFFERENCE: Final = 1
UNUSABLE: Final = 2
LOG_WIDTH: Final = 110
"""Characters a line when the output is no terminal."""


def replay(  # noqa: PLR0917 - options of a command
    file: Annotated[
        Path | None,
        typer.Argument(help="Order file, CSV or CSV.GZ, with the columns of the Online Retail data set.", exists=True),
    ] = None,
    url: Annotated[
        str | None, typer.Option(help="Address of a running service. Default: the one on the data directory.")
    ] = None,
    admin_key: AdminKey = None,
    storefront_key: StorefrontKey = None,
    data_dir: DataDir = None,
    embedded: Embedded = False,
    concurrency: Annotated[int, typer.Option(min=1, max=256, help="Requests at a time.")] = 32,
) -> None:
    """Play a shop's order file through the HTTP API, then hold Redis and the ledger against the file, SKU by SKU.

    Every invoice becomes one reservation and is confirmed with its number as order id; invoices that start with C come
    back as returns; other negative lines are written off as damage. Without FILE: a sample of three real days.

    Exit code 0: counters, levels and ledger agree with the file. 1: a difference, or an order was refused. 2: the file
    or the service cannot be used.
    """
    console = Console()
    if not console.is_terminal:
        console = Console(width=LOG_WIDTH)
    try:
        orders = prepare(file or SAMPLE)
        with (
            target_service(Target(url, admin_key, storefront_key, data_dir, embedded)) as service,
            asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
        ):
            agrees = runner.run(play(orders, service, concurrency, console))
    except (OrderFileError, TargetInvalid, ThrowawayFailed, ServiceError) as error:
        _say(console, str(error))
        raise typer.Exit(UNUSABLE) from None
    if not agrees:
        raise typer.Exit(DIFFERENCE)


def _say(console: Console, message: str) -> None:
    console.print(message, style="red", markup=False, highlight=False)
