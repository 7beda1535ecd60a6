"""What every command that talks to a service shares: which service, whose key, in what form, and how it ends.

Owns the options that all of them have and their exit codes; a command itself is a function of a `Session`. Never shows
a key.
"""

from __future__ import annotations

import inspect
import os
import secrets
import socket
import sys
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, NoReturn, get_type_hints
from urllib.parse import urlsplit

import typer

from runtime.command_line import REFUSED_BY_SERVICE, WRONG_USE
from runtime.commands.output import Output

if TYPE_CHECKING:
    from holdfast_client import Client

API_KEY: Final = "HOLDFAST_API_KEY"
ADMIN_KEY: Final = "HOLDFAST_ADMIN_KEY"
WHICH: Final = "Which service"
FORM: Final = "Output"
DEFAULT_LIMIT: Final = 50
LARGEST_PAGE: Final = 500
PATIENCE_S: Final = 20.0
"""How long a request is tried."""
ATTEMPT_S: Final = 20.0
"""Of one attempt, at most; more than the service itself waits for its ledger."""
KNOCK_S: Final = 5.0
"""How long the address may take to let us in. Somebody at a terminal should learn soon that nobody is there."""

UrlOption = Annotated[
    str | None,
    typer.Option(
        "--url",
        envvar="HOLDFAST_URL",
        help="Address of the service.",
        show_default="of the `holdfast up` that runs here",
        rich_help_panel=WHICH,
    ),
]
KeyFileOption = Annotated[
    Path | None,
    typer.Option(
        "--key-file",
        help=f"File that holds the API key, alone. Else {API_KEY}, {ADMIN_KEY}, what `holdfast up` keeps.",
        rich_help_panel=WHICH,
    ),
]
DataDirOption = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        help="Data directory of a running `holdfast up`: its address and admin key.",
        show_default="~/.local/share/holdfast",
        rich_help_panel=WHICH,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.", rich_help_panel=FORM)]
JsonLinesOption = Annotated[
    bool, typer.Option("--json-lines", help="Print one JSON object a line, as they come.", rich_help_panel=FORM)
]
LimitOption = Annotated[int, typer.Option("--limit", min=1, help="At most so many.", rich_help_panel=FORM)]
AllOption = Annotated[bool, typer.Option("--all", help="All of them.", rich_help_panel=FORM)]

YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
KeyOption = Annotated[
    str | None,
    typer.Option(
        "--idempotency-key",
        metavar="KEY",
        help="The same command with the same key is carried out once, however often it is sent.",
        show_default="a new one, shown",
    ),
]


class WrongUse(Exception):
    """The command was given something that cannot be meant; the message says what to give instead. Exit code 2."""


class Session:
    """One command's service and its output. Closed by whoever runs the command."""

    def __init__(
        self,
        output: Output,
        url: str | None,
        key_file: Path | None,
        data_dir: Path | None,
        limit: int | None = DEFAULT_LIMIT,
    ) -> None:
        self.output = output
        self.limit = limit
        """Items of a list; None: all."""
        self.idempotency_key = ""
        """The one that a change was sent with, once there is one."""
        self.patience_s = PATIENCE_S
        """Of each request, with all of its attempts; 0: there is only one."""
        self._given = (url, key_file, data_dir)
        self._client: Client | None = None

    @property
    def is_remote(self) -> bool:
        """Whether a service was named, by --url or HOLDFAST_URL."""
        return bool(self._given[0])

    @property
    def data_dir(self) -> Path | None:
        """As given; None: the default one."""
        return self._given[2]

    @cached_property
    def target(self) -> tuple[str, str]:
        """(address, key). Raises WrongUse."""
        from runtime.target_service import TargetInvalid, service_for_one_key

        url, key_file, data_dir = self._given
        try:
            return service_for_one_key(url or None, _key(key_file), data_dir)
        except TargetInvalid as error:
            raise WrongUse(str(error)) from None

    @property
    def client(self) -> Client:
        """The service. Raises WrongUse, or NotConnected when nobody listens at its address."""
        if self._client is None:
            import httpx

            from holdfast_client import Client, Retries

            url, key = self.target
            attempt_s = min(ATTEMPT_S, self.patience_s or ATTEMPT_S)
            _knock(url, min(KNOCK_S, attempt_s))
            # A transport of our own: no proxy of the environment gets to see the key.
            self._client = Client(
                url,
                key,
                timeout_s=attempt_s,
                retries=Retries(deadline_s=self.patience_s),
                transport=httpx.HTTPTransport(),
            )
        return self._client

    @property
    def page_size(self) -> int:
        """Items to ask for at a time: no more than are shown, and one to know whether there are more."""
        return LARGEST_PAGE if self.limit is None else min(LARGEST_PAGE, self.limit + 1)

    def close(self) -> None:
        """Let the connections go."""
        if self._client is not None:
            self._client.close()

    def key_for(self, given: str | None) -> str:
        """The Idempotency-Key of this change: as given, else a new one. Kept, so that it can be told at the end."""
        self.idempotency_key = given or f"cli-{secrets.token_hex(12)}"
        return self.idempotency_key

    def tell_key(self) -> None:
        """Say with which key a change was made, so that it can be repeated without being made twice."""
        if self.output.for_people and self.idempotency_key:
            self.output.say(f"idempotency key {self.idempotency_key}")

    def agreed(self, question: str, yes: bool) -> None:
        """Return if the person agrees. Raises WrongUse when nobody can be asked, typer.Exit when the answer is no."""
        if yes:
            return
        if not sys.stdin.isatty():
            raise WrongUse(f"{question} Nobody can be asked here: give --yes to do it without asking")
        if not typer.confirm(question, err=True):
            self.output.say("nothing was changed")
            raise typer.Exit(REFUSED_BY_SERVICE)


