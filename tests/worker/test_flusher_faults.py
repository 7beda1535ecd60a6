"""The flusher killed, doubled, cut off: whatever happens, the ledger ends up exact."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args
from urllib.parse import urlsplit

import pytest

from persistence import ledger_writer
from persistence.migrate import upgrade
from tests.link_proxy import Cut, LinkProxy, in_a_thread
from tests.waiting import wait_until
from tests.worker.conftest import QUICK, Rows, RunningFlusher
from tests.worker.handmade_journal import KEYS, HandmadeJournal
from worker.failpoints import STEPS
from worker.flusher import FlusherSettings

Start = Callable[..., RunningFlusher]

KILLED_AT_STEP = """
import os, signal, sys
from worker.flusher import Flusher, FlusherSettings

redis_url, database_url, step, nth = sys.argv[1:]
left = int(nth)

def passed(here):
    global left
    if here == step:
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

settings = FlusherSettings(tick_ms=1, block_ms=20, flush_events=20, read_entries=4, trim_every_ms=1, keep_ms=0)
Flusher(redis_url, database_url, settings, passed).run()
"""


def busy(journal: HandmadeJournal, rounds: int = 40) -> None:
    """Entries with every kind of event, holds that live across entries."""
    if not journal.on_hand:
        journal.adjust({"A": 10_000, "B": 10_000})
        journal.configure("A", safety_stock=1)
    for _ in range(rounds):
        held = [journal.reserve({"A": 1, "B": 2}) for _ in range(4)]
        journal.flush()
        journal.amend(held[0], {"B": 1})
        journal.confirm(held[0], "o1")
        journal.confirm(held[1])
        journal.flush()
        journal.release(held[2])
        journal.expire(held[3])
        journal.adjust({"A": 1}, "RETURN")
        journal.flush()


@pytest.mark.parametrize("nth", [1, 3])
@pytest.mark.parametrize("step", STEPS)
def test_killed_at_a_step_and_started_again(
    step: str,
    nth: int,
    journal: HandmadeJournal,
    redis_url: str,
    database_url: str,
    start_flusher: Start,
    flushed: Callable[[], None],
) -> None:
    busy(journal)
    process = subprocess.run(
        [sys.executable, "-c", KILLED_AT_STEP, redis_url, database_url, step, str(nth)],
        cwd=Path(__file__).parents[2],
        timeout=60,
        check=False,
    )
    assert process.returncode == -9
    start_flusher()
    flushed()


class Stumbled(Exception):
    """What a hook raises."""


@pytest.mark.parametrize("step", ["after_read", "after_copy", "after_merge", "before_commit", "after_commit"])
def test_an_error_at_a_step_leaves_nothing_open(
    step: str, journal: HandmadeJournal, start_flusher: Start, flushed: Callable[[], None], rows: Rows
) -> None:
    def stumble(here: str) -> None:
        if here == step:
            raise Stumbled

    busy(journal, 3)
    running = start_flusher(passed=stumble)
    running.thread.join(60)
    assert isinstance(running.error, Stumbled)
    # A backend hears of the end of its connection a moment later.
    ours = "SELECT state FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    wait_until(
        lambda: not any("in transaction" in (state or "") for (state,) in rows(ours)),
        what="no transaction is left open",
    )
    start_flusher()
    flushed()


def test_two_flushers_at_once(journal: HandmadeJournal, start_flusher: Start, flushed: Callable[[], None]) -> None:
    both = [start_flusher(), start_flusher()]
    for _ in range(30):
        busy(journal, 5)
    flushed()
    for running in both:
        running.stop()


@pytest.mark.parametrize("step", ["after_read", "before_commit", "after_commit"])
def test_a_zombie_wakes_up_behind_another(
    step: str,
    journal: HandmadeJournal,
    start_flusher: Start,
    flushed: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ledger_writer, "STOPPED_AFTER_MS", 300)
    asleep, wake = threading.Event(), threading.Event()

    def fall_asleep(here: str) -> None:
        if here == step and not asleep.is_set():
            asleep.set()
            assert wake.wait(30)

    busy(journal, 5)
    zombie = start_flusher(passed=fall_asleep)
    assert asleep.wait(60)
    start_flusher()
    busy(journal, 5)
    flushed()
    wake.set()
    busy(journal, 5)
    flushed()
    zombie.stop()
    flushed()


@pytest.mark.parametrize("how", get_args(Cut))
def test_connection_cut_at_commit(
    how: Cut,
    journal: HandmadeJournal,
    start_flusher: Start,
    flushed: Callable[[], None],
    database_url: str,
    postgres_server: Any,
) -> None:
    proxy = LinkProxy(next(postgres_server.socket_folder.glob(".s.PGSQL.*[0-9]")))
    proxy.cut_word = b"COMMIT"
    with in_a_thread(proxy) as port:
        parts = urlsplit(database_url)
        running = start_flusher(
            database_url=f"postgresql://{parts.username}@127.0.0.1:{port}{parts.path}?sslmode=disable&gssencmode=disable"
        )
        busy(journal, 3)
        flushed()
        for cuts in (1, 2, 3):
            proxy.cut_next = how
            busy(journal, 3)
            wait_until(lambda n=cuts: proxy.cuts[how] == n)
            flushed()
        assert running.status.failures >= 1
        running.stop()


def test_redis_and_postgres_come_and_go(
    make_redis: Callable[..., Any], make_postgres: Callable[..., Any], start_flusher: Start
) -> None:
    redis_server, postgres = make_redis(), make_postgres()
    upgrade(postgres.url)
    rows = Rows(postgres.url)
    with redis_server.client() as client:
        journal = HandmadeJournal(client)
        running = start_flusher(redis_url=redis_server.url, database_url=postgres.url)

        def arrived() -> bool:
            return rows.seq() == journal.seq

        busy(journal, 3)
        wait_until(arrived)
        postgres.kill()
        busy(journal, 3)
        # A backend outlives its postmaster by a moment and may flush all this yet; what comes now it cannot.
        wait_until(lambda: running.status.reason == "waits for Postgres", what="Postgres to be missed")
        busy(journal, 3)
        wait_until(lambda: running.status.lag_events > 0 and running.status.lag_ms > 0, what="the lag to be told")
        postgres.start()
        wait_until(arrived, what="what Postgres has missed")
        redis_server.kill()
        wait_until(lambda: running.status.reason == "waits for Redis", what="Redis to be missed")
        redis_server.start()
        busy(journal, 3)
        wait_until(arrived, what="what came behind the restart of Redis")
        wait_until(lambda: not running.status.reason, what="all to be well")
        assert rows.ledger() == journal.ledger
        assert running.status.state == "running"
        running.stop()


def test_a_restored_postgres_is_brought_up_from_the_journal_that_was_kept(
    journal: HandmadeJournal, start_flusher: Start, flushed: Callable[[], None], rows: Rows, postgres_server: Any
) -> None:
    running = start_flusher()
    busy(journal, 5)
    flushed()
    running.stop()
    copy = "copy_of_a_minute_ago"
    name = urlsplit(rows.url).path[1:]
    postgres_server.create_database(copy, template=name)
    running = start_flusher()
    busy(journal, 5)
    flushed()
    running.stop()
    restored = Rows(postgres_server.database_url(copy))
    running = start_flusher(database_url=postgres_server.database_url(copy))
    wait_until(lambda: restored.seq() == journal.seq)
    assert restored.ledger() == journal.ledger
    running.stop()
    postgres_server.drop_database(copy)


def test_trimming_stays_behind_the_cursor(
    journal: HandmadeJournal, start_flusher: Start, flushed: Callable[[], None], redis_client: Any
) -> None:
    settings = FlusherSettings(tick_ms=1, block_ms=20, trim_every_ms=1, keep_ms=0)
    running = start_flusher(settings)
    busy(journal, 20)
    flushed()
    wait_until(lambda: redis_client.xlen(KEYS.journal) == 1, what="only the cursor's own entry is left")
    running.stop()
    busy(journal, 5)
    before = redis_client.xlen(KEYS.journal)
    blocked = threading.Event()

    def hold_back(here: str) -> None:
        if here == "after_copy":
            blocked.set()
            raise Stumbled

    running = start_flusher(settings, passed=hold_back)
    assert blocked.wait(60)
    running.thread.join(60)
    assert redis_client.xlen(KEYS.journal) == before
    start_flusher(settings)
    flushed()


def test_what_is_young_is_kept(
    journal: HandmadeJournal, start_flusher: Start, flushed: Callable[[], None], redis_client: Any
) -> None:
    busy(journal, 5)
    entries = redis_client.xlen(KEYS.journal)
    running = start_flusher(FlusherSettings(tick_ms=1, block_ms=20, trim_every_ms=1))
    flushed()
    wait_until(lambda: running.status.journal_entries == entries)
    running.stop()
    assert redis_client.xlen(KEYS.journal) == entries


def test_too_much_of_it_goes_though_it_is_young(
    journal: HandmadeJournal, start_flusher: Start, flushed: Callable[[], None], redis_client: Any
) -> None:
    settings = FlusherSettings(tick_ms=1, block_ms=20, trim_every_ms=1, keep_bytes=50_000)
    start_flusher(settings)
    # Stream ids a second apart, as if it had taken a while.
    first = redis_client.time()[0] - 400
    for n in range(400):
        journal.adjust({"A": 1}, reason="x" * 400)
        journal.append(journal.packed(), f"{(first + n) * 1000}-0")
    flushed()
    wait_until(lambda: redis_client.memory_usage(KEYS.journal) < 60_000)
    assert redis_client.xlen(KEYS.journal) > 10


def test_lag_is_told(journal: HandmadeJournal, start_flusher: Start, flushed: Callable[[], None], rows: Rows) -> None:
    let_go = threading.Event()

    def slow(here: str) -> None:
        if here == "after_commit":
            assert let_go.wait(60)

    busy(journal, 4)
    settings = FlusherSettings(tick_ms=1, block_ms=20, report_every_ms=1, flush_events=5, read_entries=1)
    running = start_flusher(settings, passed=slow)
    wait_until(lambda: rows.seq() > 0)
    running.flusher.status  # noqa: B018 - a look from another thread is always allowed
    let_go.set()
    wait_until(lambda: rows("SELECT state, lag_events, lag_ms FROM flusher_status") == [("running", 0, 0)])
    assert running.status.lag_events == 0
    flushed()


def test_the_lag_of_a_stopped_flusher_grows(journal: HandmadeJournal, start_flusher: Start, rows: Rows) -> None:
    first = journal.client.time()[0] * 1000 - 60_000
    journal.adjust({"A": 1})
    journal.append(journal.packed(), f"{first}-0")
    journal.seq += 1
    journal.adjust({"A": 1})
    journal.append(journal.packed(), f"{first + 1}-0")
    running = start_flusher(QUICK)
    wait_until(lambda: running.status.state == "halted")
    wait_until(lambda: running.status.lag_events == 2)
    assert running.status.lag_ms >= 59_000
