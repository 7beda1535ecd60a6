"""When the service is not what it should be: exit code 3, and how to find out without doing anything twice."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from rich.console import Console

from inventory.context import InventorySettings
from runtime import store
from runtime.commands import session as sessions
from runtime.commands.output import Output
from runtime.commands.session import Session
from runtime.commands.top import Watch
from runtime.commands.top_view import view
from tests.command_line.conftest import Holdfast, one_line
from tests.http.running import KEYS, RunningService


class Sick:
    """A service that answers as it is told, and remembers with which idempotency keys it was asked."""

    def __init__(self) -> None:
        self.status = 503
        self.code = "store-unavailable"
        self.cut = False
        self.keys: list[str | None] = []
        sick = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("content-length", 0)))
                sick.keys.append(self.headers.get("idempotency-key"))
                if sick.cut:
                    self.close_connection = True
                    return
                document = {"type": "x", "title": "Not now", "status": sick.status, "detail": "d", "code": sick.code}
                body = json.dumps(document).encode()
                self.send_response(sick.status)
                self.send_header("Content-Type", "application/problem+json")
                self.send_header("Content-Length", str(len(body)))
                self.send_header("X-Request-Id", "req-17")
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST  # noqa: N815 - names of the standard library

            def log_message(self, *_: object) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def sick(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sick]:
    monkeypatch.setattr(sessions, "PATIENCE_S", 0)  # one attempt; what repeats has time of its own
    server = Sick()
    yield server
    server.server.shutdown()
    server.server.server_close()


RECEIVE = ("adjust", "receive", "MUG", 5, "-r", "delivery")


def test_a_cut_connection_tells_the_key_and_every_attempt_had_it(
    holdfast: Holdfast, sick: Sick, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "PATIENCE_S", 3.0)
    sick.cut = True
    result = holdfast(*RECEIVE, "--url", sick.url)
    assert (result.exit_code, result.stdout) == (3, "")
    (key,) = set(sick.keys)
    assert len(sick.keys) > 1
    assert f"again with --idempotency-key {key}" in one_line(result.stderr)


@pytest.mark.parametrize("code", ["outcome-unknown", "durability-unknown"])
def test_an_unknown_outcome_tells_the_key(holdfast: Holdfast, sick: Sick, code: str) -> None:
    sick.code = code
    result = holdfast(*RECEIVE, "--url", sick.url, "--idempotency-key", "delivery-17")
    assert result.exit_code == 3
    assert set(sick.keys) == {"delivery-17"}
    assert "again with --idempotency-key delivery-17" in one_line(result.stderr)
    told = holdfast(*RECEIVE, "--url", sick.url, "--json")
    assert json.loads(told.stderr)["idempotency_key"] == sick.keys[-1]


def test_an_unavailable_store_is_not_a_refusal(holdfast: Holdfast, sick: Sick) -> None:
    result = holdfast("stock", "MUG", "--url", sick.url)
    assert result.exit_code == 3
    assert "store-unavailable" in result.stderr


def test_a_mistake_of_the_service_names_the_request(holdfast: Holdfast, sick: Sick) -> None:
    sick.status, sick.code = 500, "internal-error"
    result = holdfast("stock", "MUG", "--url", sick.url)
    assert result.exit_code == 3
    assert "req-17" in result.stderr


def test_top_goes_on_when_the_service_does_not(
    redis_url: str, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOLDFAST_API_KEY", KEYS["auditor"])
    running = RunningService(redis_url, database_url, None, None, InventorySettings()).start()
    session = Session(Output("table"), running.address("protocol"), None, tmp_path)
    session.patience_s = 0
    try:
        watch = Watch(session)
        watch.look()
        assert watch.trouble is None
        seen = watch.glance
    finally:
        running.stop()
    watch.look()
    assert watch.trouble is not None
    assert watch.glance is seen
    console = Console(width=80, height=24, file=io.StringIO())
    with console.capture() as drawn:
        console.print(view(seen, "http://here", live=True, trouble=watch.trouble))
    assert "no answer, as seen" in drawn.get()
    session.close()


def test_keys_on_the_server_itself(
    holdfast: Holdfast, database_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "REACH_WITHIN_S", 0.5)
    here: dict[str, str | None] = {
        "HOLDFAST_URL": None, "HOLDFAST_API_KEY": None, "HOLDFAST_DATABASE_URL": database_url,
        "HOLDFAST_REDIS_URL": redis_url,
    }  # fmt: skip
    made = json.loads(holdfast.done("keys", "create", "warehouse", "operator", "--json", **here))
    assert made["role"] == "operator"
    listed = json.loads(holdfast.done("keys", "list", "--json", **here))["items"]
    assert [(one["id"], one["name"]) for one in listed] == [(made["id"], "warehouse")]
    assert made["key"] not in holdfast.done("keys", "list", **here)
    assert "hash" not in json.dumps(listed)
    assert "is revoked" in holdfast.done("keys", "revoke", made["id"], **here)
    assert holdfast("keys", "revoke", "key_none", **here).exit_code == 1
    assert holdfast("keys", "create", "x", "king", **here).exit_code == 2
    away = here | {"HOLDFAST_DATABASE_URL": "postgresql://nobody@127.0.0.1:9/none"}
    result = holdfast("keys", "list", **away)
    assert result.exit_code == 3, result.output
    assert "Traceback" not in result.output


def test_jobs_from_elsewhere(holdfast: Holdfast) -> None:
    result = holdfast("jobs", "--json", key="auditor")
    found = json.loads(result.stdout)
    assert {job["name"] for job in found["items"]} >= {"holds.leftover", "records.forget"}
    unhealthy = any(job["health"] in {"failed", "killed", "lost", "overdue"} for job in found["items"])
    assert result.exit_code == (1 if unhealthy or not found["queue_reachable"] else 0)
    assert "holds.leftover" in holdfast("jobs", key="auditor").stdout
    assert holdfast("jobs", key="storefront").exit_code == 1
