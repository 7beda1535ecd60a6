"""Looks at the Redis and the Postgres it is given and says, setting by setting, what would break a promise.

Owns the rules; never changes a server's configuration and never stops the process (whoever asked decides).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal, cast

import psycopg
import redis
from msgspec import Struct

from runtime.replica_audit import MIN_REPLICAS, audit_replicas
from runtime.server_binaries import MIN_POSTGRES, MIN_REDIS, MIN_VALKEY

Durability = Literal["journal", "fsync", "replicated", "ledger"]


class Finding(Struct, frozen=True):
    """One setting that is not as it must be (`refuse`) or should be (`warn`)."""

    severity: Literal["refuse", "warn"]
    setting: str
    found: str
    wanted: str
    why: str
    fix: str = ""
    """What to run on that server, commands separated by `; `; or in words, where no command can do it."""

    def __str__(self) -> str:
        told = f"{self.setting} is {self.found}, wanted {self.wanted}: {self.why}"
        return f"{told}. To put it right: {self.fix}" if self.fix else told


class ServerReport(Struct, frozen=True):
    """What a server calls itself, and what is wrong with it."""

    name: str
    """Such as "Valkey 9.1.2" or "PostgreSQL 18.6"."""
    findings: tuple[Finding, ...]

    @property
    def refusals(self) -> tuple[Finding, ...]:
        """The findings that forbid to start."""
        return tuple(finding for finding in self.findings if finding.severity == "refuse")

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """The findings to be told and lived with."""
        return tuple(finding for finding in self.findings if finding.severity == "warn")


class ConfigurationRefused(RuntimeError):
    """A server is configured such that a promise would be broken; the message names each setting."""

    def __init__(self, server: str, findings: tuple[Finding, ...]) -> None:
        lines = "".join(f"\n  - {finding}" for finding in findings)
        super().__init__(f"{server} can't be used:{lines}")
        self.findings = findings


_READ: Final = ("maxmemory-policy", "appendonly", "appendfsync", "no-appendfsync-on-rewrite", MIN_REPLICAS)


def audit_redis(client: redis.Redis, durability: Durability, replicas: int = 0) -> ServerReport:
    """Hold a Redis or Valkey against what `durability` promises, and against the `replicas` that can be waited for.

    Raises redis.RedisError when it can't be asked.
    """
    # decode_responses may be on or off; redis-py parses INFO into text either way.
    info = client.info("everything")
    configuration, readable = _configuration(client, info)
    findings: list[Finding] = []

    def refuse(setting: str, found: object, wanted: str, why: str, fix: str = "") -> None:
        findings.append(Finding("refuse", setting, str(found), wanted, why, fix))

    def warn(setting: str, found: object, wanted: str, why: str) -> None:
        findings.append(Finding("warn", setting, str(found), wanted, why))

    name, new_enough = _redis_version(info)
    if not new_enough:
        refuse("version", name, "Redis 7.0 or Valkey 8.0 at least", "the scripts need its commands")
    if info.get("redis_mode") == "sentinel":
        refuse("mode", "sentinel", "a data server", "a sentinel holds no data")
    if info.get("role") in ("slave", "replica"):
        primary = f"{info.get('master_host', 'its host')}:{info.get('master_port', 'its port')}"
        refuse(
            "replicaof",
            "set",
            "none",
            "a replica takes no writes",
            f"name its primary, {primary}, in HOLDFAST_REDIS_URL",
        )
    if int(info.get("cluster_enabled", 0)) == 1:
        fix = "use a server that was started without cluster-enabled"
        refuse("cluster-enabled", "yes", "no", "one partition lives on one server; redirects are not followed", fix)

    policy = configuration.get("maxmemory-policy")
    if policy is not None and policy != "noeviction":
        why = "an evicted hold is stock that is sold twice or never"
        refuse("maxmemory-policy", policy, "noeviction", why, _set("maxmemory-policy", "noeviction"))
    if configuration.get("appendonly") == "no":
        why = "without the append-only file a restart forgets acknowledged holds"
        refuse("appendonly", "no", "yes", why, _set("appendonly", "yes"))
    else:
        _audit_fsync(configuration, durability, findings)
    if info.get("aof_last_write_status", "ok") != "ok":
        warn("aof_last_write_status", info["aof_last_write_status"], "ok", "the last write to disk failed")
    for found in audit_replicas(client, info, configuration, replicas, by_default=durability == "replicated"):
        severity: Literal["refuse", "warn"] = "refuse" if found.refused else "warn"
        findings.append(Finding(severity, found.setting, found.found, found.wanted, found.why, found.fix))
    if not readable:
        warn(
            "CONFIG",
            "not permitted",
            "CONFIG GET",
            "appendfsync can't be checked on this server: make sure it is "
            + ("always" if durability == "fsync" else "everysec or always"),
        )
    return ServerReport(name, tuple(findings))


def audit_postgres(connection: psycopg.Connection[Any], durability: Durability) -> ServerReport:
    """Hold a Postgres against what is promised. Raises psycopg.Error when it can't be asked."""
    number = connection.info.server_version
    major, minor = number // 10_000, number % 10_000
    findings: list[Finding] = []
    if (major, minor) < MIN_POSTGRES:
        findings.append(
            Finding("refuse", "version", f"{major}.{minor}", "15 at least", "the ledger's statements need it")
        )
    if _show(connection, "server_encoding") != "UTF8":
        found = _show(connection, "server_encoding")
        findings.append(Finding("refuse", "server_encoding", found, "UTF8", "names and reasons are Unicode"))
    recovering = connection.execute("SELECT pg_is_in_recovery()").fetchone()
    if recovering == (True,) or _show(connection, "default_transaction_read_only") == "on":
        findings.append(Finding("refuse", "read only", "yes", "no", "the ledger must be written"))
    for setting in ("fsync", "full_page_writes", "synchronous_commit"):
        if _show(connection, setting) == "off":
            severity: Literal["refuse", "warn"] = "refuse" if durability == "ledger" else "warn"
            why = "a power cut may take ledger rows that were committed"
            fix = f"ALTER SYSTEM SET {setting} = on; SELECT pg_reload_conf()"
            findings.append(Finding(severity, setting, "off", "on", why, fix))
    return ServerReport(f"PostgreSQL {major}.{minor}", tuple(findings))


