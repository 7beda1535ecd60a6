"""`holdfast export`: the stock of a service into a spreadsheet file, with a progress bar.

Owns the file on this side: it appears under its name only when it is whole. What stands in it is the service's.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Annotated, Literal

import typer

from runtime.commands.session import Session, WrongUse, service_command

app = typer.Typer(add_completion=False, rich_markup_mode="markdown")


@service_command(app, "export")
def export(
    session: Session,
    file: Annotated[Path, typer.Argument(help="File to write, .csv or .xlsx; replaced if it is there.")],
    category: Annotated[str | None, typer.Option("--category", "-c", help="Only products of this category.")] = None,
    status: Annotated[
        Literal["IN_STOCK", "LOW_STOCK", "OUT_OF_STOCK", "active", "inactive"] | None, typer.Option(help="Only those.")
    ] = None,
    min_available: Annotated[int | None, typer.Option(min=0, help="Only SKUs with at least so many units.")] = None,
    max_available: Annotated[int | None, typer.Option(min=0, help="Only SKUs with at most so many units.")] = None,
) -> None:
    """Write the stock of every SKU into FILE, as CSV or XLSX by its name, live from the counters.

    The file can be changed and given to `holdfast import` again, which takes its on_hand for the quantity to set. When
    it cannot be had whole, a file that was there before is left as it was.

    Example: `holdfast export stock.xlsx --category kitchen --status LOW_STOCK`
    """
    kind = _format_of(file)
    pieces = session.client.export(
        kind, category=category, status=status, min_available=min_available, max_available=max_available
    )
    try:
        with _appearing_whole(file) as target:
            size = _written(session, pieces, target)
    except OSError as error:
        raise WrongUse(f"{file} cannot be written: {error.strerror or error}") from None
    if session.output.for_people:
        typer.echo(f"{file}: {size:,} bytes")
    else:
        session.output.document({"file": str(file), "bytes": size})


def _format_of(file: Path) -> Literal["csv", "xlsx"]:
    kind = file.suffix.lower()
    if kind not in {".csv", ".xlsx"}:
        raise WrongUse(f"{file} must end in .csv or .xlsx")
    return "csv" if kind == ".csv" else "xlsx"


def _written(session: Session, pieces: Iterator[bytes], target: IO[bytes]) -> int:
    """Every byte into `target`; how many there were."""
    from rich.progress import DownloadColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    console = session.output.remarks
    columns = (SpinnerColumn(), TextColumn("{task.description}"), DownloadColumn(), TimeElapsedColumn())
    size = 0
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("export", total=None)
        for piece in pieces:
            target.write(piece)
            size += len(piece)
            progress.advance(task, len(piece))
    return size


@contextmanager
def _appearing_whole(file: Path) -> Iterator[IO[bytes]]:
    """A file beside `file` that takes its name at the end of the block, and is removed if the block fails."""
    number, name = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.absolute().parent)
    try:
        with os.fdopen(number, "wb") as target:
            yield target
            target.flush()
            os.fsync(target.fileno())
        umask = os.umask(0)
        os.umask(umask)
        Path(name).chmod(0o666 & ~umask)
        Path(name).replace(file)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