def command_group(text: str) -> typer.Typer:
    """A group of sub-commands; alone it shows its help."""
    return typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode="markdown", help=text)


def service_command(
    app: typer.Typer, name: str | None = None, *, lists: bool = False, **more: Any
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make a function of a `Session` and its own parameters a command of `app`, with the options that all share.

    `lists`: with --limit, --all and --json-lines as well. `name` None: the callback of `app`, which runs when no
    sub-command is named.
    """

    def register(function: Callable[..., None]) -> Callable[..., None]:
        own = list(inspect.signature(function).parameters.values())[1:]
        hints = get_type_hints(function, include_extras=True)
        parameters = [parameter.replace(annotation=hints[parameter.name]) for parameter in own]
        shared: dict[str, tuple[Any, Any]] = {
            "url": (UrlOption, None),
            "key_file": (KeyFileOption, None),
            "data_dir": (DataDirOption, None),
            "as_json": (JsonOption, False),
        }
        if lists:
            shared |= {
                "as_lines": (JsonLinesOption, False),
                "limit": (LimitOption, DEFAULT_LIMIT),
                "everything": (AllOption, False),
            }
        parameters += [
            inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, annotation=kind, default=default)
            for key, (kind, default) in shared.items()
        ]
        if name is None:
            parameters.insert(0, inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context))
        parameters = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in parameters]

        def command(**given: Any) -> None:
            context = given.pop("context", None)
            values = {key: given.pop(key) for key in shared}
            if context is not None and context.invoked_subcommand is not None:
                return
            run(function, values, given)

        command.__name__ = function.__name__
        command.__doc__ = function.__doc__
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        if name is None:
            app.callback(invoke_without_command=True, **more)(command)
        else:
            app.command(name, **more)(command)
        return function

    return register


def run(function: Callable[..., None], shared: dict[str, Any], own: dict[str, Any]) -> None:
    """Run a command; every error that has something to tell a person is told, with its exit code."""
    from runtime.commands.failures import tell

    if shared["as_json"] and shared.get("as_lines"):
        _end(Output("table"), "give either --json or --json-lines")
    output = Output("json" if shared["as_json"] else "json-lines" if shared.get("as_lines") else "table")
    session = Session(
        output,
        shared["url"],
        shared["key_file"],
        shared["data_dir"],
        None if shared.get("everything") else shared.get("limit"),
    )
    try:
        function(session, **own)
        sys.stdout.flush()
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    except BrokenPipeError:
        # Whoever read our output has seen enough (`| head`); what is left of it goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(141) from None
    except Exception as error:
        code = tell(session, error)
        if code is None:
            raise
        raise typer.Exit(code) from None
    finally:
        session.close()


def _knock(url: str, timeout_s: float) -> None:
    from holdfast_client import NotConnected

    parts = urlsplit(url)
    try:
        port = parts.port or (443 if parts.scheme == "https" else 80)
        socket.create_connection((parts.hostname or "", port), timeout_s).close()
    except OSError as error:
        raise NotConnected(error.strerror or str(error) or type(error).__name__) from None
    except ValueError as error:
        raise WrongUse(f"not an address such as http://127.0.0.1:8000: {error}") from None


def _end(output: Output, text: str) -> NoReturn:
    output.say(f"holdfast: {text}", style="red")
    raise typer.Exit(WRONG_USE)


def _key(file: Path | None) -> str | None:
    """The API key that was named for this command, None if none was. Raises WrongUse."""
    if file is None:
        return os.environ.get(API_KEY) or os.environ.get(ADMIN_KEY)
    try:
        key = file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise WrongUse(
            f"the key file {file} cannot be read: {getattr(error, 'strerror', None) or 'not ASCII'}"
        ) from None
    if not key or not key.isprintable() or " " in key:
        raise WrongUse(f"the key file {file} should hold one API key and nothing else")
    return key
