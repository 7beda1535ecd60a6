"""The two commands as a person types them: `--embedded`, their exit codes, and that nothing is left behind."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
from pathlib import Path

import pytest

from runtime.replay.command import SAMPLE

HOLDFAST = [sys.executable, "-c", "import sys; from runtime.cli import main; sys.exit(main())"]


def run(*words: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("HOLDFAST_")}
    return subprocess.run(
        [*HOLDFAST, *map(str, words)],
        env=clean | environment,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def test_replay_embedded_plays_a_file_and_agrees(tmp_path: Path, server_folder: Path) -> None:
    lines = gzip.decompress(SAMPLE.read_bytes()).decode().splitlines(keepends=True)[:150]
    (tmp_path / "orders.csv").write_text("".join(lines), encoding="utf-8")
    done = run("replay", "--embedded", tmp_path / "orders.csv", TMPDIR=str(server_folder))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Agreement" in done.stdout
    assert not list(server_folder.iterdir())


def test_loadtest_embedded_sells_out_and_writes_its_report(tmp_path: Path, server_folder: Path) -> None:
    sale = ("--buyers", "120", "--units", "40", "--rate", "200", "--ttl", "1", "--think", "0.2", "--seed", "3")
    done = run("loadtest", "--embedded", *sale, "--html", tmp_path / "report.html", TMPDIR=str(server_folder))
    assert done.returncode == 0, done.stdout + done.stderr
    for word in ("seed 3", "p99.9", "generator late", "oversold", "kept"):
        assert word in done.stdout
    assert "every promise kept" in (tmp_path / "report.html").read_text()
    assert not list(server_folder.iterdir())


@pytest.mark.parametrize("command", ["replay", "loadtest"])
@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--url", "http://127.0.0.1:9"], "two keys are needed"),
        (["--url", "ftp://127.0.0.1:9"], "not an address"),
        (["--embedded", "--url", "http://127.0.0.1:9"], "--embedded runs a service of its own"),
        (["--url", "http://127.0.0.1:9", "--admin-key", "a" * 24, "--storefront-key", "b" * 24], "cannot be reached"),
    ],
)
def test_what_cannot_be_done_is_told_with_exit_code_2(command: str, words: list[str], why: str, tmp_path: Path) -> None:
    done = run(command, *words, HOLDFAST_DATA_DIR=str(tmp_path))
    assert done.returncode == 2, done.stdout + done.stderr
    assert why in " ".join((done.stdout + done.stderr).split())
    assert "Traceback" not in done.stderr
    assert "a" * 24 not in done.stdout + done.stderr


def test_replay_refuses_what_is_no_order_file(tmp_path: Path) -> None:
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    done = run("replay", "--embedded", tmp_path / "other.csv")
    assert done.returncode == 2
    assert "names no column" in done.stdout
