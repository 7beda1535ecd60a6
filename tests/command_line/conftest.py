"""One service for all of these tests (each uses SKUs of its own), and the command line on it.

`holdfast(words..., key="operator")` runs a command in this process and gives its result; `people(words...)` the same on
what looks like a terminal.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner, Result

from api.services import ApiSettings
from inventory.context import InventorySettings
from inventory.rules import WebhookRules
from runtime.cli import app
from runtime.embedded_postgres import EmbeddedPostgres
from runtime.embedded_redis import EmbeddedRedis
from tests.http.running import KEYS, RunningService

_numbers = itertools.count(1)
LEDGER_TIMEOUT_S = 15.0
NO_SETTINGS = {"HOLDFAST_URL", "HOLDFAST_API_KEY", "HOLDFAST_ADMIN_KEY"}


@pytest.fixture(scope="session")
def service(
    session_folder: Path, postgres_server: EmbeddedPostgres, _template_database: str
) -> Iterator[RunningService]:
    server = EmbeddedRedis(session_folder / "command-line-redis")
    server.start()
    name = "command_line_tests"
    postgres_server.create_database(name, template=_template_database)
    running = RunningService(
        server.url,
        postgres_server.database_url(name),
        ApiSettings(ledger_timeout_s=LEDGER_TIMEOUT_S),
        None,
        InventorySettings(ledger_timeout_s=LEDGER_TIMEOUT_S, webhooks=WebhookRules(allow_private=True)),
    ).start()
    yield running
    running.stop()
    server.stop()
    postgres_server.drop_database(name)


class Holdfast:
    """The command line, as somebody who has the key of a role types it."""

    def __init__(self, url: str, data_dir: Path) -> None:
        self.url = url
        self._data_dir = data_dir

    def __call__(self, *words: object, key: str = "operator", typed: str | None = None, **more: str | None) -> Result:
        environment: dict[str, str | None] = dict.fromkeys(NO_SETTINGS)
        environment |= {
            "HOLDFAST_URL": self.url,
            "HOLDFAST_API_KEY": KEYS[key],
            "HOLDFAST_DATA_DIR": str(self._data_dir),
            "COLUMNS": None,
        }
        return CliRunner().invoke(app, [str(word) for word in words], env=environment | more, input=typed)

    def done(self, *words: object, key: str = "operator", **more: str | None) -> str:
        """What it prints; it must go well."""
        result = self(*words, key=key, **more)
        assert result.exit_code == 0, result.output
        return result.stdout

    def json(self, *words: object, key: str = "operator") -> Any:
        """Its JSON document; it must go well."""
        return json.loads(self.done(*words, "--json", key=key))

    def sku(self, stock: int = 10, **settings: object) -> str:
        """A product of this test alone."""
        sku = f"C-{next(_numbers)}"
        options = [word for name, value in settings.items() for word in (f"--{name.replace('_', '-')}", value)]
        self.done("products", "set", sku, "--name", f"Thing {sku}", "--initial-stock", stock, *options)
        return sku


@pytest.fixture
def holdfast(service: RunningService, tmp_path: Path) -> Holdfast:
    return Holdfast(service.address("protocol"), tmp_path / "data")


@pytest.fixture
def ask(service: RunningService) -> Iterator[Callable[..., Any]]:
    """`ask("GET", path)`: what the service itself says, as the admin."""
    headers = {"authorization": f"Bearer {KEYS['admin']}"}
    with httpx.Client(base_url=service.address("protocol"), headers=headers, trust_env=False, timeout=30) as client:

        def asked(method: str, path: str, **more: Any) -> Any:
            answer = client.request(method, path, **more)
            assert answer.is_success, answer.text
            return answer.json() if answer.content else None

        yield asked


def one_line(text: str) -> str:
    """Words as they follow each other, wherever lines were broken."""
    return " ".join(text.split())
