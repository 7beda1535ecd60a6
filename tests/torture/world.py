"""A whole service to be tormented: real servers, real processes, a proxy on every link, all in a throw-away folder.

Owns starting, keeping alive, waiting until all is well, and removal; never decides what goes wrong or what is right.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import quote

import msgspec
import redis
from pydantic import SecretStr

from engine import Engine, EngineSettings
from inventory.context import PARTITION, Inventory, InventorySettings
from persistence.database import Database
from persistence.queries import ledger_state
from persistence.watermark import Watermark
from runtime.child_process import stop
from runtime.data_folder import BootstrapKeys, new_key
from runtime.embedded_postgres import EmbeddedPostgres
from runtime.embedded_redis import EmbeddedRedis
from runtime.holdfast_process import HoldfastProcess
from runtime.http_socket import bind_http_socket, http_url, listen
from runtime.restarts import KeptAlive
from runtime.server_binaries import redis_program
from runtime.settings import PREFIX, Settings, environment_of
from runtime.store import open_store
from runtime.wire import RequestMaker, Wire, WireAnswer, parse_origin
from tests.link_proxy import LinkProxy
from tests.runtime.up_process import descendants
from tests.torture.shims import NoCompiler, Shims

Level = Literal["journal", "fsync", "replicated", "ledger"]

STEP_S: Final = 0.02
START_S: Final = 300.0
SETTLE_S: Final = 240.0
"""Within this long after a fault everything must serve again, on a machine that may be very busy."""
REDIS_DISK: Final = "96m"
PGSQL: Final = ".s.PGSQL.5432"
"""The name that Postgres and its clients give a socket."""
ASK_S: Final = 10.0
REDIS_OPTIONS: Final = ("auto-aof-rewrite-min-size 16mb", "repl-diskless-sync-delay 0")


class NotSettled(Exception):
    """The service did not come back by itself; the message says what is still wrong."""


class World:
    """Use from the main thread and one event loop: the children die with the thread that forked them."""

    def __init__(
        self, level: Level, say: Callable[[str], None], settings: dict[str, Any] | None = None, *, jobs: bool = True
    ) -> None:
        """`settings`: fields of runtime.settings.Settings that differ. `jobs`: have a job process as well."""
        self.level = level
        self._more_settings = settings or {}
        self._jobs = jobs
        self._say = say
        self.folder = Path(tempfile.mkdtemp(prefix="holdfast-torture-"))
        self.folder.chmod(0o755)
        self.runs = 0
        self.shims: Shims | None = None
        self.shims_missing = ""
        self.disk_missing = ""
        self._mounted = False
        self.children: dict[str, KeptAlive] = {}
        self.proxies: dict[str, LinkProxy] = {}
        self.happened: list[str] = []
        self._replicas = 0
        self._kept_up: asyncio.Task[None] | None = None
        self._closing = AsyncExitStack()

    # --- start and end -------------------------------------------------------------------------------------------

    async def start(self) -> None:
        redis_folder = self.folder / "redis"
        redis_folder.mkdir(mode=0o700)
        self._mount(redis_folder)
        program = redis_program(os.environ.get("HOLDFAST_REDIS_BIN"))
        try:
            self.shims = Shims(self.folder / "shims")
            program = self.shims.wrapper(program)
        except NoCompiler as missing:
            self.shims_missing = str(missing)
        self._redis_program = program
        self.redis = self._redis(redis_folder)
        self.postgres = EmbeddedPostgres(self.folder / "postgres", settings={"log_min_messages": "error"})
        self._start_server("redis", self.redis)
        self._start_server("postgres", self.postgres)
        await self._start_proxies()
        if self.level == "replicated":
            await self.start_replica()
        keys = BootstrapKeys(new_key(), new_key())
        settings = self._settings(keys, self.redis.url, self.postgres.url)
        open_store(settings, keys, migrate=True)
        self._bound = bind_http_socket("127.0.0.1", 0)
        self._closing.callback(self._bound.close)
        listen(self._bound)
        self.url = http_url(self._bound, "127.0.0.1")
        origin = parse_origin(self.url)
        self.storefront = RequestMaker(origin, keys.storefront_key)
        self.admin = RequestMaker(origin, keys.admin_key)
        self._nobody = RequestMaker(origin, "nobody")
        for role, side in (("worker", "worker"), ("jobs", "worker"), ("api", "api")):
            if role != "jobs" or self._jobs:
                self._start_process(role, role, keys, side)
        self._kept_up = asyncio.create_task(self._keep_up())
        await self.wait_for(lambda: self._trouble() == "", START_S, self._trouble)
        self.wire = Wire(origin, 16, ASK_S)
        await self.wire.start()
        self._closing.push_async_callback(self.wire.close)
        await self.settled()

    def _redis(self, folder: Path, extra: Sequence[str] = ()) -> EmbeddedRedis:
        return EmbeddedRedis(
            folder,
            appendfsync="always" if self.level == "fsync" else "everysec",
            program=str(self._redis_program),
            extra=[*REDIS_OPTIONS, *extra],
        )

    async def close(self, *, keep: bool = False) -> None:
        """End everything; the folder goes as well unless it is to be looked at."""
        if self._kept_up is not None:
            self._kept_up.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._kept_up
        await self._closing.aclose()
        for child in reversed(self.children.values()):
            if child.state == "stopped":
                continue
            # It may be stopped by a signal, and would never hear another.
            with contextlib.suppress(ProcessLookupError, RuntimeError):
                child.program.process.send_signal(signal.SIGCONT)
            if child.name in ("redis", "postgres"):
                child.stop(10.0, time.monotonic())
            else:
                with contextlib.suppress(RuntimeError):
                    stop(child.program.process, signal.SIGKILL, 5.0)
        for proxy in self.proxies.values():
            await proxy.close()
        if keep:
            self._keep_files()
        if self._mounted:
            self._unmount()
        if keep:
            self._say(f"kept: {self.folder}")
        else:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _keep_files(self) -> None:
        """What lies on the disk that goes away with its mount."""
        if self._mounted:
            shutil.copytree(self.folder / "redis", self.folder / "redis-kept", ignore=shutil.ignore_patterns("*.sock"))
        (self.folder / "happened.log").write_text("\n".join(self.happened) + "\n")

    def mistakes(self, at_most: int = 5) -> list[str]:
        """The latest errors with a traceback that the service's processes have logged."""
        lines = [line for path in sorted(self.folder.glob("*.log")) for line in path.read_text().splitlines()]
        return [line for line in lines if "Traceback" in line][-at_most:]

    def _mount(self, folder: Path) -> None:
        if os.geteuid() != 0 or shutil.which("mount") is None:
            self.disk_missing = "a disk that can be filled needs root and mount"
            return
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={REDIS_DISK},mode=0700", "tmpfs", str(folder)],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            self.disk_missing = f"a small disk cannot be mounted: {done.stderr.strip()[-120:]}"
            return
        self._mounted = True

    def _unmount(self) -> None:
        subprocess.run(["umount", "-l", str(self.folder / "redis")], check=False)

    def _start_server(self, name: str, server: EmbeddedRedis | EmbeddedPostgres) -> None:
        server.start()
        self.children[name] = KeptAlive(name, server)
        self.children[name].adopt(time.monotonic())

    async def _start_proxies(self) -> None:
        for side in ("api", "worker"):
            folder = self.folder / f"links-{side}"
            folder.mkdir(mode=0o755)
            for kind, server in (("redis", self.redis.socket_path), ("postgres", self.postgres.socket_folder / PGSQL)):
                proxy = LinkProxy(server, f"{side}-{kind}")
                await proxy.start(folder / ("redis.sock" if kind == "redis" else PGSQL))
                self.proxies[proxy.name] = proxy

    def _settings(self, keys: BootstrapKeys, redis_url: str, database_url: str) -> Settings:
        replicas = {"replicas": 1, "replica_timeout_ms": 500} if self.level == "replicated" else {}
        return Settings(
            redis_url=SecretStr(redis_url),
            database_url=SecretStr(database_url),
            data_dir=self.folder / "data",
            workers=1,
            durability=self.level,
            admin_key=SecretStr(keys.admin_key),
            storefront_key=SecretStr(keys.storefront_key),
            ledger_timeout_seconds=2.0,
            shutdown_grace_seconds=1.0,
            job_workers=1,
            log_level="warning",
            log_format="json",
            **{**replicas, **self._more_settings},
        )

    def _start_process(
        self, role: Literal["api", "worker", "jobs"], name: str, keys: BootstrapKeys, side: str
    ) -> KeptAlive:
        folder = self.folder / f"links-{side}"
        redis_url = f"unix://{quote(str(folder / 'redis.sock'))}?db=0"
        database_url = f"postgresql://holdfast@/holdfast?host={quote(str(folder))}"
        settings = self._settings(keys, redis_url, database_url)
        plain = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
        metrics = self.folder / "metrics"
        metrics.mkdir(exist_ok=True)
        program = HoldfastProcess(
            role,
            name,
            environment={**plain, **environment_of(settings)},
            listen_fd=self._bound.fileno() if role == "api" else None,
            arguments=["--metrics-dir", str(metrics)] if role == "api" else [],
            log_path=self.folder / f"{name}.log",
        )
        self._keys = keys
        child = KeptAlive(name, program)
        self.children[name] = child
        child.launch(time.monotonic())
        return child

    # --- while it runs -------------------------------------------------------------------------------------------

    async def _keep_up(self) -> None:
        while True:
            for child in list(self.children.values()):
                change = child.step(time.monotonic())
                if change is not None:
                    self.note(change.text)
            await asyncio.sleep(STEP_S)

    def note(self, text: str) -> None:
        """Remember what happened, for whoever looks at a failed run."""
        self.happened.append(f"{time.monotonic():.3f} {text}")

    def more_workers(self, count: int) -> None:
        """Further workers, each with flusher, sweeper and followers."""
        for number in range(count):
            self._start_process("worker", f"worker-{number + 2}", self._keys, "worker")

    def fewer_workers(self) -> None:
        """End the further ones."""
        for name in [name for name in self.children if name.startswith("worker-")]:
            child = self.children.pop(name)
            for pid in self.pids_of(child):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)
            child.stop(5.0, time.monotonic())

    def pids(self, name: str) -> list[int]:
        """The process called `name` and everything that it has started."""
        return self.pids_of(self.children[name])

    def pids_of(self, child: KeptAlive) -> list[int]:
        return [] if child.pid is None else [child.pid, *descendants(child.pid)]

    def signal(self, name: str, number: signal.Signals) -> None:
        """Send a signal to a process and all it has started."""
        for pid in self.pids(name):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        self.note(f"{number.name} to {name}")

    async def start_replica(self) -> LinkProxy:
        """A second Redis that follows the first through a proxy of its own; returns once it has all.

        At level `replicated` there always is one.
        """
        if "replica" in self.children:
            return self.proxies["replica-redis"]
        proxy = LinkProxy(self.redis.socket_path, "replica-redis")
        port = await proxy.start_tcp()
        self.proxies["replica-redis"] = proxy
        self._replicas += 1
        # On the same small disk, so that a full one is always that one.
        folder = self.folder / "redis" / f"replica-{self._replicas}"
        self._replica = self._redis(folder, [f"replicaof 127.0.0.1 {port}"])
        self._replica.launch()
        self.children["replica"] = KeptAlive("replica", self._replica)
        self.children["replica"].adopt(time.monotonic())
        await self.wait_for(self.replica_follows, SETTLE_S, lambda: "the replica follows")
        return proxy

    def replica_follows(self) -> bool:
        """Its link is up, and it has what the other one had a moment ago."""
        with contextlib.suppress(redis.RedisError, OSError):
            return self._replica.is_ready() and _link_of(self._replica) == "up"
        return False

    async def replica_mended(self) -> None:
        """Behind a full disk do with the replica, if there is one, what its operator is told to do: have it write its
        file anew. The primary's is the keeper's (worker/aof_mender.py).
        """
        if "replica" not in self.children:
            return

        def says(question: Callable[[redis.Redis], bool]) -> Callable[[], bool]:
            def answer() -> bool:
                # It may end of the full disk, and is started again.
                with contextlib.suppress(redis.RedisError, OSError), self._replica.client() as client:
                    return question(client)
                return False

            return answer

        await self.wait_for(says(_writes_its_file), SETTLE_S, lambda: "the replica writes its file")
        await self.wait_for(says(_is_asked_to_rewrite), SETTLE_S, lambda: "the replica makes its file anew")
        await self.wait_for(says(_has_rewritten), SETTLE_S, lambda: "the replica's file is made anew")

    async def promote_replica(self) -> None:
        """The replica is the Redis from now on, and everybody is led to it; the old one must be down."""
        with self._replica.client() as client:
            client.replicaof("NO", "ONE")
        child = self.children.pop("replica")
        # Started again, it must not look for its old master.
        self._replica._extra = REDIS_OPTIONS
        child.name = "redis"
        self.children["redis"], self.redis = child, self._replica
        await self.proxies.pop("replica-redis").close()
        for side in ("api", "worker"):
            self.proxies[f"{side}-redis"].lead_to(self.redis.socket_path)
            self.proxies[f"{side}-redis"].drop_all()
        self.note("the replica is promoted")
        if self.level == "replicated":
            await self.start_replica()

    def kill(self, name: str) -> None:
        """SIGKILL, as a crash would."""
        child = self.children[name]
        if child.pid is not None:
            child.program.process.kill()
            child.program.process.wait()
        self.note(f"SIGKILL to {name}")

    def hold_down(self, name: str) -> None:
        """Do not start it again until `let_up`."""
        child = self.children[name]
        child.stop(10.0, time.monotonic())
        self.note(f"{name} is down")

    def let_up(self, name: str) -> None:
        child = self.children[name]
        if child.state == "stopped":
            child.launch(time.monotonic())

    def client(self) -> redis.Redis:
        """Straight to the server, past every proxy."""
        return self.redis.client()

    @asynccontextmanager
    async def inventory(self) -> AsyncIterator[Inventory]:
        """The hands of an auditor who comes from outside, past every proxy."""
        async with AsyncExitStack() as closing:
            database = Database(self.postgres.url)
            closing.push_async_callback(database.close)
            cursor = await ledger_state.cursor(database, PARTITION)
            assert cursor is not None
            engine = await Engine.connect(self.redis.url, EngineSettings(epoch=cursor.epoch))
            closing.push_async_callback(engine.close)
            watermark = Watermark(self.postgres.url)
            await watermark.start()
            closing.push_async_callback(watermark.close)
            # The rules of the shop by default, in the epoch of the ledger where the rules name one.
            settings = msgspec.convert({"epoch": cursor.epoch}, InventorySettings)
            yield Inventory(engine, database, watermark, settings)

    # --- whether all is well -------------------------------------------------------------------------------------

    async def ready(self) -> tuple[int, dict[str, Any]]:
        """What `GET /readyz` says; status 0 when nobody answers."""
        answer = await self.ask(self._nobody.make("GET", "/readyz"))
        try:
            return answer.status, msgspec.json.decode(answer.body) if answer.status else {}
        except msgspec.DecodeError:
            return answer.status, {"body": answer.body[:200].decode(errors="replace")}

    async def ask(self, request: bytes) -> WireAnswer:
        return await self.wire.ask(request)

    def _trouble(self) -> str:
        bad = [
            f"{child.name} is {child.state} {child.note}"
            for child in self.children.values()
            if child.state != "running" or child.program.process.poll() is not None
        ]
        return "; ".join(bad)

    async def settled(self) -> None:
        """Return once every process runs and the service says that it is ready. Raises NotSettled."""
        await self.wait_for(lambda: self._trouble() == "", SETTLE_S, self._trouble)
        deadline = time.monotonic() + SETTLE_S
        while True:
            status, said = await self.ready()
            if status == 200 and self._trouble() == "" and ("replica" not in self.children or self.replica_follows()):
                break
            if time.monotonic() > deadline:
                raise NotSettled(f"not ready within {SETTLE_S:g} s: {status} {said} {self._trouble()}")
            await asyncio.sleep(0.02)
        # From here on a further death starts with the shortest pause again.
        for name, child in self.children.items():
            fresh = KeptAlive(name, child.program)
            fresh.adopt(time.monotonic())
            self.children[name] = fresh

    async def wait_for(self, condition: Callable[[], bool], timeout_s: float, what: Callable[[], str]) -> None:
        """Poll. Raises NotSettled."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > deadline:
                raise NotSettled(f"not within {timeout_s:g} s: {what()}")
            await asyncio.sleep(0.01)

    def life_of(self, name: str) -> tuple[int, float] | None:
        """Process id and age in seconds of what runs under this name; None while nothing does."""
        child = self.children.get(name)
        if child is None or child.state != "running" or child.pid is None:
            return None
        return child.pid, _age_s(child.pid)

    def memory_kb(self) -> dict[str, int]:
        """Resident memory of each process, its children left out."""
        found = {"torture": _resident_kb(os.getpid())}
        for name, child in self.children.items():
            if child.pid is not None:
                found[name] = _resident_kb(child.pid)
        return found


def _writes_its_file(client: redis.Redis) -> bool:
    info: Any = client.info("persistence")
    return bool(info["aof_last_write_status"] == "ok")


def _is_asked_to_rewrite(client: redis.Redis) -> bool:
    return bool(client.bgrewriteaof())


def _has_rewritten(client: redis.Redis) -> bool:
    info: Any = client.info("persistence")
    return not info["aof_rewrite_in_progress"] and not info["aof_rewrite_scheduled"]


def _link_of(replica: EmbeddedRedis) -> str:
    with replica.client() as client:
        return str(client.info("replication").get("master_link_status"))


def _resident_kb(pid: int) -> int:
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
    except OSError:
        return 0
    return 0


def _age_s(pid: int) -> float:
    try:
        ticks = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
        up_s = float(Path("/proc/uptime").read_text().split()[0])
    except OSError:
        return 0.0
    return up_s - ticks / os.sysconf("SC_CLK_TCK")
