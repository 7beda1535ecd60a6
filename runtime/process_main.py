"""`python -m runtime.process_main api|worker|jobs`: what a child of the supervisor runs. Not for people; see cli.py.

Owns the command line between parent and child and the last line of a failed start; never decides about restarts.
"""

from __future__ import annotations

import argparse
import os
import socket
import sys
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

import structlog

from engine.errors import HoldfastError
from persistence.database import DatabaseUnavailable
from runtime.config_audit import ConfigurationRefused
from runtime.logs import configure_logs
from runtime.settings import Settings, SettingsInvalid, load_settings
from runtime.store import SchemaDiffers, StoreUnreachable

REFUSED: Final = 1
BROKEN: Final = 70


def main() -> int:
    """Run one process; its exit code. The reason for a failed start is the last line of its log."""
    parser = argparse.ArgumentParser(prog="runtime.process_main")
    parser.add_argument("role", choices=["api", "worker", "jobs"])
    parser.add_argument("--name", required=True)
    parser.add_argument("--ready-fd", type=int, required=True)
    parser.add_argument("--listen-fd", type=int)
    parser.add_argument("--metrics-dir", type=Path)
    given = parser.parse_args()
    try:
        settings = load_settings()
    except SettingsInvalid as error:
        sys.stderr.write(f"{error}\n")
        return REFUSED
    configure_logs(given.name, level=settings.log_level, form=settings.log_format, secrets=secrets_of(settings))

    def ready() -> None:
        os.write(given.ready_fd, b"1")
        os.close(given.ready_fd)

    counters = None if given.metrics_dir is None else given.metrics_dir / given.name
    try:
        # Imported here, so that a bad setting is told at once and not after all frameworks are loaded.
        from runtime.wiring import quiet_signals, run_api, run_jobs, run_worker  # noqa: PLC0415

        quiet_signals()
        if given.role == "worker":
            run_worker(settings, ready, counters)
        elif given.role == "jobs":
            run_jobs(settings, ready)
        else:
            run_api(settings, socket.socket(fileno=given.listen_fd), ready, counters)
    except (
        SettingsInvalid,
        StoreUnreachable,
        SchemaDiffers,
        ConfigurationRefused,
        DatabaseUnavailable,
        HoldfastError,
    ) as refused:
        structlog.stdlib.get_logger("holdfast.runtime").error("not started", reason=str(refused))
        return REFUSED
    except Exception:  # noqa: BLE001 - a bug must go through the log, where secrets are taken out
        structlog.stdlib.get_logger("holdfast.runtime").exception("ended by an error")
        return BROKEN
    return 0


def secrets_of(settings: Settings) -> list[str]:
    """The values that must never be in a log line."""
    keys = [settings.admin_key, settings.storefront_key]
    known = [key.get_secret_value() for key in keys if key is not None]
    urls = (settings.redis_url, settings.database_url, settings.jobs_redis_url, settings.orders_redis_url,
            settings.smtp_url)  # fmt: skip
    for url in urls:
        if url is not None:
            parts = urlsplit(url.get_secret_value())
            in_query = [value for name, value in parse_qsl(parts.query) if name.lower() == "password"]
            for password in [parts.password or "", *in_query]:
                known += [password, unquote(password)]
    return known


if __name__ == "__main__":
    sys.exit(main())
