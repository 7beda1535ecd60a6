"""The data directory: one owner at a time, keys made once and kept private."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from runtime.data_folder import (
    DataFolder,
    DataFolderInUse,
    DataFolderUnusable,
    RunningServers,
    read_bootstrap_keys,
    read_running_servers,
)

HOLD = """
import sys, time
from pathlib import Path
from runtime.data_folder import DataFolder
folder = DataFolder(Path(sys.argv[1]))
folder.acquire()
{then}
print("held", flush=True)
sys.stdin.read()
"""


def _holder(path: Path, then: str = "") -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD.format(then=then), str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"held\n"
    return process


def test_a_second_owner_is_refused_at_once_and_told_who_has_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def waits(_: float) -> None:
        pytest.fail("there is nothing to wait for")

    holder = _holder(tmp_path / "data")
    try:
        with monkeypatch.context() as patch:
            patch.setattr("runtime.data_folder.time.sleep", waits)
            with pytest.raises(DataFolderInUse, match=f"process {holder.pid}"):
                DataFolder(tmp_path / "data").acquire()
    finally:
        holder.communicate()


def test_a_killed_owner_leaves_the_folder_free(tmp_path: Path) -> None:
    holder = _holder(tmp_path / "data")
    holder.kill()
    holder.communicate()
    folder = DataFolder(tmp_path / "data")
    folder.acquire()
    folder.release()


def test_servers_a_killed_owner_left_behind_are_waited_for(tmp_path: Path) -> None:
    """They inherit the lock, so that two servers never write the same files."""
    left_behind = (
        "import subprocess; nothing = subprocess.DEVNULL;"
        "subprocess.Popen(['sleep', '1'], pass_fds=[folder.lock_fd], stdin=nothing, stdout=nothing)"
    )
    holder = _holder(tmp_path / "data", left_behind)
    holder.kill()
    holder.communicate()
    with pytest.raises(DataFolderInUse, match="left behind"):
        DataFolder(tmp_path / "data").acquire(timeout_s=0.05)
    folder = DataFolder(tmp_path / "data")
    folder.acquire(timeout_s=10)
    folder.release()


def test_keys_are_made_once_and_kept_for_the_owner_only(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path / "data")
    folder.acquire()
    first, made = folder.bootstrap_keys(None, None)
    assert made
    assert len(first.admin_key) >= 24
    assert first.admin_key != first.storefront_key
    assert stat.S_IMODE((tmp_path / "data" / "keys.json").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700
    assert folder.bootstrap_keys(None, None) == (first, False)
    folder.release()


def test_given_keys_win_and_are_not_written_down(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path / "data")
    folder.acquire()
    keys, made = folder.bootstrap_keys("a" * 24, "b" * 24)
    assert (keys.admin_key, keys.storefront_key, made) == ("a" * 24, "b" * 24, False)
    assert read_bootstrap_keys(tmp_path / "data") is None
    folder.release()


@pytest.mark.parametrize("damaged", [b"{", b'{"admin_key": "\xff", "storefront_key": "b"}'], ids=["cut off", "no text"])
def test_a_damaged_key_file_is_named(tmp_path: Path, damaged: bytes) -> None:
    (tmp_path / "keys.json").write_bytes(damaged)
    with pytest.raises(DataFolderUnusable, match=r"keys\.json"):
        DataFolder(tmp_path).bootstrap_keys(None, None)


def test_a_path_that_can_be_no_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataFolderUnusable, match="file"):
        DataFolder(tmp_path / "file" / "data").acquire()


def test_running_servers_are_found_while_their_owner_lives(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path)
    folder.acquire()
    servers = RunningServers("unix:///a", "postgresql:///b", "http://127.0.0.1:1", os.getpid())
    folder.announce(servers)
    assert read_running_servers(tmp_path) == servers
    assert stat.S_IMODE((tmp_path / "servers.json").stat().st_mode) == 0o600
    folder.release()
    assert read_running_servers(tmp_path) is None
    ended = subprocess.run(["true"], check=True)
    assert ended.returncode == 0
