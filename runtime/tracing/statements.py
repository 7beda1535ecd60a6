"""A span for each SQL statement of traced work: its kind, its table and its text, never its values.

Owns that span; persistence/database.py says when a statement begins and ends.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from opentelemetry.trace import SpanKind, Status, StatusCode, get_current_span

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

MOST_TEXT: Final = 2_000
_TABLE = re.compile(r"\b(?:FROM|INTO|UPDATE)\s+\"?([a-z_]+)", re.IGNORECASE)


class StatementSpans:
    """Give it to `Database.watch_statements`."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    def __call__(self, statement: str) -> Callable[[bool], None] | None:
        """A statement begins; what is returned is called at its end, with whether it went well."""
        if not get_current_span().is_recording():
            return None
        verb = statement.split(maxsplit=1)[0].upper() if statement.strip() else "SQL"
        table = _TABLE.search(statement)
        span = self._tracer.start_span(
            f"{verb} {table[1]}" if table else verb,
            kind=SpanKind.CLIENT,
            attributes={"db.system.name": "postgresql", "db.query.text": statement[:MOST_TEXT]},
        )

        def end(went_well: bool) -> None:
            if not went_well:
                span.set_status(Status(StatusCode.ERROR))
            span.end()

        return end
