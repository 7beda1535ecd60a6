"""docs/security.md gives Redis users with exactly the commands that are used: a whole service runs as these users."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis

from runtime.embedded_redis import EmbeddedRedis
from tests.runtime.up_process import Up
from tests.waiting import wait_until

PAGE = (Path(__file__).parent.parent.parent / "docs" / "security.md").read_text()
PASSWORD = "a-password-of-the-test"


def users() -> dict[str, list[str]]:
    """The rules of each `ACL SETUSER` line of the page."""
    found = {}
    for name, rules in re.findall(r"^ACL SETUSER (\S+) (.*)$", PAGE, re.MULTILINE):
        found[name] = rules.replace("A-LONG-PASSWORD", PASSWORD).split()
    return found


def url_of(server: EmbeddedRedis, user: str, database: int) -> str:
    path = server.url.removeprefix("unix://").partition("?")[0]
    return f"unix://{user}:{PASSWORD}@{path}?db={database}"


@pytest.mark.timeout(240)
def test_a_whole_service_with_the_documented_users(make_redis: Callable[..., EmbeddedRedis], tmp_path: Path) -> None:
    server = make_redis()
    with server.client() as admin:
        for name, rules in users().items():
            admin.execute_command("ACL", "SETUSER", name, *rules)
        admin.execute_command("ACL", "SETUSER", "default", "on", "nopass", "+@all", "~*")
        admin.config_resetstat()
        environment = {
            "HOLDFAST_REDIS_URL": url_of(server, "holdfast-stock", 0),
            "HOLDFAST_JOBS_REDIS_URL": url_of(server, "holdfast-jobs", 1),
        }
        up = Up(tmp_path / "data", environment=environment)
        try:
            up.wait_until_ready()
            _use(up, admin)
            _rebuild(up, admin)
            refused = [{k: v for k, v in _text(entry).items() if k in {"reason", "object", "username", "context"}}
                       for entry in admin.execute_command("ACL", "LOG", "100")]  # fmt: skip
            assert not refused, refused
            assert not re.search(r"NOPERM|WRONGPASS|NOAUTH", up.output), up.output
            assert PASSWORD not in up.output
        finally:
            up.stop()
        _nothing_more(server)


def _use(up: Up, admin: redis.Redis) -> None:
    """A little of everything that speaks to Redis."""
    shop, office = up.client("storefront"), up.client("admin")
    office.put(
        "/inventory/products/mug", json={"name": "Mug", "initial_stock": 20, "low_stock_threshold": 15}
    ).raise_for_status()
    body = {"customer_id": "ann", "sku": "mug", "quantity": 2}
    held = [
        shop.post("/inventory/reserve", json={**body, "ttl_seconds": ttl}).raise_for_status().json()
        for ttl in (1, 60, 60, 60)
    ]
    shop.patch(f"/inventory/reserve/{held[1]['id']}", json={"ttl_seconds": 90}).raise_for_status()
    shop.delete(f"/inventory/reserve/{held[1]['id']}").raise_for_status()
    shop.post(f"/inventory/reserve/{held[2]['id']}/confirm", json={"order_id": "one"}).raise_for_status()
    entry = {"type": "order.created", "order_id": "two", "reservation_ids": [held[3]["id"]]}
    admin.xadd("holdfast:orders", {"event": shop.build_request("POST", "/", json=entry).content})
    wait_until(lambda: admin.xlen("holdfast:orders") == 0, 60, "the order is taken from the stream")
    office.post(
        "/inventory/adjust", json={"sku": "mug", "kind": "receive", "quantity": 5, "reason": "a delivery"}
    ).raise_for_status()
    wait_until(
        lambda: office.get("/inventory/products/mug/status").json()["reserved"] == 0,
        30,
        "the sweeper ends the hold of 1 s",
    )
    for path in ("/inventory/low-stock", "/inventory/levels", "/inventory/reconciliation", "/admin/jobs",
                 "/inventory/export?format=csv", "/readyz", "/metrics", "/inventory/availability?sku=mug"):  # fmt: skip
        assert office.get(path).status_code == 200, path
    wait_until(lambda: _planned(admin), 60, "the schedules are declared")
    for client in (shop, office):
        client.close()


def _rebuild(up: Up, admin: redis.Redis) -> None:
    """Redis is emptied: the scripts of a rebuild run as the same user."""
    with up.client("admin") as office:
        before = office.get("/inventory/products/mug/status").json()
        admin.flushdb()
        wait_until(lambda: "Redis is rebuilt" in up.output, 60, "the rebuild")
        wait_until(lambda: office.get("/readyz").status_code == 200, 60, "readiness")
        after = office.get("/inventory/products/mug/status").json()
        assert {**after, "as_of": ""} == {**before, "as_of": ""}


def _planned(admin: redis.Redis) -> int:
    with redis.Redis(connection_pool=redis.ConnectionPool.from_url(_jobs(admin))) as jobs:
        return int(jobs.zcard("rq:scheduler:scheduled_jobs"))


def _jobs(admin: redis.Redis) -> str:
    path = admin.connection_pool.connection_kwargs["path"]
    return f"unix://{path}?db=1"


def _nothing_more(server: EmbeddedRedis) -> None:
    """The users can do no harm beyond their own data."""
    for name in ("holdfast-stock", "holdfast-jobs"):
        with redis.Redis.from_url(url_of(server, name, 0)) as client:
            attempts: list[tuple[Any, ...]] = [
                ("FLUSHALL",), ("FLUSHDB",), ("CONFIG", "SET", "appendonly", "no"), ("KEYS", "*"), ("SHUTDOWN",),
                ("ACL", "LIST"), ("REPLICAOF", "no", "one"), ("MODULE", "LIST"),
                ("MONITOR",), ("SET", "other", "x"), ("GET", "other"), ("SCRIPT", "FLUSH"), ("FUNCTION", "LIST"),
            ]  # fmt: skip
            for attempt in attempts:
                with pytest.raises(redis.exceptions.NoPermissionError):
                    client.execute_command(*attempt)
    with (
        redis.Redis.from_url(url_of(server, "holdfast-jobs", 0)) as client,
        pytest.raises(redis.exceptions.NoPermissionError),
    ):
        client.hget("{h00}:stock", "mug")
    with (
        redis.Redis.from_url(url_of(server, "holdfast-stock", 1)) as client,
        pytest.raises(redis.exceptions.NoPermissionError),
    ):
        client.lpush("rq:queue:prompt", "x")


def _text(entry: Any) -> dict[str, str]:
    if isinstance(entry, dict):
        return {_plain(name): _plain(value) for name, value in entry.items()}
    return {_plain(name): _plain(value) for name, value in zip(entry[::2], entry[1::2], strict=True)}


def _plain(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
