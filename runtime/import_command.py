"""The `holdfast import` command: a stock or catalogue file into a running service, looked at before it is applied.

Owns what a person sees and is asked; what a file changes is the service's to say.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar

import httpx
import msgspec
import typer
from msgspec import Struct
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from runtime.command_line import FOUND_SOMETHING, WRONG_USE
from runtime.service_client import ServiceError, UnexpectedAnswer, Unreachable
from runtime.target_service import TargetInvalid, service_for_one_key

T = TypeVar("T")

CONNECT_S: Final = 10.0
SILENCE_S: Final = 300.0
"""How long the service may say nothing: a catalogue is answered once all of it is done."""
LOOK_EVERY_S: Final = 0.25
PATIENCE_S: Final = 60.0
"""How long a service that says 503 is asked again how far an import is."""
SHOWN: Final = 20
"""Rows of a table."""
BULK: Final = "/inventory/bulk-update"
WORKING: Final = frozenset({"PREVIEWING", "APPLYING", "UNDOING", "REVERTING", "RESTORING"})


class RowError(Struct, frozen=True):
    """What is wrong with a row."""

    row: int
    column: str
    code: str
    message: str


class Change(Struct, frozen=True):
    """What a row changes."""

    row: int
    sku: str
    current: int
    new: int
    delta: int


class Moved(Struct, frozen=True):
    """A row whose stock is not what the preview saw."""

    row: int
    sku: str
    expected: int
    on_hand: int


class Short(Struct, frozen=True):
    """A SKU of which there is too little."""

    sku: str
    requested: int
    available: int


class Failure(Struct, frozen=True):
    """Why a step was refused."""

    code: str = ""
    detail: str = ""
    rows: tuple[Moved, ...] = ()
    shortages: tuple[Short, ...] = ()
    errors: tuple[RowError, ...] = ()
    error_count: int = 0


class Import(Struct, frozen=True):
    """An import as the service shows it."""

    id: str
    status: str
    rows: int
    valid: int
    changed: int
    error_count: int
    transactions: int
    progress: float
    failure: Failure | None = None
    errors: tuple[RowError, ...] = ()
    changes: tuple[Change, ...] = ()


class Catalogue(Struct, frozen=True):
    """What a catalogue file came to."""

    rows: int
    created: int
    updated: int
    error_count: int
    errors: tuple[RowError, ...]


class StepRefused(Exception):
    """The service understood, and said no for a reason that stands in the stock or in the file."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.code)
        self.failure = failure


def import_file(  # noqa: PLR0917 - options of a command
    file: Annotated[Path | None, typer.Argument(help="CSV or XLSX file with a header.", show_default=False)] = None,
    mode: Annotated[
        str, typer.Option(help="`set`: on_hand becomes the quantity; `add`: the quantity is added.")
    ] = "set",
    reason: Annotated[str | None, typer.Option(help="Why, 3-500 characters; kept in the ledger.")] = None,
    catalog: Annotated[bool, typer.Option("--catalog", help="A file of products instead of stock.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Apply without asking.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Apply although the stock has changed since the preview.")
    ] = False,
    revert: Annotated[
        str | None, typer.Option(metavar="ID", help="Revert this import instead; no file is needed.")
    ] = None,
    url: Annotated[
        str | None, typer.Option(help="Address of a running service. Default: the one on the data directory.")
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(envvar="HOLDFAST_ADMIN_KEY", show_envvar=True, help="A key that may change stock."),
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option("--data-dir", help="Data directory of a running `holdfast up`: its address and key.")
    ] = None,
) -> None:
    """Import stock (columns sku, quantity or on_hand, note) or, with --catalog, products from FILE.

    Shows what the file would change, and applies it once you agree: all rows or none. Exit code 0: applied (or
    reverted). 1: the file has errors, the stock does not allow it, or you did not agree; nothing was changed. 2: the
    service or the file cannot be used.
    """
    console = Console(stderr=True, markup=False)
    try:
        if (file is None) == (revert is None):
            raise TargetInvalid("give either a FILE or --revert ID")
        address, secret = service_for_one_key(url, key, data_dir)
        with Service(address, secret, console) as service:
            if revert is not None:
                _revert(service, revert)
            elif file is not None and catalog:
                _catalogue(service, file, yes)
            elif file is not None:
                _stock(service, file, _mode(mode), _reason(reason), yes=yes, force=force)
    except StepRefused as refused:
        _show_failure(console, refused.failure)
        raise typer.Exit(FOUND_SOMETHING) from None
    except (TargetInvalid, ServiceError, OSError) as error:
        console.print(f"holdfast: {error}", style="red", highlight=False)
        raise typer.Exit(WRONG_USE) from None


