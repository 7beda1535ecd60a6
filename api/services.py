"""What the API is wired with: the struct that runtime fills in, and the settings that shape the API's answers.

Owns no connection and starts nothing; whoever builds `Services` also closes what is in it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from msgspec import Struct

from api.rate_limits import RateLimits

if TYPE_CHECKING:
    from api.auth import KeyStore
    from api.request_spans import RequestSpans
    from engine import Engine
    from inventory.context import Inventory
    from inventory.job_queue import JobQueue
    from persistence.database import Database
    from persistence.watermark import Watermark


Durability = Literal["journal", "fsync", "replicated", "ledger"]
"""`replicated` waits for replicas, `ledger` for the Postgres commit; `fsync` is how Redis itself is set."""


class StreamSettings(Struct, frozen=True, kw_only=True):
    """Limits of event streams (GET /inventory/events)."""

    most: int = 100
    """Streams that one process serves at the same time."""
    heartbeat_s: float = 15.0
    """A comment is sent when nothing else was for this long, with the position reached."""
    look_s: float = 1.0
    """How often a stream looks whether its key is still good."""
    stalled_s: float = 30.0
    """A reader that takes nothing for this long is dropped."""
    retry_ms: int = 1_000
    """After which time a client is asked to connect again."""


class ApiSettings(Struct, frozen=True, kw_only=True):
    """How the API answers. Times in seconds, sizes in bytes."""

    durability: Durability = "journal"
    """What an answer to reserve, amend, confirm and release promises."""
    replicas: int = 0
    """Replicas that the engine can wait for; 0: none, and `replicated` cannot be given."""
    late_confirm: bool = False
    """A confirm of an expired hold takes the stock again if it is still there."""
    ledger_timeout_s: float = 10.0
    """How long an answer may wait for the ledger before it is `durability-unknown`."""
    max_body_bytes: int = 1_048_576
    max_batch_body_bytes: int = 8_388_608
    max_upload_bytes: int = 52_428_800
    """Of a file that is imported."""
    upload_timeout_s: float = 300.0
    """How long such a file may take to arrive."""
    import_wait_s: float = 25.0
    """How long a request waits for the job that works on a large import, before it answers that it is under way."""
    body_timeout_s: float = 30.0
    """How long the body of a hot request may take to arrive before the answer is 408."""
    max_connections: int = 10_000
    """Connections that one process has open at the same time."""
    max_head_bytes: int = 65_536
    """Of a request's first line and headers."""
    stalled_s: float = 60.0
    """How long a client may take nothing of answers that wait for it, before its connection is dropped."""
    max_pipelined: int = 1_000
    """Requests that may wait on one connection for the answers to those before them."""
    access_log: bool = False
    process: str = ""
    """Name of this process for people who watch it, such as `api-1`; empty: made of its process id."""
    metrics_dir: Path | None = None
    """Where the API processes of one service leave their counters for each other; None: each shows its own."""
    streams: StreamSettings = StreamSettings()
    rate_limits: RateLimits | None = None
    """How many requests a key may make; None: as many as it likes."""
    console: bool = True
    """Whether /console is there."""
    version: str = "0.1.0"

    @property
    def durabilities(self) -> tuple[Durability, ...]:
        """What a request may ask for: whatever this deployment can give."""
        fsync: tuple[Durability, ...] = ("fsync",) if self.durability == "fsync" else ()
        replicated: tuple[Durability, ...] = ("replicated",) if self.replicas else ()
        return ("journal", *fsync, *replicated, "ledger")


class Services(Struct, frozen=True):
    """Everything a request may need."""

    inventory: Inventory
    keys: KeyStore
    settings: ApiSettings
    jobs: JobQueue
    """Background work is asked for here."""
    spans: RequestSpans | None = None
    """Makes the spans of requests; None: nothing is traced."""

    @property
    def engine(self) -> Engine:
        """Of the inventory."""
        return self.inventory.engine

    @property
    def database(self) -> Database:
        """Of the inventory."""
        return self.inventory.database

    @property
    def watermark(self) -> Watermark:
        """Of the inventory."""
        return self.inventory.watermark
