"""What every command of the shop has in common: exit codes, forms, keys, terminals, and what it says when it can't."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from api.problems import KINDS
from runtime.cli import app
from runtime.command_index import ELSEWHERE, OVER_HTTP
from runtime.commands.arguments import read_moment
from runtime.commands.failures import NEXT
from runtime.commands.output import Column, Output
from runtime.commands.session import WrongUse
from tests.command_line.conftest import Holdfast, one_line
from tests.http.running import KEYS, RunningService

HOLDFAST = [sys.executable, "-c", "import sys; from runtime.cli import main; sys.exit(main())"]
ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def shop_commands() -> dict[tuple[str, ...], typer.core.TyperCommand]:
    """Every command that asks a service: its words, and the command."""
    found: dict[tuple[str, ...], typer.core.TyperCommand] = {}

    def walk(command: object, words: tuple[str, ...]) -> None:
        inner = getattr(command, "commands", None)
        if inner is None:
            found[words] = command  # type: ignore[assignment]
        for name, one in (inner or {}).items():
            walk(one, (*words, name))

    root = typer.main.get_command(app)
    context = typer.Context(root)
    for name, elsewhere in ELSEWHERE.items():
        if elsewhere.heading == OVER_HTTP:
            walk(root.get_command(context, name), (name,))  # type: ignore[attr-defined]
    return found


COMMANDS = shop_commands()


def test_there_are_commands_for_every_task() -> None:
    names = {words[0] for words in COMMANDS}
    assert names >= {
        "products", "stock", "reserve", "reservations", "orders", "adjust", "approvals", "transactions", "alerts",
        "webhooks", "top",
    }  # fmt: skip
    assert len(COMMANDS) > 30


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_each_teaches_by_an_example_and_gives_json(words: tuple[str, ...]) -> None:
    command = COMMANDS[words]
    assert f"Example: `holdfast {' '.join(words)}" in (command.help or "")
    options = {option for parameter in command.params for option in parameter.opts}
    assert options >= {"--json", "--url", "--key-file", "--data-dir"}
    assert ("--all" in options) == ("--limit" in options) == ("--json-lines" in options)
    shown = CliRunner().invoke(app, [*words, "--help"])
    assert shown.exit_code == 0
    assert "Example:" in shown.stdout


def test_help_lists_every_command() -> None:
    shown = CliRunner().invoke(app, ["--help"])
    assert shown.exit_code == 0
    for name in ("up", "audit", "products", "top", "webhooks", "--install-completion"):
        assert name in shown.stdout


@pytest.mark.parametrize("name", ELSEWHERE)
def test_the_index_says_what_the_command_says(name: str) -> None:
    root = typer.main.get_command(app)
    command = root.get_command(typer.Context(root), name)  # type: ignore[attr-defined]
    assert one_line((command.help or "").split("\n\n")[0]) == ELSEWHERE[name].text


def test_help_and_completion_load_no_command() -> None:
    look = (
        "import sys; from typer.testing import CliRunner; from runtime.cli import app; run = CliRunner().invoke;"
        "assert 'webhooks' in run(app, ['--help']).stdout;"
        "words = {'_HOLDFAST_COMPLETE': 'complete_bash', 'COMP_WORDS': 'holdfast ', 'COMP_CWORD': '1'};"
        "assert 'webhooks' in run(app, [], prog_name='holdfast', env=words).stdout;"
        "print([name for name in sys.modules if name.startswith(('sqlalchemy', 'runtime.commands.', 'runtime.audit'))])"
    )
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


def test_hints_are_for_problems_that_exist() -> None:
    assert set(NEXT) <= set(KINDS)


def test_forms(holdfast: Holdfast) -> None:
    skus = [holdfast.sku(1), holdfast.sku(2)]
    document = json.loads(holdfast.done("stock", *skus, "--json"))
    assert [one["on_hand"] for one in document["items"]] == [1, 2]
    lines = holdfast.done("stock", *skus, "--json-lines").splitlines()
    assert [json.loads(line)["sku"] for line in lines] == skus
    both = holdfast("stock", *skus, "--json-lines", "--json")
    assert both.exit_code == 2
    assert "either" in both.stderr


def test_a_refusal_in_json_is_the_problem_document_on_standard_error(holdfast: Holdfast) -> None:
    result = holdfast("products", "show", "NO-SUCH-SKU", "--json")
    assert (result.exit_code, result.stdout) == (1, "")
    problem = json.loads(result.stderr)
    assert (problem["code"], problem["status"], problem["skus"]) == ("unknown-sku", 404, ["NO-SUCH-SKU"])


def test_wrong_use_in_json_is_told_in_json(holdfast: Holdfast) -> None:
    result = holdfast("reserve", "MUG=x", "--customer", "ann", "--json", key="storefront")
    assert (result.exit_code, result.stdout) == (2, "")
    assert json.loads(result.stderr)["code"] == "wrong-use"


@pytest.mark.parametrize(
    "text", ["99999999999d", "9999999d", "9" * 5000 + "h", "0001-01-01T00:00+23:00", "yesterday", "", "d"]
)
def test_times_that_are_none(text: str) -> None:
    with pytest.raises(WrongUse, match="is no time"):
        read_moment(text, "since")


def test_nobody_there(holdfast: Holdfast, free_port: int) -> None:
    nowhere = f"http://127.0.0.1:{free_port}"
    result = holdfast("stock", "MUG", "--url", nowhere)
    assert (result.exit_code, result.stdout) == (3, "")
    assert f"{nowhere} cannot be reached" in one_line(result.stderr)
    assert "holdfast up" in result.stderr
    told = holdfast("stock", "MUG", "--json", "--url", nowhere)
    assert told.exit_code == 3
    assert json.loads(told.stderr)["code"] == "unreachable"


def test_something_else_there(holdfast: Holdfast, talker: str) -> None:
    result = holdfast("stock", "MUG", "--url", talker)
    assert result.exit_code == 3
    assert "is no Holdfast" in one_line(result.stderr)


@pytest.mark.parametrize("url", ["ftp://shop", "http://", "shop:8000", "http://shop:99999"])
def test_no_address(holdfast: Holdfast, url: str) -> None:
    result = holdfast("stock", "--url", url)
    assert result.exit_code in {2, 3}
    assert "Traceback" not in result.stderr


def test_a_key_that_is_missing_wrong_or_too_weak(holdfast: Holdfast) -> None:
    missing = holdfast("stock", HOLDFAST_API_KEY=None)
    assert missing.exit_code == 2
    assert "HOLDFAST_API_KEY" in missing.stderr
    wrong = holdfast("stock", HOLDFAST_API_KEY="not-a-key-of-this-service-0123")
    assert wrong.exit_code == 1
    assert "unauthenticated" in wrong.stderr
    assert "--key-file" in wrong.stderr
    weak = holdfast("adjust", "receive", "MUG", 1, "-r", "delivery", key="auditor")
    assert weak.exit_code == 1
    assert "forbidden" in weak.stderr
    assert "operator" in weak.stderr


def test_a_key_file(holdfast: Holdfast, tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(KEYS["auditor"] + "\n")
    assert holdfast("products", "list", "--key-file", file, HOLDFAST_API_KEY=None).exit_code == 0
    # What was named on the command line counts, not the environment.
    assert holdfast("products", "set", "X", "--name", "X", "--key-file", file).exit_code == 1
    for content in ("", "two words", "caf\u00e9-key-0123456789012345"):
        file.write_text(content, encoding="utf-8")
        result = holdfast("products", "list", "--key-file", file)
        assert result.exit_code == 2
        assert str(file) in one_line(result.stderr).replace(" ", "") or file.name in result.stderr
    assert holdfast("products", "list", "--key-file", tmp_path / "none").exit_code == 2


def test_no_command_shows_the_key(holdfast: Holdfast, free_port: int) -> None:
    for words in (
        ("stock",),
        ("stock", "--json"),
        ("stock", "--url", f"http://127.0.0.1:{free_port}"),
        ("products", "show", "NONE"),
    ):
        result = holdfast(*words, key="admin")
        assert KEYS["admin"] not in result.output


def test_other_peoples_text_gives_the_terminal_no_commands(holdfast: Holdfast) -> None:
    sku = holdfast.sku(1)
    holdfast.done("products", "set", sku, "--name", "[red]Mug[/red] \u202egum :cup:")
    shown = holdfast.done("products", "show", sku)
    assert "[red]Mug[/red]" in shown
    assert "\u202e" not in shown
    assert ":cup:" in shown


@pytest.mark.parametrize("width", [40, 80, 100])
def test_no_line_is_wider_than_the_terminal(holdfast: Holdfast, width: int) -> None:
    sku = holdfast.sku(1000)
    holdfast.done("products", "set", sku, "--name", "A name that is as long as names of products are " * 2)
    holdfast.done("adjust", "receive", sku, 5, "-r", "a reason that takes some room on a line " * 3)
    for words in (("products", "list", "--search", sku), ("stock", sku), ("transactions", sku)):
        lines = holdfast.done(*words, COLUMNS=str(width)).splitlines()
        assert lines[0].split()[0] in {"sku", "at"}
        assert max(len(line) for line in lines) <= width, words
        assert sku in "".join(line.strip() for line in lines) or width == 40
    # In a file nothing is cut, folded or left out.
    assert "a reason that takes some room on a line a reason" in holdfast.done("transactions", sku).splitlines()[1]


def test_a_reader_that_has_seen_enough(holdfast: Holdfast, service: RunningService) -> None:
    for number in range(3):
        holdfast.done("products", "set", f"HEAD-{number}", "--name", "x")
    environment = {"HOLDFAST_URL": service.address("protocol"), "HOLDFAST_API_KEY": KEYS["auditor"]}
    command = subprocess.list2cmdline([*HOLDFAST, "products", "list", "--json-lines", "--all"])
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command} | true"],
        env=os.environ | environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    assert "BrokenPipe" not in done.stderr


def test_a_person_is_asked_and_may_say_no(holdfast: Holdfast, service: RunningService) -> None:
    sku = holdfast.sku(5)
    hold = holdfast.json("reserve", sku, "--customer", "ann", key="storefront")["id"]
    environment = {"HOLDFAST_URL": service.address("protocol"), "HOLDFAST_API_KEY": KEYS["storefront"]}
    code, shown = at_a_terminal(["reservations", "release", hold], environment, [("Release this hold?", b"n\n")])
    assert code == 1
    assert "nothing was changed" in shown
    assert holdfast.json("reservations", "show", hold)["status"] == "ACTIVE"
    code, shown = at_a_terminal(["reservations", "release", hold], environment, [("Release this hold?", b"y\n")])
    assert code == 0
    assert "CANCELLED" in shown


def test_top_stays_on_80_by_24_and_leaves_with_q(holdfast: Holdfast, service: RunningService) -> None:
    sku = holdfast.sku(5)
    hold = holdfast.json("reserve", f"{sku}=4", "--customer", "ann", key="storefront")["id"]
    holdfast.done("reservations", "confirm", hold, "--order", f"top-{sku}", key="storefront")
    environment = {"HOLDFAST_URL": service.address("protocol"), "HOLDFAST_API_KEY": KEYS["auditor"]}
    code, shown = at_a_terminal(["top", "--interval", "0.2"], environment, [(sku, b""), ("holds/s", b"q")])
    assert code == 0
    assert "\x1b[?1049h" in shown
    assert shown.rstrip().endswith("\x1b[?25h") or "\x1b[?1049l" in shown
    text = ANSI.sub("", shown)
    for word in ("reserve/s", "p99", "journal lag", "end in 5 min", "ready", "q leaves", "sold in a minute"):
        assert word in text
    for frame in shown.split("\x1b[H"):
        lines = ANSI.sub("", frame).splitlines()
        assert len(lines) <= 24
        assert max((len(line) for line in lines), default=0) <= 80


def test_top_once(holdfast: Holdfast, wait_until: Callable[..., None]) -> None:
    sku = holdfast.sku(9)
    hold = holdfast.json("reserve", f"{sku}=7", "--customer", "ann", key="storefront")["id"]
    holdfast.done("reservations", "confirm", hold, "--order", f"once-{sku}", key="storefront")
    wait_until(lambda: holdfast.json("transactions", sku, "--type", "OUT")["items"], 30, "the ledger has the sale")
    seen = holdfast.json("top", "--once", key="auditor")
    assert {"sku": sku, "units": 7, "per_minute": 7.0} in seen["busiest"]
    assert seen["pulse"]["health"]["redis"] == "ok"
    assert {"reserves", "confirms", "rejections"} <= set(seen["pulse"]["rates"])
    shown = holdfast.done("top", key="auditor")  # no terminal: once
    assert "journal lag" in shown
    assert "\x1b" not in shown
    assert holdfast("top", "--once", key="storefront").exit_code == 1


def test_completion_scripts(tmp_path: Path) -> None:
    for shell in ("bash", "zsh", "fish"):
        done = subprocess.run(
            [*HOLDFAST, "--show-completion", shell],
            env=os.environ | {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"},
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert "COMPLETE" in done.stdout
        if shell == "bash":
            (tmp_path / "completion.bash").write_text(done.stdout)
            subprocess.run(["bash", "-n", tmp_path / "completion.bash"], check=True, timeout=30)


def completed(words: str, environment: dict[str, str | None]) -> list[str]:
    more = {"_HOLDFAST_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split(" ")) - 1)}
    result = CliRunner().invoke(app, [], prog_name="holdfast", env=environment | more)
    return result.stdout.split()


def test_the_shell_completes_commands_and_skus(holdfast: Holdfast, service: RunningService, free_port: int) -> None:
    for number in range(3):
        holdfast.done("products", "set", f"SHELF-{number}", "--name", "Completed")
    holdfast.done("products", "set", "TOP-SHELF-0", "--name", "Does not begin so")
    environment: dict[str, str | None] = {
        "HOLDFAST_URL": service.address("protocol"),
        "HOLDFAST_API_KEY": KEYS["auditor"],
    }
    assert set(completed("holdfast re", environment)) >= {"reserve", "reservations", "replay"}
    assert "receive" in completed("holdfast adjust re", environment)
    assert completed("holdfast stock SHELF-", environment) == ["SHELF-0", "SHELF-1", "SHELF-2"]
    assert completed("holdfast adjust receive SHELF-1", environment) == ["SHELF-1"]
    nobody = environment | {"HOLDFAST_URL": f"http://127.0.0.1:{free_port}"}
    assert completed("holdfast stock SHELF-", nobody) == []


def at_a_terminal(words: list[str], environment: dict[str, str], typed: list[tuple[str, bytes]]) -> tuple[int, str]:
    """Run a command on a terminal of 80 by 24; what to type once something is seen. Gives its code and its output."""
    leader, follower = pty.openpty()
    environment = os.environ | environment | {"TERM": "xterm-256color", "COLUMNS": "80", "LINES": "24"}
    with subprocess.Popen([*HOLDFAST, *words], stdin=follower, stdout=follower, stderr=follower, env=environment,
                          start_new_session=True) as process:  # fmt: skip
        os.close(follower)
        seen = b""
        left = list(typed)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            while left and left[0][0].encode() in seen:
                os.write(leader, left.pop(0)[1])
            if select.select([leader], [], [], 0.2)[0]:
                try:
                    piece = os.read(leader, 65536)
                except OSError:  # the other side is closed
                    break
                if not piece:
                    break
                seen += piece
        else:
            process.kill()
            raise AssertionError(f"it did not end; still waiting for {left}: {seen[-2000:]!r}")
        code = process.wait(30)
    os.close(leader)
    assert not left, f"never seen: {left}: {seen[-2000:]!r}"
    return code, seen.decode(errors="replace")


@pytest.fixture
def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port: int = listening.getsockname()[1]
        return port


@pytest.fixture
def talker() -> Iterator[str]:
    """A server that is none of ours."""
    import threading
    from http.server import BaseHTTPRequestHandler, HTTPServer

    class Other(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(404)
            self.send_header("Content-Length", "5")
            self.end_headers()
            self.wfile.write(b"hello")

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Other)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_what_does_not_fit_is_folded_never_cut(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "24")
    ids = [f"{number}".rjust(36, "0") for number in range(3)]
    columns: list[Column[str]] = [
        Column("id", lambda one: one),
        Column("n", lambda one: one[-1]),
        Column("spare", lambda one: "left out", spare=True),
    ]
    Output("table").rows(ids, columns, limit=None, empty="")
    lines = capsys.readouterr().out.splitlines()
    assert all(len(line) <= 24 for line in lines)
    assert "spare" not in lines[0]
    assert "".join(line.split()[0] for line in lines[1:]) == "".join(ids)
