"""GET /inventory/events: every reservation and stock event as it happens, and from where a reader left off."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Header, Query, Request, Response

from api.auth import Permission
from api.event_stream import EventStream
from api.openapi import operation
from api.problems import invalid
from api.requests import Reader, services_of
from inventory.events.feed import EventFeed
from inventory.events.kinds import EVENT_TYPES

router = APIRouter(prefix="/inventory", tags=["events"])

_MAX_ID: Final = 40
_DESCRIBED: Final[dict[str, Any]] = operation({200: None}, "unknown-event", "events-gone", "too-many-streams")
_DESCRIBED["responses"][200] = {
    "description": "Server-sent events, until one side leaves",
    "content": {
        "text/event-stream": {
            "schema": {"type": "string"},
            "examples": {
                "one event": {
                    "value": 'id: 0-1-17\nevent: stock.adjusted\ndata: {"id":"0-1-17","type":"stock.adjusted", ...}\n\n'
                }
            },
        }
    },
}


@router.get("/events", summary="What happens, as it happens (SSE)", response_class=Response, **_DESCRIBED)
async def stream_events(
    request: Request,
    caller: Reader,
    last_event_id: Annotated[
        str | None, Header(alias="Last-Event-ID", max_length=_MAX_ID, description="go on behind this event")
    ] = None,
    given_id: Annotated[
        str | None,
        Query(alias="last_event_id", max_length=_MAX_ID, description="the same; `oldest`: from the oldest event kept"),
    ] = None,
    types: Annotated[
        str | None, Query(max_length=1000, description="only these types, separated by commas; default: all")
    ] = None,
) -> Response:
    """In the order of the journal, each event once. Only what is committed in the ledger is told.

    Without `Last-Event-ID` it begins now. The header wins over the parameter, so that a browser that connects again to
    the same address goes on where it was.
    """
    wanted = frozenset(types.split(",")) if types else frozenset()
    unknown = sorted(wanted - set(EVENT_TYPES))
    if unknown:
        raise invalid(f"no such event type: {', '.join(unknown)[:200]}", "types")
    services = services_of(request)
    authorization: bytes = request.scope["holdfast.authorization"]

    def still_allowed() -> bool:
        known = services.keys.known(authorization)
        return known is not None and bool(known.grants & Permission.READ)

    feed: EventFeed = request.app.state.feed
    return EventStream(feed, last_event_id or given_id, wanted, still_allowed, services.settings.streams)
