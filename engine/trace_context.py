"""Which trace the work at hand belongs to, for log lines and for what is sent on. Empty unless tracing is on.

Owns one context variable; knows nothing of OpenTelemetry, whose spans set it (runtime/tracing/).
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Final

TRACEPARENT: Final[ContextVar[str]] = ContextVar("traceparent", default="")
"""As W3C Trace Context writes it: `00-<trace id>-<span id>-<flags>`."""


def trace_id() -> str:
    """The trace id, 32 hex digits; empty when nothing is traced."""
    value = TRACEPARENT.get()
    return value[3:35] if value else ""


def headers_to_send() -> dict[str, str]:
    """What a request to somebody else carries, so that their spans join this trace."""
    value = TRACEPARENT.get()
    return {"traceparent": value} if value else {}
