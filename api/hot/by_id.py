"""Read, amend, release and confirm: the verbs that name a reservation in the path.

Owns their answers, also for reservations that only Postgres remembers. Never changes anything there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import UNSET

from api.hot import decode, respond
from api.hot.records import record_of
from api.hot.reserve import refusal
from api.problems import OF_STATUS, Problem, invalid
from api.stored import stored_reservation
from engine.commands import Amend, Command, Confirm, Read, Release
from engine.identity import is_reservation_id, split_id
from engine.results import Reply, Reservation

if TYPE_CHECKING:
    from api.hot.endpoints import Hot, Submit
    from api.hot.exchange import Exchange
    from api.services import Durability


def unknown_reservation() -> Problem:
    """404, in the same words whether it never was, or is another key's."""
    return Problem("unknown-reservation")


def id_of(exchange: Exchange) -> tuple[str, int]:
    """(base, created_ms) of the path's reservation. Raises `unknown-reservation` if it has not the form of an id."""
    text = exchange.argument
    if not is_reservation_id(text):
        raise unknown_reservation()
    return split_id(text)


def ended(code: str, reservation_json: str) -> Problem:
    """410 `reservation-expired` or 409 `reservation-not-active`, with the reservation as it stands."""
    return Problem(code, "", {"reservation": msgspec.Raw(reservation_json.encode())})


class _ById:
    """What the four verbs share: submit, wait, answer the record, or ask Postgres when Redis knows nothing."""

    def __init__(self, hot: Hot) -> None:
        self._hot = hot
        self._submit = hot.submit_change
        self._ledger = hot.waits_for_ledger

    def command(self, exchange: Exchange) -> Command:
        """The command of a request. Raises Problem."""
        raise NotImplementedError

    def ended_in_postgres(self, command: Any, stored: Reservation) -> str:
        """The status this verb gives for a reservation that has ended and aged out of Redis."""
        raise NotImplementedError

    def __call__(self, exchange: Exchange) -> None:
        """Submit; the answer goes out when the batch is back."""
        command = self.command(exchange)
        self.submit_of(exchange)(command, self._hot.on_reply(exchange, self._answer(exchange)))

    def submit_of(self, exchange: Exchange) -> Submit:
        """Where the command goes, by what its answer promises."""
        return self._submit

    def waits_for_ledger(self, exchange: Exchange) -> bool:
        """True if the answer may only go out once Postgres holds what it says."""
        return self._ledger

    def _answer(self, exchange: Exchange) -> Callable[[Any, Reply], None]:
        base = exchange.argument[:24]

        def answer(command: Any, reply: Reply) -> None:
            status = reply.status
            if status in {"ok", "replayed"}:
                body = respond.record_json(base, record_of(reply.payload[0]), reply.now_ms).encode()
                waits = self.waits_for_ledger(exchange)
                self._hot.finish(exchange, 200, body, reply.epoch, reply.seq, ledger=waits)
            elif status in {"expired", "not_active"}:
                raise ended(OF_STATUS[status], respond.record_json(base, record_of(reply.payload[0]), reply.now_ms))
            elif status == "unknown_reservation":
                self._hot.later(exchange, self._from_postgres(exchange, command, reply.now_ms))
            else:
                raise refusal(status, reply)

        return answer

    async def _from_postgres(self, exchange: Exchange, command: Any, now_ms: int) -> None:
        stored = await stored_reservation(self._hot.services, exchange.argument, exchange.caller.owner, now_ms)
        if stored is None:
            raise unknown_reservation()
        text = respond.stored_json(stored, now_ms)
        status = self.ended_in_postgres(command, stored)
        if status != "ok":
            raise ended(OF_STATUS[status], text)
        exchange.answer(200, text.encode())


