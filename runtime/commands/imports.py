"""`holdfast import` and `imports`: a stock or catalogue file into a service, looked at before it is applied.

Owns what a person sees and is asked; what a file changes is the service's to say.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

import typer
from rich.table import Table

from runtime.command_line import REFUSED_BY_SERVICE
from runtime.commands.output import Cell, Column, age, moment, number, printable, state
from runtime.commands.session import KeyOption, Session, WrongUse, command_group, service_command

if TYPE_CHECKING:
    from rich.progress import Progress

    from holdfast_client import CatalogueImport, Import, ImportFailure, ImportSummary, RowError

app = typer.Typer(add_completion=False, rich_markup_mode="markdown")
list_app = command_group("List stock imports and look at one. `holdfast import` makes them and takes them back.")

PATIENCE_S: Final = 60.0
"""How long a service that is away is asked again how far an import is."""
LOOK_EVERY_S: Final = 0.25
SHOWN: Final = 20
"""Rows of a table."""


@service_command(app, "import")
def import_file(
    session: Session,
    file: Annotated[Path | None, typer.Argument(help="CSV or XLSX file with a header.", show_default=False)] = None,
    mode: Annotated[
        Literal["set", "add"], typer.Option(help="`set`: on_hand becomes the quantity; `add`: the quantity is added.")
    ] = "set",
    reason: Annotated[
        str | None, typer.Option("--reason", "-r", help="Why, 3-500 characters; kept in the ledger.")
    ] = None,
    catalog: Annotated[bool, typer.Option("--catalog", help="A file of products instead of stock.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Apply without asking.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Apply although the stock has changed since the preview.")
    ] = False,
    revert: Annotated[
        str | None, typer.Option(metavar="ID", help="Revert this import instead; no file is needed.")
    ] = None,
    idempotency_key: KeyOption = None,
) -> None:
    """Import stock (columns sku, quantity or on_hand, note) or, with --catalog, products from FILE.

    Shows what the file would change, and applies it once you agree: all rows or none. Exit code 1: the file has errors,
    the stock does not allow it, or you did not agree; nothing was changed.

    Example: `holdfast import count.xlsx --reason "spring count"`
    """
    if (file is None) == (revert is None):
        raise WrongUse("give either a FILE or --revert ID")
    session.patience_s = PATIENCE_S
    if revert is not None:
        _revert(session, revert)
    elif file is not None:
        if not file.is_file():
            raise WrongUse(f"{file} is no file that can be read")
        if catalog:
            _catalogue(session, file, yes)
        else:
            _stock(session, file, mode, reason, idempotency_key, yes=yes, force=force)


@service_command(list_app, "list", lists=True)
def list_imports(session: Session) -> None:
    """List stock imports, newest first; an operator sees those made with the same key.

    Example: `holdfast imports list`
    """
    columns: list[Column[ImportSummary]] = [
        Column("id", lambda one: one.id),
        Column("status", lambda one: state(one.status)),
        Column("file", lambda one: one.file_name),
        Column("rows", lambda one: number(one.rows), right=True),
        Column("changed", lambda one: number(one.changed), right=True),
        Column("errors", lambda one: number(one.error_count), right=True, spare=True),
        Column("made", lambda one: age(one.created_at)),
        Column("reason", lambda one: one.reason, spare=True),
    ]
    found = session.client.list_imports(page_size=session.page_size)
    session.output.rows(found, columns, limit=session.limit, empty="no imports yet; `holdfast import FILE`")


@service_command(list_app, "show")
def show_import(
    session: Session,
    import_id: Annotated[str, typer.Argument(metavar="ID", help="Id of the import.", show_default=False)],
) -> None:
    """Show one import: how far it is, what is wrong with its file, what it changes.

    Example: `holdfast imports show imp_0123456789abcdef01234567`
    """
    found = session.client.get_import(import_id)
    session.output.one(found, _described(found))
    if session.output.for_people:
        _show_preview(session, found)
        _show_errors(session, found.errors, found.error_count)


def _stock(
    session: Session,
    file: Path,
    mode: Literal["set", "add"],
    reason: str | None,
    idempotency_key: str | None,
    *,
    yes: bool,
    force: bool,
) -> None:
    if reason is None or not 3 <= len(reason.strip()) <= 500:
        raise WrongUse("--reason is needed, 3-500 characters: it stands in the ledger beside every row")
    key = session.key_for(idempotency_key)
    client = session.client
    uploaded = client.upload_stock(file, mode=mode, reason=reason, wait_s=0, idempotency_key=key)
    preview = _at_rest(session, uploaded, "reading")
    output = session.output
    if preview.status == "FAILED" and preview.failure is not None:
        raise _refused(preview.failure)
    if preview.error_count:
        if output.for_people:
            _show_errors(session, preview.errors, preview.error_count)
            output.say("preview-has-errors: nothing was changed; mend the file and import it again", "red")
        else:
            output.document(preview)
        raise typer.Exit(REFUSED_BY_SERVICE)
    if output.for_people:
        _show_preview(session, preview)
        output.say(f"{preview.rows:,} rows, {preview.changed:,} change something", "")
    if not preview.changed:
        if output.for_people:
            why = "the stock is as the file says" if preview.rows else "the file has a header and no rows"
            typer.echo(f"nothing to apply: {why} ({preview.id})")
        else:
            output.document(preview)
        return
    session.agreed(f"Apply {preview.changed:,} changes?", yes)
    applied = _at_rest(session, client.apply_import(preview.id, force=force or None, wait_s=0), "applying")
    if applied.status != "APPLIED":
        raise _ended(applied)
    if output.for_people:
        typer.echo(f"applied: {applied.transactions:,} ledger rows; to revert: holdfast import --revert {applied.id}")
    else:
        output.document(applied)


def _revert(session: Session, import_id: str) -> None:
    reverted = _at_rest(session, session.client.revert_import(import_id, wait_s=0), "reverting")
    if reverted.status != "REVERTED":
        raise _ended(reverted)
    if session.output.for_people:
        typer.echo(f"reverted: {reverted.transactions:,} ledger rows undone by opposite ones")
    else:
        session.output.document(reverted)


def _catalogue(session: Session, file: Path, yes: bool) -> None:
    output = session.output
    found = session.client.import_products(file, dry_run=True)
    if found.error_count:
        if output.for_people:
            _show_errors(session, found.errors, found.error_count)
            output.say("preview-has-errors: nothing was changed; mend the file and import it again", "red")
        else:
            output.document(found)
        raise typer.Exit(REFUSED_BY_SERVICE)
    if output.for_people:
        output.say(f"{found.rows:,} products: {found.created:,} new, {found.updated:,} to be changed", "")
    if found.rows:
        session.agreed(f"Import {found.rows:,} products?", yes)
        found = session.client.import_products(file)
    _show_catalogue(session, found)


def _show_catalogue(session: Session, done: CatalogueImport) -> None:
    if session.output.for_people:
        typer.echo(f"imported: {done.created:,} products made, {done.updated:,} changed")
    else:
        session.output.document(done)


def _at_rest(session: Session, begun: ImportSummary, doing: str) -> Import:
    """The import once nobody works on it any more."""
    with _progress(session) as progress:
        task = progress.add_task(doing, total=1.0)
        found = session.client.get_import(begun.id)
        while found.is_working:
            progress.update(task, completed=found.progress)
            time.sleep(LOOK_EVERY_S)
            found = session.client.get_import(begun.id)
    return found


def _progress(session: Session) -> Progress:
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    console = session.output.remarks
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def _show_preview(session: Session, preview: Import) -> None:
    if not preview.changes:
        return
    table = Table("row", "sku", "on hand", "new", "change", box=None, header_style="bold", pad_edge=False)
    for change in preview.changes[:SHOWN]:
        table.add_row(
            f"{change.row}", printable(change.sku), number(change.current), number(change.new), f"{change.delta:+,}"
        )
    session.output.remarks.print(table)
    if preview.changed > SHOWN:
        session.output.say(f"... and {preview.changed - SHOWN:,} more")


def _show_errors(session: Session, errors: list[RowError], count: int) -> None:
    if not errors:
        return
    table = Table("row", "column", "code", "what is wrong", box=None, header_style="bold", pad_edge=False)
    for error in errors[:SHOWN]:
        table.add_row(str(error.row), printable(error.column), error.code, printable(error.message))
    session.output.remarks.print(table)
    if count > SHOWN:
        session.output.say(f"... and {count - SHOWN:,} more")


def _ended(found: Import) -> Exception:
    """What stands for an import that is not where it should be."""
    from holdfast_client import ImportFailure

    return _refused(found.failure or ImportFailure("import-ended", f"The import is {found.status}.", [], []))


def _refused(failure: ImportFailure) -> Exception:
    import msgspec

    from holdfast_client import Refused

    return Refused({"title": "The import was refused", "status": 409, **msgspec.to_builtins(failure)})


def _described(found: Import) -> list[tuple[str, Cell | None]]:
    failure = found.failure
    return [
        ("id", found.id),
        ("status", state(found.status)),
        ("file", found.file_name),
        ("mode", found.mode),
        ("reason", found.reason),
        ("rows", f"{found.rows:,}, {found.changed:,} change something, {found.error_count:,} errors"),
        ("ledger rows", number(found.transactions)),
        ("failure", None if failure is None else f"{failure.code}: {failure.detail}"),
        ("made", f"{moment(found.created_at)} by {found.created_by}"),
        ("applied", moment(found.applied_at)),
        ("reverted", moment(found.reverted_at)),
    ]
