"""`holdfast up`: servers, API processes, worker and job process of one machine, started, watched, stopped in order.

Owns that order and the restarts; never serves a request and never touches stock.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import Final, Literal

from pydantic import SecretStr

from runtime.data_folder import BootstrapKeys, DataFolder, RunningServers
from runtime.embedded_postgres import EmbeddedPostgres
from runtime.embedded_redis import EmbeddedRedis
from runtime.holdfast_process import HoldfastProcess
from runtime.http_socket import bind_http_socket, http_url, listen
from runtime.opening import AWAY_AFTER_S
from runtime.restarts import Change, KeptAlive
from runtime.settings import Settings, environment_of, without_password
from runtime.status_display import ProcessRow, StatusDisplay
from runtime.store import OpenedStore, StoreAway, StoreWatch, given_keys, open_store, urls_of
from runtime.welcome import welcome

STEP_S: Final = 0.1
"""Pause between two looks at the children; a child's end cuts it short."""
SHOW_EVERY_S: Final = 0.5
LARGEST_LOG: Final = 20_000_000
"""Bytes after which a process's log file is moved aside at the next start."""


Part = Literal["servers", "worker", "jobs", "api"]


class StopAsked(Exception):
    """A signal asked for the end while something was being waited for."""


class Supervisor:
    """One run of `holdfast up`. Use from the main thread only: the children die with the thread that forked them."""

    def __init__(self, settings: Settings, display: StatusDisplay, parts: frozenset[Part]) -> None:
        self._settings = settings
        self._parts = parts
        self._display = display
        self._folder = DataFolder(settings.data_folder)
        self._redis: EmbeddedRedis | None = None
        self._postgres: EmbeddedPostgres | None = None
        self._servers: list[KeptAlive] = []
        self._apis: list[KeptAlive] = []
        self._workers: list[KeptAlive] = []
        self._jobs: list[KeptAlive] = []
        self._closing = ExitStack()
        self._metrics: Path | None = None
        self._stopping = False
        self._waiting_for_start = True

    def run(self) -> int:
        """Run until a signal asks for the end; the exit code.

        Raises DataFolderInUse, AddressRefused, ConfigurationRefused, NotReady and the servers' start errors, all
        with a message for people, when the service can't be started at all.
        """
        with self._signals() as woken, self._closing as closing:
            bound = None
            if "api" in self._parts:
                bound = closing.enter_context(bind_http_socket(self._settings.host, self._settings.port))
            try:
                if "servers" in self._parts:
                    self._folder.acquire()
                    closing.callback(self._folder.release)
                closing.callback(self._stop)
                self._run(bound, woken)
            except StopAsked:
                self._display.say("stopped while starting")
        return 0

    def _run(self, bound: socket.socket | None, woken: int) -> None:
        if "servers" in self._parts and bound is not None:
            self._run_everything(bound, woken)
        else:
            self._run_parts(bound, woken)

    def _run_parts(self, bound: socket.socket | None, woken: int) -> None:
        """Only processes of ours, on servers that are there already."""
        # What no restart will mend is refused here, once, and not by each child again and again.
        try:
            settings = self._settings
            store = open_store(settings, given_keys(settings), migrate=False, reach_within_s=AWAY_AFTER_S)
            self._say_warnings(store)
        except StoreAway as away:
            # Each child waits for it by itself; an API process answers 503 meanwhile.
            self._display.say(f"warning: {away}; it is waited for")
        title = "the worker" if "worker" in self._parts else "the job process"
        if bound is not None:
            listen(bound)
            title = http_url(bound, self._settings.host)
        self._start_processes(self._settings, bound)
        self._wait_for_start(woken)
        self._display.say(f"Holdfast: {title} is ready")
        self._waiting_for_start = False
        self._watch(urls_of(self._settings), title, woken)

    def _run_everything(self, bound: socket.socket, woken: int) -> None:
        settings = self._settings
        url = http_url(bound, settings.host)
        redis_url, database_url = self._start_servers()
        keys, made = self._folder.bootstrap_keys(_plain(settings.admin_key), _plain(settings.storefront_key))
        running = settings.model_copy(
            update={"redis_url": SecretStr(redis_url), "database_url": SecretStr(database_url)}
        )
        store = open_store(running, keys, migrate=True)
        self._say_warnings(store)
        listen(bound)
        self._start_processes(running, bound)
        self._wait_for_start(woken)
        self._folder.announce(
            RunningServers(redis_url, database_url, url, os.getpid(), _plain(settings.jobs_redis_url))
        )
        self._welcome(store, keys, made, url)
        self._waiting_for_start = False
        self._watch((redis_url, database_url), url, woken)

    def _say_warnings(self, store: OpenedStore) -> None:
        for finding in store.warnings:
            self._display.say(f"warning: {finding}")

    def _start_servers(self) -> tuple[str, str]:
        """Start what no URL was given for; (Redis URL, Postgres URL)."""
        settings, path = self._settings, self._folder.path
        redis_url, database_url = _plain(settings.redis_url), _plain(settings.database_url)
        if redis_url is None:
            self._redis = EmbeddedRedis(
                path / "redis",
                appendfsync="always" if settings.durability == "fsync" else "everysec",
                program=settings.redis_bin,
                maxmemory=settings.redis_maxmemory,
                keep_fds=[self._folder.lock_fd],
            )
            self._redis.start()
            redis_url = self._redis.url
            self._adopt("redis", self._redis)
        if database_url is None:
            connections = {"max_connections": str(max(100, 30 + 12 * settings.workers))}
            self._postgres = EmbeddedPostgres(path / "postgres", settings=connections, keep_fds=[self._folder.lock_fd])
            if not self._postgres.has_cluster():
                self._display.say("making the Postgres cluster ...")
            self._postgres.start()
            database_url = self._postgres.url
            self._adopt("postgres", self._postgres)
        return redis_url, database_url

    def _adopt(self, name: str, server: EmbeddedRedis | EmbeddedPostgres) -> None:
        kept = KeptAlive(name, server)
        kept.adopt(time.monotonic())
        self._servers.append(kept)

    def _start_processes(self, running: Settings, bound: socket.socket | None) -> None:
        environment = {**os.environ, **environment_of(running)}
        arguments: list[str] = []
        if bound is not None:
            self._metrics = self._make_metrics_folder()
            arguments = ["--metrics-dir", str(self._metrics)]
        if "worker" in self._parts:
            self._workers.append(self._process("worker", "worker", environment, arguments=arguments))
        if "jobs" in self._parts:
            self._jobs.append(self._process("jobs", "jobs", environment))
        if bound is not None:
            for number in range(1, self._settings.workers + 1):
                self._apis.append(self._process("api", f"api-{number}", environment, bound.fileno(), arguments))
        for child in self._children:
            if child.state == "stopped":
                self._tell(child.launch(time.monotonic()))

    def _make_metrics_folder(self) -> Path:
        """Where the API processes leave their counters for each other, empty."""
        if "servers" not in self._parts:
            return Path(tempfile.mkdtemp(prefix="holdfast-metrics-"))
        folder = self._folder.path / "metrics"
        shutil.rmtree(folder, ignore_errors=True)  # of a run that was killed
        folder.mkdir(mode=0o700)
        return folder

    def _process(
        self,
        role: Literal["api", "worker", "jobs"],
        name: str,
        environment: dict[str, str],
        listen_fd: int | None = None,
        arguments: Sequence[str] = (),
    ) -> KeptAlive:
        program = HoldfastProcess(
            role,
            name,
            environment=environment,
            listen_fd=listen_fd,
            arguments=arguments,
            log_path=self._log_path(name),
        )
        return KeptAlive(name, program)

    def _wait_for_start(self, woken: int) -> None:
        """Until every process was ready once; what goes wrong meanwhile is told, and tried again."""
        missing = {child.name for child in self._children}
        while missing:
            for child in self._children:
                change = child.step(time.monotonic())
                if change is not None and change.kind != "ready":
                    self._tell(change)
                if child.state == "running":
                    missing.discard(child.name)
            _pause(woken)

    def _watch(self, urls: tuple[str, str], title: str, woken: int) -> None:
        watch = StoreWatch(*urls)
        shown_at = 0.0
        self._display.begin()
        try:
            while not self._stopping:
                now = time.monotonic()
                for child in self._children:
                    self._tell(child.step(now))
                if self._display.is_terminal and now - shown_at >= SHOW_EVERY_S:
                    shown_at = now
                    self._display.show(f"Holdfast: {title}", self._rows(now), watch.facts())
                _pause(woken)
        finally:
            self._display.end()
            watch.close()

    def _stop(self) -> None:
        """What makes changes first, then the worker with its last flush, then the servers."""
        grace = self._settings.shutdown_grace_seconds
        self._stopping, self._waiting_for_start = True, False
        if self._children and any(child.state == "running" for child in self._children):
            self._display.say("stopping: requests under way are answered first")
        # Both end within the grace; what hangs is killed a little later, and jobs are returned to their queue before.
        _stop_together([*self._apis, *self._jobs], grace + 6.0)
        _stop_together(self._workers, grace + 5.0)
        if self._metrics is not None:
            shutil.rmtree(self._metrics, ignore_errors=True)
        for server in reversed(self._servers):
            server.stop(60.0, time.monotonic())
        for unready in (self._postgres, self._redis):  # was never adopted, but may run
            if unready is not None:
                unready.stop()
        if self._servers:
            self._display.say("stopped; the data is kept in " + str(self._folder.path))

    def _welcome(self, store: OpenedStore, keys: BootstrapKeys, made: bool, url: str) -> None:
        settings = self._settings
        redis_place = "embedded" if self._redis else without_password(_plain(settings.redis_url) or "")
        postgres_place = "embedded" if self._postgres else without_password(_plain(settings.database_url) or "")
        lines = welcome(
            url=url,
            folder=self._folder.path,
            redis=f"{store.redis_name}, {redis_place}",
            postgres=f"{store.postgres_name}, {postgres_place}",
            durability=settings.durability,
            keys=keys,
            made=made,
            given=settings.storefront_key is not None,
            logs=self._logs_folder,
        )
        for line in lines:
            self._display.say(line)

    @property
    def _children(self) -> list[KeptAlive]:
        return [*self._servers, *self._workers, *self._jobs, *self._apis]

    @property
    def _logs_folder(self) -> Path | None:
        return self._folder.path / "logs" if self._display.is_terminal and "servers" in self._parts else None

    def _log_path(self, name: str) -> Path | None:
        """On a terminal log lines would tear the table apart: they go to files, and elsewhere to standard error."""
        folder = self._logs_folder
        if folder is None:
            return None
        folder.mkdir(mode=0o700, exist_ok=True)
        path = folder / f"{name}.log"
        if path.exists() and path.stat().st_size > LARGEST_LOG:
            path.replace(path.with_suffix(".log.1"))
        return path

    def _rows(self, now: float) -> list[ProcessRow]:
        return [
            ProcessRow(child.name, child.state, child.pid, now - child.since_s, child.restarts, child.note)
            for child in self._children
        ]

    def _tell(self, change: Change | None) -> None:
        if change is not None:
            self._display.say(change.text)

    @contextmanager
    def _signals(self) -> Iterator[int]:
        """Signals ask for the end, and wake the loop; gives the descriptor that becomes readable then."""
        reader, writer = socket.socketpair()
        reader.setblocking(False)
        writer.setblocking(False)

        def ask(number: int, _frame: FrameType | None) -> None:
            if self._stopping:
                return  # the end is under way and bounded in time
            self._stopping = True
            if self._waiting_for_start:
                raise StopAsked(signal.Signals(number).name)

        asked = [signal.SIGINT, signal.SIGTERM]
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # nohup wants us to stay
            asked.append(signal.SIGHUP)
        before = {number: signal.signal(number, ask) for number in asked}
        before[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, _ignore)
        old_fd = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        try:
            yield reader.fileno()
        finally:
            signal.set_wakeup_fd(old_fd)
            for number, handler in before.items():
                signal.signal(number, handler)
            reader.close()
            writer.close()


def supervise(settings: Settings, parts: frozenset[Part]) -> int:
    """Run `parts` of the service on the terminal we have; the exit code. Raises as Supervisor.run."""
    return Supervisor(settings, StatusDisplay(sys.stdout), parts).run()


def _stop_together(children: list[KeptAlive], timeout_s: float) -> None:
    """Ask all at once, then wait for each: the time given is for all of them together."""
    for child in children:
        if child.pid is not None and child.program.process.poll() is None:
            child.program.process.terminate()
    deadline = time.monotonic() + timeout_s
    for child in children:
        child.stop(max(0.1, deadline - time.monotonic()), time.monotonic())


def _pause(woken: int) -> None:
    if select.select([woken], [], [], STEP_S)[0]:
        os.read(woken, 4096)


def _plain(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()


def _ignore(_number: int, _frame: FrameType | None) -> None:
    """A handler that does nothing, so that the signal still wakes us."""
