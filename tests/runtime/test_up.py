"""`holdfast up` as a whole: first start, restarts, refusals, and every way it or its children can end."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from engine.client import open_blocking_client
from runtime.child_process import unprivileged_user
from runtime.data_folder import read_running_servers
from runtime.embedded_postgres import EmbeddedPostgres
from runtime.embedded_redis import EmbeddedRedis
from runtime.server_binaries import can_enter
from tests.runtime.up_process import Up, clean_environment, is_alive

# Each starts three Python processes and two servers: seconds alone, minutes on a crowded machine.
pytestmark = pytest.mark.timeout(300)

StartUp = Callable[..., Up]
WaitUntil = Callable[..., Any]


def make_product(service: Up, sku: str = "MUG", units: int = 10) -> None:
    with service.client() as client:
        answer = client.put(f"/inventory/products/{sku}", json={"name": sku, "initial_stock": units})
        assert answer.status_code == 201, answer.text


def reserve(service: Up, sku: str = "MUG", quantity: int = 1) -> httpx.Response:
    with service.client("storefront") as client:
        return client.post("/inventory/reserve", json={"customer_id": "ann", "sku": sku, "quantity": quantity})


def audit(data_dir: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from runtime.cli import main; main()", "audit", "--data-dir", str(data_dir)]
    return subprocess.run(command, capture_output=True, text=True, env=clean_environment(), check=False)


def jobs(service: Up, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from runtime.cli import main; main()", "jobs", *arguments]
    command += ["--data-dir", str(service.data_dir)]
    return subprocess.run(command, capture_output=True, text=True, env=clean_environment(), check=False)


def test_first_start_prints_address_and_keys_once_and_keeps_the_data(start_up: StartUp) -> None:
    first = start_up()
    keys = (first.data_dir / "keys.json").read_text()
    assert stat.S_IMODE((first.data_dir / "keys.json").stat().st_mode) == 0o600
    secrets = re.findall(r"hf_[\w-]+", keys)
    assert len(secrets) == 2
    assert all(secret in first.output for secret in secrets)
    hold = run_printed_commands(first)
    assert first.stop() == 0

    again = start_up()
    assert not any(secret in again.output for secret in secrets)
    with again.client() as client:
        status = client.get("/inventory/products/MUG/status").json()
        assert (status["on_hand"], status["reserved"]) == (100, 2)
        assert client.get(f"/inventory/reserve/{hold['id']}").json()["expires_at"] == hold["expires_at"]
    run_printed_commands(again)  # now with the key file in them instead of the keys


def run_printed_commands(service: Up) -> dict[str, Any]:
    """Exactly what was printed, as somebody would paste it; the reservation that it made."""
    printed, _, _ = service.output[service.output.index("  curl") :].partition("\n\n")  # behind it: the log
    commands = printed.replace("curl ", "curl -sS --fail-with-body ") + "\n"
    run = subprocess.run(["sh", "-e"], input=commands, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr + commands
    product, _, hold = run.stdout.partition("}{")
    assert '"sku":"MUG"' in product
    made: dict[str, Any] = json.loads("{" + hold)
    assert made["status"] == "ACTIVE"
    return made


@pytest.fixture(scope="module")
def running(session_folder: Path) -> Iterator[Up]:
    """One service for the tests that leave it running."""
    service = Up(session_folder / "running").wait_until_ready()
    make_product(service, units=1000)
    yield service
    assert service.stop() == 0


def test_the_commands_find_it_and_its_key_by_its_data_directory(running: Up) -> None:
    def holdfast(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", "from runtime.cli import main; main()", *words]
        command += ["--data-dir", str(running.data_dir)]
        return subprocess.run(command, capture_output=True, text=True, env=clean_environment(), check=False)

    assert f"holdfast top --data-dir {running.data_dir}" in running.output
    assert holdfast("products", "set", "CLI", "--name", "By hand", "--initial-stock", "5").returncode == 0
    shown = holdfast("stock", "CLI", "--json")
    assert shown.returncode == 0, shown.stderr
    assert json.loads(shown.stdout)["items"][0]["available"] == 5
    seen = holdfast("top", "--once", "--json")
    assert seen.returncode == 0, seen.stderr
    pulse = json.loads(seen.stdout)["pulse"]
    assert {one["role"] for one in pulse["processes"]} == {"api", "worker"}
    assert pulse["health"]["redis"] == pulse["health"]["postgres"] == "ok"
    # A key that a data directory keeps goes nowhere else.
    elsewhere = holdfast("stock", "CLI", "--url", "http://127.0.0.1:9")
    assert elsewhere.returncode == 2
    assert "a key is needed" in elsewhere.stderr


def test_a_second_start_on_the_same_data_is_refused_with_the_pid(running: Up, start_up: StartUp) -> None:
    second = start_up(wait=False, data_dir=running.data_dir)
    assert second.wait(60) == 2
    assert f"is in use by process {running.process.pid}" in second.output
    assert "Traceback" not in second.output
    assert reserve(running).status_code == 201


def test_an_occupied_port_is_refused_before_anything_is_started(start_up: StartUp, server_folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        service = start_up(wait=False, port=port)
        assert service.wait(60) == 2
    assert f"port {port} on 127.0.0.1 is in use" in service.output
    assert not (server_folder / "data" / "postgres").exists()


def test_nothing_outlives_a_killed_parent_and_nothing_acknowledged_is_lost(
    start_up: StartUp, wait_until: WaitUntil
) -> None:
    service = start_up()
    make_product(service)
    holds = [reserve(service).json()["id"] for _ in range(5)]
    pids = service.pids()
    assert len(pids) >= 4
    service.signal(signal.SIGKILL)
    service.wait()
    wait_until(lambda: not [pid for pid in pids if is_alive(pid)], 60, "no orphans")

    again = start_up()
    with again.client() as client:
        for hold in holds:
            assert client.get(f"/inventory/reserve/{hold}").json()["status"] == "ACTIVE"
        assert client.get("/inventory/products/MUG/status").json()["reserved"] == 5
    checked = audit(again.data_dir)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_jobs_are_scheduled_listed_and_run_by_hand(running: Up, wait_until: WaitUntil) -> None:
    def planned() -> bool:
        found = json.loads(jobs(running, "--json").stdout)
        assert found["queue_reachable"] is True
        return all(job["next_run_at"] for job in found["items"] if job["schedule"] is not None)

    wait_until(planned, 60, "every schedule is declared")
    by_hand = jobs(running, "run", "holds.leftover")
    assert by_hand.returncode == 0, by_hand.stderr
    assert re.fullmatch(r"holds.leftover: ok in [\d.]+ s: no hold outlived its deadline since .*\n", by_hand.stdout)
    listed = jobs(running)
    assert listed.returncode == 0, listed.stdout + listed.stderr
    assert re.search(r"^holds.leftover +\*/15 \* \* \* \* .* ok +no hold outlived", listed.stdout, re.MULTILINE)
    unknown = jobs(running, "run", "none.such")
    assert (unknown.returncode, "there is no job none.such" in unknown.stderr) == (2, True)


@pytest.mark.parametrize(
    "part", ["process_main api", "process_main worker", "process_main jobs", "valkey-server", "postgres -D"]
)
def test_a_killed_child_is_reported_and_started_again(running: Up, wait_until: WaitUntil, part: str) -> None:
    said_before = len(running.output)
    victim = running.pids(part)[0]
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: "by SIGKILL" in running.output[said_before:], 30, "the end is reported")
    wait_until(lambda: " is ready (process " in running.output[said_before:], 90, "the new one is reported")
    assert running.pids(part)
    assert victim not in running.pids(part)

    def serves() -> bool:
        try:
            answer = reserve(running)
        except httpx.TransportError:
            return False
        assert answer.status_code in (201, 503), answer.text
        return answer.status_code == 201

    wait_until(serves, 60, "reservations are taken again")
    wait_until(lambda: httpx.get(f"{running.url}/readyz").status_code == 200, 60, "readiness is back")
    checked = audit(running.data_dir)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_ctrl_c_ends_everything_in_order_and_the_last_batch_is_flushed(start_up: StartUp) -> None:
    """Postgres alone, looked at after the stop, has every event that was acknowledged."""
    service = start_up()
    make_product(service, units=100)
    pids = service.pids()
    for _ in range(50):
        assert reserve(service).status_code == 201
    told, asked = "", False
    with service.client() as client, client.stream("GET", "/inventory/events?last_event_id=oldest") as stream:
        # Somebody listens: the stream ends as an answer should, instead of being cut off after the grace.
        for part in stream.iter_text():
            told += part
            if "id: 0-1-52\n" in told and not asked:
                service.signal(signal.SIGINT)
                asked = True
    assert told.count("event: reservation.created\n") == 50
    assert service.wait() == 0
    assert not [pid for pid in pids if is_alive(pid)]
    assert "stopped; the data is kept" in service.output
    assert "Traceback" not in service.output
    database = EmbeddedPostgres(service.data_dir / "postgres")
    database.start()
    try:
        with psycopg.connect(database.url) as connection:
            assert connection.execute("SELECT count(*) FROM stock_reservations").fetchone() == (50,)
            assert connection.execute("SELECT reserved FROM inventory_levels").fetchone() == (50,)
    finally:
        database.stop()


def test_a_signal_while_starting_ends_it(start_up: StartUp, wait_until: WaitUntil) -> None:
    service = start_up(wait=False)
    wait_until(lambda: service.pids("valkey-server") or service.pids("initdb"), 60, "it is starting")
    service.signal(signal.SIGTERM)
    service.wait(60)
    wait_until(lambda: not service.pids(), 30, "nothing is left")


def test_it_ends_with_its_parent_when_asked_to(server_folder: Path, wait_until: WaitUntil) -> None:
    """As `make up` asks: the parent here is killed without a chance to tell anybody."""
    holdfast = "from runtime.cli import main; main()"
    launcher = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {holdfast!r}, *sys.argv[1:]])"
    service = Up(server_folder / "data", "--end-with-parent", command=[sys.executable, "-c", launcher])
    service.wait_until_ready()
    pids = service.pids()
    service.signal(signal.SIGKILL)
    wait_until(lambda: not [pid for pid in pids if is_alive(pid)], 60, "nothing is left")
    service.wait()


def test_servers_given_by_url_are_used_and_audited(
    start_up: StartUp,
    make_redis: Callable[..., EmbeddedRedis],
    make_postgres: Callable[..., EmbeddedPostgres],
) -> None:
    store, database = make_redis(), make_postgres(fsync="on", full_page_writes="on")
    urls = {"HOLDFAST_REDIS_URL": store.url, "HOLDFAST_DATABASE_URL": database.url}
    service = start_up(environment=urls)
    assert not service.pids("valkey-server")
    assert not service.pids("postgres -D")
    make_product(service)
    assert reserve(service).status_code == 201
    with store.client() as client:
        assert client.hget("{h00}:stock", "MUG") is not None
    assert service.stop() == 0

    with store.client() as client:
        client.flushall()
    forgetful = start_up(environment=urls)
    assert "Redis is empty" in forgetful.output
    with forgetful.client() as client:
        status = client.get("/inventory/products/MUG/status").json()
    assert (status["on_hand"], status["reserved"]) == (10, 1)
    assert forgetful.stop() == 0

    with store.client() as client:
        client.config_set("appendonly", "no")
        client.config_set("maxmemory-policy", "allkeys-lru")
    refused = start_up(wait=False, environment=urls)
    assert refused.wait(60) == 2
    assert "appendonly is no, wanted yes" in refused.output
    assert "maxmemory-policy is allkeys-lru, wanted noeviction" in refused.output


def test_durability_fsync_syncs_every_write(start_up: StartUp) -> None:
    service = start_up(environment={"HOLDFAST_DURABILITY": "fsync"})
    servers = read_running_servers(service.data_dir)
    assert servers is not None
    with open_blocking_client(servers.redis_url) as client:
        assert client.config_get("appendfsync") == {"appendfsync": "always"}


def test_a_bad_setting_is_refused_by_name(start_up: StartUp) -> None:
    service = start_up(wait=False, environment={"HOLDFAST_PARTITIONS": "4"})
    assert service.wait(60) == 2
    assert "HOLDFAST_PARTITIONS" in service.output


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else; otherwise every test here is it")
def test_it_works_for_an_ordinary_account(start_up: StartUp, server_folder: Path) -> None:
    user = unprivileged_user()
    home = server_folder / "home"
    home.mkdir(mode=0o700)
    os.chown(home, user.uid, user.gid)
    server_folder.parent.chmod(0o711)
    environment, command = _python_for(user.uid, server_folder)
    service = start_up(
        data_dir=home / "data", user=user.uid, environment=environment | {"HOME": str(home)}, command=command
    )
    make_product(service)
    assert reserve(service).status_code == 201
    assert {(home / "data" / part).stat().st_uid for part in ("redis", "postgres", "keys.json")} == {user.uid}
    assert service.stop() == 0


def _python_for(uid: int, folder: Path) -> tuple[dict[str, str], list[str]]:
    """A Python with our packages that `uid` can run: ours, or a copy where ours lies below a closed folder."""
    user = unprivileged_user()
    assert user.uid == uid
    base = Path(sys.base_prefix)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = Path(pytest.__file__).parent.parent
    project = Path(__file__).parent.parent.parent
    environment = {}
    if not can_enter(base / "lib" / version, user):
        copy = folder / "python"
        leave_out = shutil.ignore_patterns("site-packages", "test", "tests", "config-*", "idlelib")
        shutil.copytree(base / "lib" / version, copy / "lib" / version, ignore=leave_out)
        (copy / "bin").mkdir()
        shutil.copy2(Path(sys.executable).resolve(), copy / "bin" / version)
        for library in (base / "lib").glob("libpython*"):
            shutil.copy2(library, copy / "lib")
        environment["LD_LIBRARY_PATH"] = str(copy / "lib")
        base = copy
    if not can_enter(packages, user):
        shutil.copytree(packages, folder / "packages")
        packages = folder / "packages"
    if not can_enter(project, user):
        for part in ("api", "engine", "inventory", "lua", "persistence", "runtime", "worker"):
            shutil.copytree(project / part, folder / "project" / part)
        project = folder / "project"
    environment |= {"PYTHONHOME": str(base), "PYTHONPATH": f"{project}:{packages}", "PYTHONDONTWRITEBYTECODE": "1"}
    return environment, [str(base / "bin" / version), "-c", "from runtime.cli import main; main()"]


def test_the_roles_run_apart_as_in_containers(
    make_redis: Callable[..., EmbeddedRedis],
    make_postgres: Callable[..., EmbeddedPostgres],
    server_folder: Path,
    wait_until: WaitUntil,
) -> None:
    """`migrate`, `worker`, `api` and `jobs work`, each a process of its own, against given servers."""
    environment = clean_environment() | {
        "HOLDFAST_REDIS_URL": make_redis().url,
        "HOLDFAST_DATABASE_URL": make_postgres().url,
        "HOLDFAST_ADMIN_KEY": "an-admin-key-of-some-length",
        "HOLDFAST_STOREFRONT_KEY": "a-storefront-key-of-some-length",
        "HOLDFAST_PORT": "0",
        "HOLDFAST_WORKERS": "2",
        "HOLDFAST_DATA_DIR": str(server_folder / "never-made"),
    }
    holdfast = [sys.executable, "-c", "from runtime.cli import main; main()"]
    early = subprocess.run(
        [*holdfast, "worker"], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert early.returncode == 2
    assert "run `holdfast migrate`" in early.stderr
    subprocess.run([*holdfast, "migrate"], env=environment, check=True, timeout=120)
    log = server_folder / "log"
    with log.open("wb") as output:
        roles = [
            subprocess.Popen([*holdfast, *role.split()], env=environment, stdout=output, stderr=output)
            for role in ("worker", "api", "jobs work")
        ]
    try:
        wait_until(lambda: log.read_text().count(" is ready") == 3, 60, "all say that they are ready")
        url = re.findall(r"http://[\d.:]+", log.read_text())[0]
        wait_until(lambda: httpx.get(f"{url}/readyz").status_code == 200, 60, "ready")
        with httpx.Client(base_url=url, headers={"Authorization": "Bearer an-admin-key-of-some-length"}) as client:
            answer = client.put("/inventory/products/MUG", json={"name": "Mug", "initial_stock": 5})
            assert answer.status_code == 201, answer.text
    finally:
        for role in roles:
            role.terminate()
        codes = [role.wait(60) for role in roles]
    assert codes == [0, 0, 0], log.read_text()
    assert not (server_folder / "never-made").exists()