def _mode(mode: str) -> Literal["set", "add"]:
    if mode not in {"set", "add"}:
        raise TargetInvalid(f"--mode is set or add, not {mode}")
    return "set" if mode == "set" else "add"


def _reason(reason: str | None) -> str:
    if reason is None or not 3 <= len(reason.strip()) <= 500:
        raise TargetInvalid("--reason is needed, 3-500 characters: it stands in the ledger beside every row")
    return reason


def _stock(service: Service, file: Path, mode: str, reason: str, *, yes: bool, force: bool) -> None:
    uploaded = service.upload(BULK, file, Import, {"mode": mode, "reason": reason})
    preview = service.at_rest(uploaded, "reading")
    if preview.status == "FAILED" and preview.failure is not None:
        raise StepRefused(preview.failure)
    if preview.error_count:
        raise StepRefused(
            Failure(
                "preview-has-errors", "Nothing was changed.", errors=preview.errors, error_count=preview.error_count
            )
        )
    console = service.console
    table = Table("row", "sku", "on hand", "new", "change", box=None, header_style="bold")
    for change in preview.changes[:SHOWN]:
        table.add_row(f"{change.row}", change.sku, f"{change.current:,}", f"{change.new:,}", f"{change.delta:+,}")
    if preview.changed:
        console.print(table)
    if preview.changed > SHOWN:
        console.print(f"... and {preview.changed - SHOWN:,} more")
    console.print(f"{preview.rows:,} rows, {preview.changed:,} change something.")
    if not preview.changed:
        return
    _agreed(console, f"Apply {preview.changed:,} changes?", yes)
    applied = service.step(preview.id, "apply", "applying", {"force": "true"} if force else {})
    if applied.status != "APPLIED":
        raise StepRefused(applied.failure or Failure("import-ended", f"The import is {applied.status}."))
    typer.echo(f"applied: {applied.transactions:,} ledger rows; to revert: holdfast import --revert {applied.id}")


def _revert(service: Service, import_id: str) -> None:
    reverted = service.step(import_id, "revert", "reverting", {})
    if reverted.status != "REVERTED":
        raise StepRefused(reverted.failure or Failure("import-ended", f"The import is {reverted.status}."))
    typer.echo(f"reverted: {reverted.transactions:,} ledger rows undone by opposite ones")


def _catalogue(service: Service, file: Path, yes: bool) -> None:
    path = "/inventory/products/import"
    found = service.upload(path, file, Catalogue, {}, {"dry_run": "true"})
    if found.error_count:
        raise StepRefused(
            Failure("preview-has-errors", "Nothing was changed.", errors=found.errors, error_count=found.error_count)
        )
    service.console.print(f"{found.rows:,} products: {found.created:,} new, {found.updated:,} to be changed.")
    if not found.rows:
        return
    _agreed(service.console, f"Import {found.rows:,} products?", yes)
    done = service.upload(path, file, Catalogue, {})
    typer.echo(f"imported: {done.created:,} products made, {done.updated:,} changed")