def require(report: ServerReport) -> tuple[Finding, ...]:
    """The warnings of `report`. Raises ConfigurationRefused if there is anything worse."""
    if report.refusals:
        raise ConfigurationRefused(report.name, report.refusals)
    return report.warnings


def _audit_fsync(configuration: Mapping[str, str], durability: Durability, findings: list[Finding]) -> None:
    policy = configuration.get("appendfsync")
    if policy == "no":
        why = "the operating system decides when acknowledged holds reach the disk"
        fix = _set("appendfsync", "always" if durability == "fsync" else "everysec")
        findings.append(Finding("refuse", "appendfsync", "no", "everysec or always", why, fix))
    elif policy == "everysec" and durability == "fsync":
        why = "HOLDFAST_DURABILITY=fsync promises that nothing is lost in a power cut"
        findings.append(Finding("refuse", "appendfsync", "everysec", "always", why, _set("appendfsync", "always")))
    if configuration.get("no-appendfsync-on-rewrite") == "yes":
        why = "while the file is rewritten nothing is synced"
        severity: Literal["refuse", "warn"] = "refuse" if durability == "fsync" else "warn"
        fix = _set("no-appendfsync-on-rewrite", "no")
        findings.append(Finding(severity, "no-appendfsync-on-rewrite", "yes", "no", why, fix))


def _set(setting: str, value: str) -> str:
    """The commands that set it now and for later starts."""
    return f"CONFIG SET {setting} {value}; CONFIG REWRITE"


def _configuration(client: redis.Redis, info: Mapping[str, Any]) -> tuple[dict[str, str], bool]:
    """The settings that matter, and whether CONFIG could be read; INFO tells most of them where it is forbidden."""
    known = {}
    if "maxmemory_policy" in info:
        known["maxmemory-policy"] = str(info["maxmemory_policy"])
    if "aof_enabled" in info:
        known["appendonly"] = "yes" if int(info["aof_enabled"]) else "no"
    try:
        answer = cast(Mapping[str | bytes, str | bytes], client.config_get(*_READ))
    except redis.ResponseError:  # renamed, forbidden by ACL, or a managed service
        return known, False
    return known | {_text(name): _text(value) for name, value in answer.items()}, bool(answer)


def _redis_version(info: Mapping[str, Any]) -> tuple[str, bool]:
    # Valkey gives a Redis version for the sake of old clients; its own stands beside it.
    if "valkey_version" in info:
        version = str(info["valkey_version"])
        return f"Valkey {version}", _numbers(version) >= MIN_VALKEY
    version = str(info.get("redis_version", "0.0"))
    return f"Redis {version}", _numbers(version) >= MIN_REDIS


def _numbers(version: str) -> tuple[int, int]:
    parts = [int(part) if part.isdigit() else 0 for part in version.split(".")[:2]]
    return (parts[0], parts[1] if len(parts) > 1 else 0)


def _show(connection: psycopg.Connection[Any], setting: str) -> str:
    row = connection.execute("SELECT current_setting(%s)", (setting,)).fetchone()
    return "" if row is None else str(row[0])


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
