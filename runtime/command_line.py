"""What every `holdfast` command shares: its settings, the running service it means, its errors in words.

Owns exit codes and how an error is told; never does a command's work.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import typer

from runtime.settings import Settings, load_settings, unknown_variables

FOUND_SOMETHING: Final = 1
"""Exit code: the command ran, and what it looked for is not in order."""
REFUSED_BY_SERVICE: Final = 1
"""Exit code: the service understood and said no, or a person did; nothing was changed."""
WRONG_USE: Final = 2
"""Exit code: the command can't do its work as it was given; the reason is on standard error."""
UNREACHABLE: Final = 3
"""Exit code: no answer, or none yet, from the service or its Redis and Postgres; the same command may work later."""


def load(**given: Any) -> Settings:
    """The settings, with what the command line gave; variables that are no setting are told. Raises SettingsInvalid."""
    settings = load_settings(**given)
    for name in unknown_variables(os.environ):
        typer.echo(f"warning: {name} is set, but there is no such setting", err=True)
    return settings


def running(settings: Settings) -> Settings:
    """`settings` with the URLs of the service that runs on their data directory, where they name none."""
    from runtime.data_folder import read_running_servers

    servers = read_running_servers(settings.data_folder)
    if servers is None:
        return settings
    urls = {name: getattr(servers, name) for name in ("redis_url", "database_url", "jobs_redis_url")}
    missing = {name: url for name, url in urls.items() if url is not None and getattr(settings, name) is None}
    return load_settings(**{name: getattr(settings, name) for name in settings.model_fields_set}, **missing)


@contextmanager
def told() -> Iterator[None]:
    """Errors with a message for people are told in one go, without a traceback, with exit code 2 (3: servers away)."""
    from runtime.refusals import AWAY, REFUSALS

    try:
        yield
    except REFUSALS as error:
        sys.stdout.flush()
        typer.echo(f"holdfast: {error}", err=True)
        raise typer.Exit(UNREACHABLE if isinstance(error, AWAY) else WRONG_USE) from None
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
