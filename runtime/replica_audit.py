"""Looks whether a Redis can keep what the durability level `replicated` promises: replicas there, and waiting allowed.

Owns the rules about replicas; every other rule is in runtime/config_audit.py, which asks here. Changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import redis
from msgspec import Struct

from engine.replicated import CHANNEL

MIN_REPLICAS: Final = "min-replicas-to-write"


class ReplicaFinding(Struct, frozen=True):
    """What is not as it must be (`refused`) or should be; the words are those of config_audit.Finding."""

    refused: bool
    setting: str
    found: str
    wanted: str
    why: str
    fix: str


def audit_replicas(
    client: redis.Redis, info: Mapping[str, Any], configuration: Mapping[str, str], replicas: int, *, by_default: bool
) -> list[ReplicaFinding]:
    """`replicas`: how many are waited for, 0: none; `by_default`: for every change, not only where a request asks.

    Raises redis.RedisError when the server can't be asked.
    """
    findings: list[ReplicaFinding] = []
    connected = int(info.get("connected_slaves", 0))
    needed = int(configuration.get(MIN_REPLICAS, 0))
    if needed > connected:
        why = f"every change is refused while fewer follow than that; {connected} do"
        fix = f"CONFIG SET {MIN_REPLICAS} {connected}; CONFIG REWRITE"
        findings.append(ReplicaFinding(False, MIN_REPLICAS, str(needed), f"{connected} at most", why, fix))
    if not replicas:
        return findings
    if connected < replicas:
        # Not refused: behind a failover the new primary has none for a while, and what needs none is served.
        why = "answers of durability replicated are 503 durability-unknown until as many follow"
        fix = "let another server follow this one (REPLICAOF there), or set HOLDFAST_REPLICAS to what there is"
        wanted = f"{replicas} at least (HOLDFAST_REPLICAS)"
        findings.append(ReplicaFinding(False, "connected_slaves", str(connected), wanted, why, fix))
    if by_default and MIN_REPLICAS in configuration and needed < replicas <= connected:
        why = "a primary that has lost its replicas goes on taking changes that a failover then forgets"
        fix = f"CONFIG SET {MIN_REPLICAS} {replicas}; CONFIG REWRITE"
        findings.append(ReplicaFinding(False, MIN_REPLICAS, str(needed), str(replicas), why, fix))
    return findings if info.get("role") in ("slave", "replica") else findings + _forbidden(client)


def _forbidden(client: redis.Redis) -> list[ReplicaFinding]:
    """The commands that a wait for replicas needs, and that this user may not use."""
    channel = CHANNEL.decode()
    asked: tuple[tuple[str, Callable[[], object]], ...] = (
        ("WAIT", lambda: client.wait(0, 1)),
        ("PUBLISH", lambda: client.publish(channel, "")),
    )
    findings = []
    for command, ask in asked:
        try:
            ask()
        except redis.ResponseError as error:  # forbidden by ACL, or renamed
            rule = f"&{channel}" if "channel" in str(error) else f"+{command.lower()}"
            why = "durability replicated waits with it, and nothing would ever be answered"
            fix = f"ACL SETUSER {_user(client)} {rule}"
            findings.append(ReplicaFinding(True, command, "not permitted", "permitted", why, fix))
    return findings


def _user(client: redis.Redis) -> str:
    return str(client.connection_pool.connection_kwargs.get("username") or "default")
