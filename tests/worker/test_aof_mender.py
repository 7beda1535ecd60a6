"""A disk that was full for a moment leaves Redis an append-only file that it cannot read: it is made anew in time."""

from __future__ import annotations

import os
import resource
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis

from runtime.embedded_redis import EmbeddedRedis
from runtime.server_binaries import redis_program
from worker.aof_mender import AofMender
from worker.keeper import Keeper

WaitUntil = Callable[..., Any]


@pytest.fixture
def server(make_redis: Callable[..., EmbeddedRedis], server_folder: Path) -> EmbeddedRedis:
    """It lives on when a file may not grow any more: as with a full disk, only the write fails."""
    program = server_folder / "redis-that-lives-on"
    program.write_text(f"#!/bin/sh\ntrap '' XFSZ\nexec '{redis_program()}' \"$@\"\n")
    program.chmod(0o755)
    return make_redis(program=str(program))


def persistence(client: redis.Redis) -> dict[str, Any]:
    found: Any = client.info("persistence")
    return dict(found)


def is_rewritten(client: redis.Redis) -> bool:
    info = persistence(client)
    return not info["aof_rewrite_in_progress"] and not info["aof_rewrite_scheduled"]


def newest_file(server: EmbeddedRedis) -> Path:
    return max(server.folder.glob("appendonlydir/*.incr.aof"), key=os.path.getmtime)


@contextmanager
def files_end_at(server: EmbeddedRedis, size: int) -> Iterator[None]:
    """No file of the server grows beyond `size` bytes inside the block."""
    allowed = resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (size, allowed[1]))
    try:
        yield
    finally:
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, allowed)


@contextmanager
def half_written(server: EmbeddedRedis, client: redis.Redis, wait_until: WaitUntil) -> Iterator[None]:
    """Inside the block the server has written half of a command into the file of a rewrite; then it has room again."""
    client.bgrewriteaof()
    wait_until(lambda: is_rewritten(client), timeout_s=30, what="the first rewrite")
    client.set("before", "b" * 1_000)
    wait_until(lambda: newest_file(server).stat().st_size > 1_000, timeout_s=30, what="a write")
    with files_end_at(server, newest_file(server).stat().st_size + 50):
        client.set("half", "h" * 1_000)
        wait_until(lambda: persistence(client)["aof_last_write_status"] == "err", timeout_s=30, what="a failed write")
        with pytest.raises(redis.ResponseError, match="MISCONF"):
            client.set("refused", "1")
        yield
    wait_until(lambda: persistence(client)["aof_last_write_status"] == "ok", timeout_s=30, what="room")
    client.set("after", "a" * 1_000)
    wait_until(lambda: b"a" * 1_000 in newest_file(server).read_bytes(), timeout_s=30, what="a write with room")


def test_redis_leaves_a_hole_in_its_file(server: EmbeddedRedis, wait_until: WaitUntil) -> None:
    """Why there is a mender. When this fails, Redis has learned it, and the mender can go."""
    with server.client() as client, half_written(server, client, wait_until):
        pass

    assert bytes(10) in newest_file(server).read_bytes()


def test_the_file_is_made_anew_and_can_be_read(server: EmbeddedRedis, wait_until: WaitUntil) -> None:
    with server.client() as client:
        mender = AofMender(client)
        with half_written(server, client, wait_until):
            mender.look()

        def is_mended() -> bool:
            mender.look()
            return mender.mended == 1

        wait_until(is_mended, timeout_s=30, what="a file made anew")
    server.kill()
    server.start()

    with server.client() as client:
        kept: Any = client.mget("before", "half", "refused", "after")
    assert [value and len(value) for value in kept] == [1_000, 1_000, None, 1_000]


def test_a_file_without_a_failure_is_left_alone(server: EmbeddedRedis) -> None:
    with server.client() as client:
        mender = AofMender(client)
        mender.look()
        mender.look()
        calls: Any = client.info("commandstats")

    assert mender.mended == 0
    assert "cmdstat_bgrewriteaof" not in calls


def test_a_server_that_may_not_be_asked_is_told_of_once(
    server: EmbeddedRedis, wait_until: WaitUntil, capsys: pytest.CaptureFixture[str]
) -> None:
    with server.client() as client:
        mender = AofMender(client)
        with half_written(server, client, wait_until):
            mender.look()
        client.execute_command("ACL", "SETUSER", "default", "-bgrewriteaof")
        mender.look()
        mender.look()

    assert capsys.readouterr().out.count("may have a hole: have Redis write it anew") == 1
    assert mender.mended == 0


def test_the_keeper_has_it_mended(server: EmbeddedRedis, database_url: str, wait_until: WaitUntil) -> None:
    """The thread that every worker runs."""
    keeper = Keeper(server.url, database_url)
    thread = threading.Thread(target=keeper.run)
    thread.start()
    try:
        with server.client() as client:
            wait_until(lambda: keeper.status.epoch == 1, timeout_s=30, what="the keeper to admit")
            with half_written(server, client, wait_until):
                looks = keeper.status.looks
                wait_until(lambda: keeper.status.looks > looks + 1, timeout_s=30, what="the keeper to look")
            wait_until(lambda: bytes(10) not in newest_file(server).read_bytes(), timeout_s=30, what="a whole file")
    finally:
        keeper.stop()
        thread.join()