def _agreed(console: Console, question: str, yes: bool) -> None:
    """Return if the person agrees. Raises StepRefused."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise TargetInvalid("nobody can be asked here; --yes applies without asking")
    if not typer.confirm(question, err=True):
        raise StepRefused(Failure("not-applied", "Nothing was changed."))


def _show_failure(console: Console, failure: Failure) -> None:
    tables: list[tuple[tuple[str, ...], list[tuple[str, ...]]]] = [
        (
            ("row", "column", "code", "what is wrong"),
            [(str(error.row), error.column, error.code, error.message) for error in failure.errors],
        ),
        (
            ("row", "sku", "previewed", "on hand now"),
            [(str(row.row), row.sku, f"{row.expected:,}", f"{row.on_hand:,}") for row in failure.rows],
        ),
        (
            ("sku", "to take", "free"),
            [(short.sku, f"{short.requested:,}", f"{short.available:,}") for short in failure.shortages],
        ),
    ]
    for titles, rows in tables:
        if rows:
            table = Table(*titles, box=None, header_style="bold")
            for row in rows[:SHOWN]:
                table.add_row(*row)
            console.print(table)
        total = max(len(rows), failure.error_count if rows and rows is tables[0][1] else 0)
        if total > SHOWN:
            console.print(f"... and {total - SHOWN:,} more")
    hint = " (--force applies all the same)" if failure.code == "stock-moved" else ""
    console.print(f"{failure.code}: {failure.detail}{hint}", style="red", highlight=False)


class Service:
    """The service over HTTP; for use in `with`."""

    def __init__(self, address: str, key: str, console: Console) -> None:
        self.console = console
        self._address = address
        self._client = httpx.Client(
            base_url=address,
            headers={"Authorization": f"Bearer {key}", "Prefer": "respond-async"},
            timeout=httpx.Timeout(SILENCE_S, connect=CONNECT_S),
            trust_env=False,
            follow_redirects=False,
        )

    def __enter__(self) -> Service:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def upload(
        self, path: str, file: Path, kind: type[T], fields: dict[str, str], query: dict[str, str] | None = None
    ) -> T:
        """Send a file; the answer. Raises ServiceError, StepRefused, OSError."""
        with file.open("rb") as opened, self._progress() as progress:
            progress.add_task("uploading", total=None)
            answer = self._ask("POST", path, files={"file": (file.name, opened)}, data=fields, params=query or {})
        return _read(answer, kind)

    def step(self, import_id: str, verb: str, doing: str, query: dict[str, str]) -> Import:
        """Have an import applied or reverted, and wait until it is. Raises ServiceError, StepRefused."""
        return self.at_rest(_read(self._ask("POST", f"{BULK}/{import_id}/{verb}", params=query), Import), doing)

    def at_rest(self, begun: Import, doing: str) -> Import:
        """The import once nobody works on it any more. Raises ServiceError."""
        found = begun
        patience = time.monotonic() + PATIENCE_S
        with self._progress() as progress:
            task = progress.add_task(doing, total=1.0)
            while found.status in WORKING:
                progress.update(task, completed=found.progress)
                time.sleep(LOOK_EVERY_S)
                answer = self._ask("GET", f"{BULK}/{begun.id}")
                if answer.status_code == 503 and time.monotonic() < patience:
                    continue
                found = _read(answer, Import)
                patience = time.monotonic() + PATIENCE_S
        return found

    def _ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        try:
            return self._client.request(method, path, **more)
        except httpx.ConnectError as error:
            raise Unreachable(f"{self._address} cannot be reached: {error}") from None
        except httpx.HTTPError as error:
            raise Unreachable(f"{self._address} broke off: {type(error).__name__}") from None

    def _progress(self) -> Progress:
        columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
        return Progress(*columns, console=self.console, transient=True, disable=not self.console.is_terminal)


def _read(answer: httpx.Response, kind: type[T]) -> T:
    """The answer as `kind`. Raises StepRefused for a refusal of 4xx that has a code, else UnexpectedAnswer."""
    try:
        if answer.is_success:
            return msgspec.json.decode(answer.content, type=kind)
        failure = msgspec.json.decode(answer.content, type=Failure)
    except msgspec.MsgspecError:
        failure = Failure("", answer.text[:200])
    if answer.status_code in {404, 409, 410, 413, 422} and failure.code:
        raise StepRefused(failure)
    raise UnexpectedAnswer(f"the service refused: {answer.status_code} {failure.code}: {failure.detail}")
