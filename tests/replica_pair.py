"""A Redis and a replica of it, for tests of what an answer promises when one of them stops.

Owns starting both and waiting until one follows the other; holds no test.
"""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path
from typing import Any

from engine.bootstrap import open_partition
from engine.keys import partition_keys
from runtime.embedded_redis import EmbeddedRedis, RedisStartFailed
from tests.waiting import wait_until

KEYS = partition_keys(0)


class ReplicaPair:
    """`primary` and `replica`; the partition is open, epoch 1. `port`: where a replica may follow the primary."""

    def __init__(self, folder: Path, follow_port: int = 0) -> None:
        """`follow_port`: of a proxy that leads to the primary's socket; 0: the replica follows without one."""
        for attempt in range(5):
            self.port = _free_port()
            self.primary = EmbeddedRedis(
                folder / f"primary{attempt}", extra=[f"port {self.port}", "repl-diskless-sync-delay 0"]
            )
            try:
                self.primary.start()
            except RedisStartFailed:
                # Somebody else has taken the port since.
                if attempt == 4:
                    raise
                continue
            break
        self._folder = folder
        self._follow_port = follow_port
        self.replica: EmbeddedRedis
        with self.primary.client() as client:
            open_partition(client, epoch=1, ledger_seq=0)

    def follow(self, port: int = 0) -> None:
        """Start the replica; returns once it has everything and says so when it is asked."""
        self.replica = EmbeddedRedis(self._folder / "replica", extra=[f"replicaof 127.0.0.1 {port or self.port}"])
        self.replica.start()
        self.caught_up()

    def caught_up(self) -> None:
        """Return once the replica has everything."""
        with self.primary.client() as client:

            def has_all() -> bool:
                client.publish("holdfast:tests", "")
                return int(client.wait(1, 200)) == 1

            wait_until(has_all, 30, "the replica to follow")

    def pause_replica(self) -> None:
        """Stop it, and return once it is stopped."""
        os.kill(self.replica.process.pid, signal.SIGSTOP)
        _, status = os.waitpid(self.replica.process.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)

    def resume_replica(self) -> None:
        os.kill(self.replica.process.pid, signal.SIGCONT)

    def promote(self) -> None:
        """The replica takes over, as a failover does it; the primary must be dead."""
        with self.replica.client() as client:
            client.replicaof("NO", "ONE")

    def seq_on_replica(self) -> int:
        """The last event the replica has."""
        with self.replica.client() as client:
            answer: Any = client.hget(KEYS.meta, "seq")
        return int(answer or 0)

    def close(self) -> None:
        if hasattr(self, "replica"):
            self.resume_replica()
            self.replica.stop()
        self.primary.stop()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
