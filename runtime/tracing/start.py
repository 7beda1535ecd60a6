"""Whether a process traces, and the tracer it has then. `start_tracing` is the only way in.

Owns the choice and the provider; imports OpenTelemetry only when it was asked for.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from runtime.settings import Settings, SettingsInvalid

if TYPE_CHECKING:
    from runtime.tracing.tracing import Tracing

_STANDARD: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
EXPORT_TIMEOUT_S: Final = 3.0
"""How long a collector that is away may keep the end of a process waiting."""


def start_tracing(settings: Settings, process: str, *, forks: bool = False) -> Tracing | None:
    """The tracing of this process, named `process` in it; None when no collector was named.

    `forks`: it will fork, and must have no thread of ours. Close what is given at the end.
    Raises SettingsInvalid when one was, and OpenTelemetry is not installed.
    """
    wanted = bool(settings.otel_endpoint) or any(os.environ.get(name) for name in _STANDARD)
    if not wanted or os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

        from runtime.tracing.gathering import Gathering  # noqa: PLC0415
        from runtime.tracing.tracing import Tracing  # noqa: PLC0415
    except ModuleNotFoundError as missing:
        raise SettingsInvalid(
            f"HOLDFAST_OTEL_ENDPOINT: tracing needs the package {missing.name}: pip install 'holdfast[otel]'"
        ) from None
    # Not service.instance.id: the library makes that anew in every fork.
    names = {"holdfast.process": process}
    if "OTEL_SERVICE_NAME" not in os.environ:
        names["service.name"] = "holdfast"
    # What is traced was decided before a span is begun; a sampler would cost every other request a span.
    provider = TracerProvider(resource=Resource.create(names))
    endpoint = f"{settings.otel_endpoint.rstrip('/')}/v1/traces" if settings.otel_endpoint else None
    exporter = OTLPSpanExporter(endpoint=endpoint, timeout=EXPORT_TIMEOUT_S)
    provider.add_span_processor(Gathering(exporter) if forks else BatchSpanProcessor(exporter))
    return Tracing(provider, settings.trace_sample)
