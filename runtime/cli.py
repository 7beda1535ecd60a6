"""The `holdfast` command: its sub-commands, their help and their exit codes.

Owns what a person types and reads; the work is done elsewhere, imported by the command that needs it.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from typer.core import TyperCommand, TyperGroup

from runtime.command_index import ELSEWHERE
from runtime.command_line import load as _load
from runtime.command_line import running as _running
from runtime.command_line import told as _told
from runtime.settings import describe, unknown_variables


class _Commands(TyperGroup):
    """Adds the commands that live in modules of their own, and loads the one that is asked for."""

    _listing = False
    """While only names and lines are wanted: nothing is loaded then."""

    def list_commands(self, ctx: Any) -> list[str]:
        return [*super().list_commands(ctx), *(name for name, found in ELSEWHERE.items() if _exists(found.place))]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        elsewhere = ELSEWHERE.get(cmd_name)
        if elsewhere is None or not _exists(elsewhere.place):
            return super().get_command(ctx, cmd_name)
        if self._listing:
            return TyperCommand(cmd_name, help=elsewhere.text, rich_help_panel=elsewhere.heading)
        module, _, name = elsewhere.place.partition(":")
        found = getattr(import_module(module), name)
        if isinstance(found, typer.Typer):
            return typer.main.get_command(found)
        single = typer.Typer(add_completion=False, rich_markup_mode="markdown")
        single.command(cmd_name)(found)
        return typer.main.get_command(single)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        with self._only_listing():
            super().format_help(ctx, formatter)

    def shell_complete(self, ctx: Any, incomplete: str) -> Any:
        with self._only_listing():
            return super().shell_complete(ctx, incomplete)

    @contextmanager
    def _only_listing(self) -> Iterator[None]:
        self._listing = True
        try:
            yield
        finally:
            self._listing = False


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_show_locals=False,  # locals hold keys and URLs
    help="""Inventory reservations: Redis decides, Postgres remembers, a flash sale never oversells.

Start with `holdfast up`: it needs nothing but this program, and prints an address and a first command to try.
Every setting is a variable `HOLDFAST_*`; `holdfast settings` lists them.""",
)

DataDir = Annotated[
    Path | None,
    typer.Option("--data-dir", help="Folder of the embedded servers' data.", show_default="~/.local/share/holdfast"),
]
Host = Annotated[str | None, typer.Option(help="Address to listen on.", show_default="127.0.0.1")]
Port = Annotated[int | None, typer.Option(help="Port to listen on; 0: any free one.", show_default="8000")]
Workers = Annotated[int | None, typer.Option(help="API processes.", show_default="one a core")]


@app.command()
def up(
    host: Host = None,
    port: Port = None,
    data_dir: DataDir = None,
    workers: Workers = None,
    end_with_parent: Annotated[
        bool,
        typer.Option("--end-with-parent", help="End when the program that started this one ends."),
    ] = False,
) -> None:
    """Run the whole service on this machine: Valkey, Postgres, API, worker and background jobs.

    Without HOLDFAST_REDIS_URL and HOLDFAST_DATABASE_URL it starts a private Valkey and a private Postgres in the data
    directory; they end with it, and their data stays. Ctrl-C stops everything in order.
    """
    from runtime.child_process import die_with_parent
    from runtime.supervisor import supervise

    if end_with_parent:
        die_with_parent(signal.SIGTERM, os.getppid())()
    with _told():
        settings = _load(host=host, port=port, data_dir=data_dir, workers=workers)
        raise typer.Exit(supervise(settings, frozenset({"servers", "worker", "jobs", "api"})))


@app.command()
def api(host: Host = None, port: Port = None, workers: Workers = None) -> None:
    """Run only the API processes, against the servers of HOLDFAST_REDIS_URL and HOLDFAST_DATABASE_URL.

    For a deployment with several machines or containers. `holdfast migrate` must have run.
    """
    from runtime.supervisor import supervise

    with _told():
        raise typer.Exit(supervise(_load(host=host, port=port, workers=workers), frozenset({"api"})))


@app.command()
def worker() -> None:
    """Run only the worker (flusher and sweeper), against HOLDFAST_REDIS_URL and HOLDFAST_DATABASE_URL.

    A second one is harmless and takes over when the first ends.
    """
    from runtime.supervisor import supervise

    with _told():
        raise typer.Exit(supervise(_load(), frozenset({"worker"})))


@app.command()
def migrate(data_dir: DataDir = None) -> None:
    """Bring the Postgres tables up to this version. `holdfast up` does it by itself."""
    from persistence.migrate import current_revision, upgrade
    from runtime.store import open_database

    with _told():
        database_url = open_database(_running(_load(data_dir=data_dir)))
        before = current_revision(database_url)
        upgrade(database_url)
        after = current_revision(database_url)
        typer.echo(f"tables are at {after}" + ("" if before == after else f" (were at {before or 'nothing'})"))


@app.command("settings")
def list_settings(data_dir: DataDir = None) -> None:
    """List every setting with its present value, where that came from, and what it means. Secrets are masked."""
    with _told():
        settings = _load(data_dir=data_dir)
    table = Table("variable", "value", "from", "meaning", box=None, header_style="bold", pad_edge=False)
    for row in describe(settings, os.environ):
        table.add_row(row.variable, row.value or "-", row.source, row.meaning)
    console = Console()
    if not console.is_terminal:
        console = Console(width=200)
    console.print(table)
    for name in unknown_variables(os.environ):
        typer.echo(f"{name} is set, but there is no such setting", err=True)


@app.callback(invoke_without_command=True)
def _common(
    show_version: Annotated[bool, typer.Option("--version", help="Print the version and end.")] = False,
) -> None:
    if show_version:
        typer.echo(f"holdfast {version('holdfast')}")
        raise typer.Exit


def main() -> None:
    """Entry point of the `holdfast` command."""
    app()


def _exists(place: str) -> bool:
    return find_spec(place.partition(":")[0]) is not None
