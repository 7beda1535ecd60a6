"""Log lines of every process: one format, request and reservation ids on each line, never a secret.

Owns structlog's and the standard library's configuration; never decides what is worth a line.
"""

from __future__ import annotations

import contextlib
import logging
import re
import sys
import threading
from collections.abc import Iterable, MutableMapping
from typing import IO, Any, Final, Literal

import structlog

from engine.trace_context import trace_id

MASK: Final = "***"

_SECRET_FIELD = re.compile(r"(?i)(^|_)(authorization|api_?key|key|password|passwd|secret|token|cookie)$")
_HARMLESS_FIELDS: Final = frozenset({"idempotency_key", "redis_key"})
_BEARER = re.compile(r"(?i)\b(bearer\s+)[^\s\"',;]+")
_OWN_KEY = re.compile(r"\bhf_[A-Za-z0-9_\-]{12,}|\bwhsec_[A-Za-z0-9+/=_\-]{12,}")
_BASIC = re.compile(r"(?i)\b(basic\s+)[A-Za-z0-9+/=_\-]{8,}")
# Up to the last @ of the word: a password may hold one, and a slash.
_URL_PASSWORD = re.compile(r"([a-z][a-z0-9+.\-]*://[^\s:/@]*:)[^\s\"']+(?=@)", re.IGNORECASE)
_NAMED = re.compile(
    r"(?i)((?<![\w])(?:authorization|password|passwd|pgpassword|secret|api_?key|key|token|cookie)\\?[\"']?\s*[=:]\s*)"
    r"(b?\\?'[^']*'|b?\\?\"[^\"]*\"|(?!//)[^\s&,;'\"})\]]+)"
)
_DEEPEST: Final = 8
"""Levels of lists and dicts that are looked through; what lies deeper is text."""


class Redactor:
    """Takes secrets out of log events: by the field's name, by its form, and by its exact value."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        """`secrets`: values known to be secret, such as the bootstrap keys; 8 characters at least."""
        known = sorted({secret for secret in secrets if len(secret) >= 8}, key=len, reverse=True)
        self._exact = re.compile("|".join(map(re.escape, known))) if known else None

    def __call__(self, _logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        """The structlog processor."""
        for name, value in event.items():
            event[name] = MASK if self._is_secret_field(name) and value is not None else self._clean(value)
        return event

    def text(self, text: str) -> str:
        """`text` without secrets."""
        if self._exact is not None:
            text = self._exact.sub(MASK, text)
        text = _BEARER.sub(rf"\1{MASK}", text)
        text = _BASIC.sub(rf"\1{MASK}", text)
        text = _OWN_KEY.sub(MASK, text)
        text = _URL_PASSWORD.sub(rf"\1{MASK}", text)
        return _NAMED.sub(rf"\1{MASK}", text)

    @staticmethod
    def _is_secret_field(name: str) -> bool:
        return name not in _HARMLESS_FIELDS and _SECRET_FIELD.search(name) is not None

    def _clean(self, value: Any, depth: int = 0) -> Any:
        if isinstance(value, str | bytes):
            return self.text(value if isinstance(value, str) else value.decode(errors="replace"))
        if value is None or isinstance(value, int | float):
            return value
        if depth < _DEEPEST and isinstance(value, dict):
            return {
                self.text(str(name)): MASK if self._is_secret_field(str(name)) else self._clean(inner, depth + 1)
                for name, inner in value.items()
            }
        if depth < _DEEPEST and isinstance(value, list | tuple | set | frozenset):
            return [self._clean(inner, depth + 1) for inner in value]
        try:
            return self.text(str(value))
        except Exception:  # noqa: BLE001 - a value that cannot be shown must not take its line along
            return f"<{type(value).__name__} that cannot be shown>"


class _Handler(logging.StreamHandler[IO[str]]):
    """Says that a line could not be written, and nothing of what was in it: the library would print its arguments."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the library's name
        """Called for an error in formatting or writing."""
        kind = sys.exc_info()[0]
        with contextlib.suppress(Exception):
            self.stream.write(
                f"a log line of {record.name} could not be written: {kind.__name__ if kind else 'unknown'}, "
                f"from {record.pathname}:{record.lineno}\n"
            )


def configure_logs(
    process: str,
    *,
    level: Literal["debug", "info", "warning", "error"] = "info",
    form: Literal["console", "json"] | None = None,
    secrets: Iterable[str] = (),
    stream: IO[str] | None = None,
) -> None:
    """Send structlog's and the standard library's log lines to `stream` (None: standard error) in one form.

    `process`: name on every line ("api-1", "worker"). `form` None: console on a terminal, json otherwise.
    Ids bound with `structlog.contextvars.bind_contextvars(request_id=..., reservation_id=...)` stand on every
    line, ids given as `extra={...}` on that one.
    """
    stream = stream or sys.stderr
    if form is None:
        form = "console" if stream.isatty() else "json"
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _named(process),
        _traced,
    ]
    # Tracebacks become text before redaction, so that a secret inside an exception is taken out as well.
    last: list[structlog.typing.Processor] = [
        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
        structlog.processors.format_exc_info,
        Redactor(secrets),
        structlog.processors.JSONRenderer(sort_keys=False)
        if form == "json"
        else structlog.dev.ConsoleRenderer(colors=stream.isatty(), pad_event_to=0),
    ]
    handler = _Handler(stream)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=last))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logger = logging.getLogger(name)
        logger.handlers[:] = []
        logger.propagate = True
    threading.excepthook = _log_thread_failure
    for name in ("uvicorn.error", "httpx", "httpcore", "alembic", "rq"):
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def _log_thread_failure(failed: threading.ExceptHookArgs) -> None:
    """Instead of Python's own, which prints the traceback as it is."""
    error = failed.exc_value or failed.exc_type()
    logging.getLogger("holdfast.threads").error("a thread ended by an error", exc_info=error)


def _traced(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """The trace that the line belongs to, unless it says so itself."""
    trace = trace_id()
    if trace:
        event.setdefault("trace_id", trace)
    return event


def _named(process: str) -> structlog.typing.Processor:
    def add(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        event["process"] = process
        return event

    return add
