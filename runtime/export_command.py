"""The `holdfast export` command: the stock of a running service into a spreadsheet file, with a progress bar.

Owns the file on this side: it appears under its name only when it is whole. What stands in it is the service's.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Annotated, Final

import httpx
import msgspec
import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn

from runtime.command_line import WRONG_USE
from runtime.service_client import Problem, ServiceError, UnexpectedAnswer, Unreachable
from runtime.target_service import TargetInvalid, service_for_one_key

CONNECT_S: Final = 10.0
SILENCE_S: Final = 300.0
"""How long the service may say nothing: it writes a workbook whole before the first byte comes."""

ROWS_HEADER: Final = "Holdfast-Rows-At-Most"


def export(  # noqa: PLR0917 - options of a command
    file: Annotated[Path, typer.Argument(help="File to write, .csv or .xlsx; replaced if it is there.")],
    category: Annotated[str | None, typer.Option(help="Only products of this category.")] = None,
    status: Annotated[
        str | None, typer.Option(help="Only IN_STOCK, LOW_STOCK, OUT_OF_STOCK, active or inactive ones.")
    ] = None,
    min_available: Annotated[int | None, typer.Option(min=0, help="Only SKUs with at least so many units.")] = None,
    max_available: Annotated[int | None, typer.Option(min=0, help="Only SKUs with at most so many units.")] = None,
    url: Annotated[
        str | None, typer.Option(help="Address of a running service. Default: the one on the data directory.")
    ] = None,
    key: Annotated[
        str | None, typer.Option(envvar="HOLDFAST_ADMIN_KEY", show_envvar=True, help="A key that may read.")
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option("--data-dir", help="Data directory of a running `holdfast up`: its address and key.")
    ] = None,
) -> None:
    """Write the stock of every SKU into FILE, as CSV or XLSX by its name, live from the counters.

    The file can be changed and given to `holdfast import` again, which takes its on_hand for the quantity to set. Exit
    code 2: the service or the file cannot be used; a file that was there before is then left as it was.
    """
    console = Console(stderr=True)
    try:
        kind = _format_of(file)
        address, secret = service_for_one_key(url, key, data_dir)
        wanted: dict[str, str | int | None] = {
            "format": kind,
            "category": category,
            "status": status,
            "min_available": min_available,
            "max_available": max_available,
        }
        query = {name: str(value) for name, value in wanted.items() if value is not None}
        size = _download(address, secret, query, file, console)
    except (TargetInvalid, ServiceError, OSError) as error:
        console.print(f"holdfast: {error}", style="red", markup=False, highlight=False)
        raise typer.Exit(WRONG_USE) from None
    typer.echo(f"{file}: {size:,} bytes")


def _format_of(file: Path) -> str:
    kind = file.suffix.lower().lstrip(".")
    if kind not in {"csv", "xlsx"}:
        raise TargetInvalid(f"{file} must end in .csv or .xlsx")
    return kind


def _download(address: str, key: str, query: dict[str, str], file: Path, console: Console) -> int:
    """The file, once it is whole; gives its bytes. Raises ServiceError, OSError."""
    with (
        _appearing_whole(file) as target,
        httpx.Client(
            base_url=address,
            headers={"Authorization": f"Bearer {key}"},
            timeout=httpx.Timeout(SILENCE_S, connect=CONNECT_S),
            trust_env=False,
            follow_redirects=False,
        ) as client,
    ):
        try:
            with client.stream("GET", "/inventory/export", params=query) as answer:
                if answer.status_code != 200:
                    raise _refused(answer)
                return _write(answer, target, query["format"], console)
        except httpx.ConnectError as error:
            raise Unreachable(f"{address} cannot be reached: {error}") from None
        except httpx.HTTPError as error:
            raise Unreachable(f"{address} broke off before the file was whole: {type(error).__name__}") from None


def _write(answer: httpx.Response, target: IO[bytes], kind: str, console: Console) -> int:
    """Every byte into `target`. CSV is counted by its lines: the service says how many there can be."""
    rows_at_most = int(answer.headers.get(ROWS_HEADER, "0") or 0)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeElapsedColumn())
    if kind == "csv" and rows_at_most:
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed:,.0f} rows"),
                   TimeElapsedColumn())  # type: ignore[assignment]  # fmt: skip
    size = 0
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("export", total=rows_at_most if kind == "csv" and rows_at_most else None)
        for part in answer.iter_bytes():
            target.write(part)
            size += len(part)
            progress.advance(task, part.count(b"\n") if kind == "csv" and rows_at_most else len(part))
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


def _refused(answer: httpx.Response) -> UnexpectedAnswer:
    body = answer.read()
    try:
        problem = msgspec.json.decode(body, type=Problem)
    except msgspec.MsgspecError:
        problem = Problem("", body[:200].decode(errors="replace"))
    return UnexpectedAnswer(f"the service refused: {answer.status_code} {problem.code}: {problem.detail}")