class ReadEndpoint(_ById):
    """GET /inventory/reserve/{id}."""

    def __init__(self, hot: Hot) -> None:
        super().__init__(hot)
        # A look promises nothing.
        self._submit = hot.engine.submit

    def command(self, exchange: Exchange) -> Read:
        """Look, whatever state it is in."""
        base, created_ms = id_of(exchange)
        return Read(base, created_ms, exchange.caller.owner)

    def ended_in_postgres(self, command: Read, stored: Reservation) -> str:
        """Every state can be looked at."""
        return "ok"

    def waits_for_ledger(self, exchange: Exchange) -> bool:
        """A look changes nothing."""
        return False


class ReleaseEndpoint(_ById):
    """DELETE /inventory/reserve/{id}."""

    def command(self, exchange: Exchange) -> Release:
        """Give the hold back."""
        base, created_ms = id_of(exchange)
        caller = exchange.caller
        return Release(base, created_ms, caller.owner, caller.id)

    def ended_in_postgres(self, command: Release, stored: Reservation) -> str:
        """Cancelled already: the same answer again."""
        return {"CANCELLED": "ok", "EXPIRED": "expired"}.get(stored.status, "not_active")


class AmendEndpoint(_ById):
    """PATCH /inventory/reserve/{id}."""

    def command(self, exchange: Exchange) -> Amend:
        """New lines, a new time to live, or both."""
        base, created_ms = id_of(exchange)
        decode.check_media_type(exchange.content_type)
        body = decode.decode_body(decode.decode_amend, exchange.body)
        keys, lines, ttl_ms = 0, "", 0
        if body.lines is not UNSET:
            keys += 1 + 2 * len(body.lines)
            lines = decode.join_lines(body.lines, "$.lines")
        if body.ttl_seconds is not UNSET:
            keys += 1
            ttl_ms = 1000 * body.ttl_seconds
        decode.check_no_duplicates(exchange.body, keys)
        if not lines and not ttl_ms:
            raise invalid("give `lines`, `ttl_seconds` or both", "$")
        caller = exchange.caller
        return Amend(base, created_ms, lines, ttl_ms, caller.owner, caller.id)

    def ended_in_postgres(self, command: Amend, stored: Reservation) -> str:
        """What has ended cannot be amended."""
        return "expired" if stored.status == "EXPIRED" else "not_active"


class ConfirmEndpoint(_ById):
    """POST /inventory/reserve/{id}/confirm. The header Holdfast-Durability decides, the setting when there is none."""

    def __init__(self, hot: Hot) -> None:
        super().__init__(hot)
        self._offered: dict[bytes, Durability] = {level.encode(): level for level in hot.settings.durabilities}

    def command(self, exchange: Exchange) -> Confirm:
        """Turn the hold into a sale; the body is optional."""
        base, created_ms = id_of(exchange)
        if exchange.durability is not None and exchange.durability not in self._offered:
            raise Problem("invalid-durability", f"This service can give: {', '.join(self._offered.values())}.")
        order_id = ""
        if exchange.body:
            decode.check_media_type(exchange.content_type)
            body = decode.decode_body(decode.decode_confirm, exchange.body)
            decode.check_no_duplicates(exchange.body, 0 if body.order_id is UNSET else 1)
            order_id = body.order_id or ""
            decode.check_text(order_id, "$.order_id")
        caller = exchange.caller
        late = self._hot.settings.late_confirm
        return Confirm(((base, created_ms),), order_id, caller.owner, caller.id, late)

    def submit_of(self, exchange: Exchange) -> Submit:
        """To the replicas where they are asked for."""
        if exchange.durability is None:
            return self._submit
        return self._hot.submit_of(self._offered[exchange.durability])

    def waits_for_ledger(self, exchange: Exchange) -> bool:
        """Where the ledger is asked for."""
        if exchange.durability is None:
            return self._ledger
        return exchange.durability == b"ledger"

    def ended_in_postgres(self, command: Confirm, stored: Reservation) -> str:
        """Completed with the same order, or none named: the same answer again."""
        if stored.status == "COMPLETED" and command.order_id in {"", stored.order_id}:
            return "ok"
        return "expired" if stored.status == "EXPIRED" else "not_active"
