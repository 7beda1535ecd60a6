"""docs/cli.md: every command it shows is run, in its order, against a service, and what it says of codes is so."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from persistence.database_url import psycopg_url
from runtime import command_line
from tests.command_line.conftest import Holdfast, one_line
from tests.command_line.test_manners import COMMANDS
from tests.http.running import RunningService

PAGE = (Path(__file__).parents[2] / "docs" / "cli.md").read_text(encoding="utf-8")
SHOWN = [
    line
    for block in re.findall(r"^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    for line in block.splitlines()
    if line.startswith("holdfast ")
]
IDS = {
    "RESERVATION": r"\b[0-9a-f]{36}\b",
    "APPROVAL": r"\bapr_[0-9a-f]+",
    "IMPORT": r"\bimp_[0-9a-f]+",
    "WEBHOOK": r"\bwh_[0-9a-f]+",
    "KEY": r"\bkey_[0-9a-f]+",
    "DELIVERY": r"^delivery +(\d+)",
}
"""Word of the page -> what the command that makes such a thing prints. The last one counts."""
MAKERS = {"reserve": "RESERVATION", "adjust": "APPROVAL", "import": "IMPORT", "webhooks": "WEBHOOK", "keys": "KEY"}


@pytest.fixture
def waiting(service: RunningService, holdfast: Holdfast) -> Iterator[dict[str, str]]:
    """What a worker would have made: an alert, and an order event that could not be applied."""
    holdfast.done("products", "set", "ALERTED", "--name", "Alerted", "--initial-stock", 1)
    with psycopg.connect(psycopg_url(service.database_url), autocommit=True) as connection:
        alert = connection.execute(
            "INSERT INTO alerts (sku, kind, status, episode, available, threshold, raised_at, changed_at, partition,"
            " epoch, seq) VALUES ('ALERTED', 'LOW_STOCK', 'PENDING', 'open', 1, 5, now(), now(), 0, 1, 1) RETURNING id"
        ).fetchone()
        letter = connection.execute(
            "INSERT INTO order_dead_letters (stream, stream_id, order_id, body, code, detail)"
            " VALUES ('orders', '1-1', '4711', %s, 'unknown-order', 'late') RETURNING id",
            (b'{"type": "order.cancelled", "order_id": "4711", "reason": "paid twice"}',),
        ).fetchone()
        assert alert is not None
        assert letter is not None
        yield {"ALERT": str(alert[0]), "DEAD-LETTER": str(letter[0])}
        connection.execute("DELETE FROM order_dead_letters")


def test_every_command_of_the_page_runs(
    holdfast: Holdfast, waiting: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    known = dict(waiting)
    ran = 0
    for line in SHOWN:
        if "completion" in line:
            continue  # tests/command_line/test_manners.py
        words = shlex.split(line.replace("https://shop.example.com/hooks", "http://127.0.0.1:8089/hooks"))[1:]
        words = [known.get(word, word) for word in words]
        # Whoever asks for a large change must not be the one who decides about it.
        result = holdfast(*words, key="manager" if words[0] == "adjust" else "admin")
        allowed = {0, 1} if words == ["jobs"] else {0}
        assert result.exit_code in allowed, f"{line}\n{result.output}"
        assert words != ["jobs"] or "every 15 min" in result.stdout, result.stdout
        for name, pattern in IDS.items():
            if MAKERS.get(words[0]) == name or (name == "DELIVERY" and words[1:2] == ["test"]):
                found = re.search(pattern, result.stdout, re.MULTILINE)
                if found:
                    known[name] = found.group(found.lastindex or 0)
        ran += 1
    assert ran > 45
    assert (tmp_path / "stock.csv").read_text().startswith("sku,")


def test_every_command_stands_on_the_page() -> None:
    shown = {tuple(shlex.split(line)[1:]) for line in SHOWN}
    missing = [words for words in COMMANDS if not any(line[: len(words)] == words for line in shown)]
    assert missing == []


def test_the_codes_are_those_of_the_program() -> None:
    codes = {int(code): text for code, text in re.findall(r"^\| (\d+) \| (.*) \|$", PAGE, re.MULTILINE)}
    assert "said no" in codes[command_line.REFUSED_BY_SERVICE]
    assert "not in order" in codes[command_line.FOUND_SOMETHING]
    assert "wrong use" in codes[command_line.WRONG_USE]
    assert "cannot be reached" in codes[command_line.UNREACHABLE]
    assert set(codes) == {0, 1, 2, 3, 130}


def test_what_is_said_of_a_lost_end_is_what_it_says(holdfast: Holdfast) -> None:
    assert "It may have been carried out. To find out without doing it twice" in one_line(PAGE)
