"""One process that tries mutants: a pytest session collected once, with its own server, forked for each mutant.

Owns how a mutant gets in front of the script tests and how it is seen to fail; never chooses mutants. Started by
tests/mutants/run.py with two pipes: requests come in, outcomes go out, both one line of JSON each.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import select
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NoReturn, TextIO

import msgspec
import pytest
import redis
from _pytest.runner import runtestprotocol

import lua
from engine import scripts
from runtime.embedded_redis import EmbeddedRedis
from tests.mutants.outcomes import Outcome, Request
from tests.scripts.machine import Machine

TESTS: Final = Path(__file__).parents[1] / "scripts"
NOT_RUN: Final = ("test_contract.py", "test_lua_lint.py")
"""They look at the text of the sources: a mutant must be caught by what it does."""
SILENCE_S: Final = 60
"""A mutant that finishes no test for so long has made the script run for ever."""
LONG_SCRIPT_MS: Final = 1_000
PATIENCE_S: Final = 15
"""How long a server may take to come free of a script that was stopped."""
FAMOUS: Final = 12
"""Tests that caught mutants of the same file before go first, at most so many."""


class Worker:
    """The pytest plugin that replaces the loop over tests."""

    def __init__(self, requests: TextIO, outcomes: TextIO) -> None:
        self._requests = requests
        self._outcomes = outcomes
        self._folder = Path(tempfile.mkdtemp(prefix="holdfast-mutants-")) / "lua"
        self._killers: dict[str, Counter[str]] = {}
        self._server: EmbeddedRedis | None = None
        self._verbs: dict[str, frozenset[str]] = {}

    @pytest.fixture(scope="session", autouse=True)
    def _remember_server(self, redis_server: EmbeddedRedis) -> None:
        self._server = redis_server

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        items = [item for item in session.items if item.path.name not in NOT_RUN]
        # Starts the servers of the session, which every fork inherits.
        self._look_at_verbs(items)
        # What is here stays: a fork that looked through all of it for garbage would copy all of it.
        gc.freeze()
        assert self._server is not None
        with self._server.client() as client:
            client.config_set("busy-reply-threshold", LONG_SCRIPT_MS)
            shutil.copytree(lua.FOLDER, self._folder)
            for line in self._requests:
                request = Request(**json.loads(line))
                outcome = self._try(request, items, client)
                print(json.dumps(outcome.__dict__), file=self._outcomes, flush=True)
                if not _is_free(client):
                    # Only another process and another server help now; the runner starts both.
                    break
        shutil.rmtree(self._folder.parent, ignore_errors=True)
        return True

    def _look_at_verbs(self, items: list[pytest.Item]) -> None:
        """Run every test once, as it is, and note which verbs it sends."""
        sent: set[str] = set()
        send = Machine.send

        def noting(machine: Machine, commands: bytes, bases: Sequence[str]) -> bytes | None:
            decoded: Any = msgspec.msgpack.decode(commands)
            sent.update(str(command[0]) for command in decoded if isinstance(command, list) and command)
            return send(machine, commands, bases)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Machine, "send", noting)
            # The last one leaves the session standing for the forks.
            for item, following in zip(items, [*items[1:], items[0]], strict=True):
                sent.clear()
                if any(report.failed for report in runtestprotocol(item, nextitem=following, log=False)):
                    raise RuntimeError(f"{item.nodeid} fails without any mutant")
                self._verbs[item.nodeid] = frozenset(sent)
                item._initrequest()  # type: ignore[attr-defined]

    def _try(self, request: Request, items: list[pytest.Item], client: redis.Redis) -> Outcome:
        file = self._folder / request.file
        original = file.read_text(encoding="utf-8")
        file.write_text(request.text, encoding="utf-8")
        try:
            script = scripts.compose(self._folder)
            try:
                client.script_load(script.source)
            except redis.ResponseError as error:
                return Outcome(request.name, "does not load", str(error))
            return self._fork(request, self._ordered(request, items))
        finally:
            file.write_text(original, encoding="utf-8")

    def _fork(self, request: Request, items: list[pytest.Item]) -> Outcome:
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            self._run(items, writing)
        os.close(writing)
        said = ""
        while True:
            ready, _, _ = select.select([reading], [], [], SILENCE_S)
            part = os.read(reading, 65536).decode() if ready else ""
            said += part
            if not part:
                break
        os.close(reading)
        if not ready:
            os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        lines = said.splitlines()
        if not ready:
            return Outcome(request.name, "killed", f"no end after {lines[-1] if lines else 'the start'}")
        if lines and lines[-1].startswith("failed "):
            test = lines[-1].removeprefix("failed ")
            self._killers.setdefault(request.file, Counter())[test] += 1
            return Outcome(request.name, "killed", test)
        if lines and lines[-1] == "all passed":
            return Outcome(request.name, "survived", f"{len(lines) - 1} tests")
        return Outcome(request.name, "broken", "the test process died: " + " ".join(lines[-1:]))

    def _run(self, items: list[pytest.Item], writing: int) -> NoReturn:
        """In the fork: run tests in order until one fails, a line for each, and leave without any tidying up."""
        with os.fdopen(writing, "w", buffering=1) as out:
            scripts.compose.__defaults__ = (self._folder, scripts.APPLY)
            lua.FOLDER = self._folder  # type: ignore[misc]
            for item, following in zip(items, [*items[1:], None], strict=True):
                reports = runtestprotocol(item, nextitem=following or item, log=False)
                if any(report.failed for report in reports):
                    print(f"failed {item.nodeid}", file=out)
                    break
                print(f"passed {item.nodeid}", file=out)
            else:
                print("all passed", file=out)
        os._exit(0)

    def _ordered(self, request: Request, items: list[pytest.Item]) -> list[pytest.Item]:
        """What has caught one of this name or others of this file, then the tests of its verb, then all others.

        A file of a verb matters only to batches with that verb: other tests are left out.
        """
        file = request.file
        famous = [name for name, _ in self._killers.get(file, Counter()).most_common(FAMOUS)]
        verb_file = f"test_{Path(file).stem}.py"

        def rank(item: pytest.Item) -> tuple[int, int]:
            if item.nodeid == request.first:
                return 0, 0
            if item.nodeid in famous:
                return 1, famous.index(item.nodeid)
            return (2 if item.path.name == verb_file else 3), 0

        if file.startswith("commands/"):
            verb = Path(file).stem
            items = [item for item in items if verb in self._verbs[item.nodeid] or not self._verbs[item.nodeid]]
        return sorted(items, key=rank)


def _is_free(client: redis.Redis) -> bool:
    """Whether the server takes commands again, with a script that runs for ever stopped if that is possible."""
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        try:
            client.ping()
            return True
        except redis.exceptions.RedisError:
            # Killed only if it has not written; until it notices, the server is still busy.
            with contextlib.suppress(redis.exceptions.RedisError):
                client.script_kill()
            time.sleep(0.1)
    return False


def main() -> int:
    with os.fdopen(int(sys.argv[1])) as requests, os.fdopen(int(sys.argv[2]), "w") as outcomes:
        quiet = ["-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:timeout", "--no-header", "-o", "addopts="]
        quiet += ["--import-mode=importlib", "--capture=sys", "-W", "ignore"]
        # Nobody reads why a test failed, and to tell it takes longer than most tests.
        quiet += ["--assert=plain", "--tb=native"]
        tests = sys.argv[3:] or [str(TESTS)]
        return int(pytest.main([*quiet, *tests], plugins=[Worker(requests, outcomes)]))


if __name__ == "__main__":
    sys.exit(main())
