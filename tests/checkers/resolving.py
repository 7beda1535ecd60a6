"""What the journal knows of operations without an answer: that they never happened, or where they probably did.

Owns that look-up; decides nothing about right or wrong. An operation of unknown outcome may always be taken as one that
never happened, and a hint only tells the search where to look first: an order found with this help is an order without
it. If the journal kept silent about something that did happen, the search can only fail where it should.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable

from msgspec.structs import replace

from engine.events import Adjusted, Amended, Confirmed, Entry, Expired, Released, Reserved
from tests.checkers.history import History

_VERBS = {
    Reserved: "reserve",
    Amended: "amend",
    Confirmed: "confirm",
    Released: "release",
    Expired: "expire",
    Adjusted: "adjust",
}


def resolved(history: History, entries: Iterable[Entry]) -> History:
    """`history` without the unknown operations that the journal does not know, the others with a hint.

    `entries`: the whole journal of the run, in any order.
    """
    places: dict[tuple[str, str], list[tuple[int, int]]] = defaultdict(list)
    for entry in entries:
        for offset, event in enumerate(entry.events):
            verb = _VERBS.get(type(event))
            if verb:
                places[verb, event.id[:24]].append((entry.at_ms, entry.first_seq + offset))  # type: ignore[union-attr]
    acknowledged = Counter((one.call.verb, one.call.base) for one in history.operations if one.status == "ok")
    operations = []
    for one in history.operations:
        if one.answer is None:
            key = (one.call.verb, one.call.base)
            found = places[key]
            if len(found) <= acknowledged[key]:
                continue
            one = replace(one, hint=found[0])  # noqa: PLW2901
        operations.append(one)
    return replace(history, operations=tuple(operations))
