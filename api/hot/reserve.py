"""POST /inventory/reserve: body bytes to a Reserve command, and its reply to an answer.

Owns the canonical form of a reserve request (what its fingerprint covers). `batch.py` uses the same two halves.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import UNSET

from api.hot import decode, respond
from api.hot.records import record_of
from api.problems import OF_STATUS, Problem, invalid
from engine.commands import Reserve
from engine.identity import derived_base, fingerprint, make_id, random_base
from engine.results import Details, Reply, Shortage

if TYPE_CHECKING:
    from api.auth import Caller
    from api.hot.endpoints import Hot
    from api.hot.exchange import Exchange

REPLAYED = ((b"idempotency-replayed", b"true"),)

_encode = msgspec.json.encode


def reserve_command(body: decode.ReserveBody, caller: Caller, key: str | None) -> Reserve:
    """The command that a checked body stands for. Raises Problem `validation-error`.

    The fingerprint covers everything that shapes the reservation, defaults filled in and a SKU named twice summed:
    two requests that mean the same are the same, however they are written.
    """
    lines = decode.reserve_lines(body)
    customer = body.customer_id
    decode.check_text(customer, "$.customer_id")
    cart = body.cart_id
    if cart is UNSET:
        cart = None
    elif cart is not None:
        decode.check_text(cart, "$.cart_id")
    ttl = body.ttl_seconds
    ttl_ms = 1000 * (decode.DEFAULT_TTL_SECONDS if ttl is UNSET else ttl)
    in_part = body.allow_partial is True
    details = _encode(Details(customer, cart, ttl_ms, lines if in_part else ""))
    text = details.decode()
    if key is None:
        return Reserve(random_base(), lines, ttl_ms, in_part, caller.id, "", text)
    base = derived_base("reserve", caller.id, key)
    return Reserve(base, lines, ttl_ms, in_part, caller.id, fingerprint(details + lines.encode()), text)


def reservation_answer(body: decode.ReserveBody, command: Reserve, reply: Reply) -> tuple[str, bool]:
    """The reservation object that a reserve is answered with, and whether it is a replay. Raises Problem.

    What is answered first and what a replay gives come from the same functions and the same numbers, so they are the
    same bytes.
    """
    status = reply.status
    if status == "ok":
        created_ms = reply.now_ms
        created = respond.timestamp(created_ms)
        granted = reply.payload[0] if reply.payload else command.lines
        ttl_ms = command.ttl_ms
        text = respond.reservation_json(
            make_id(command.base, created_ms),
            "ACTIVE",
            respond.json_text(body.customer_id),
            "null" if body.cart_id is UNSET else respond.json_text(body.cart_id),
            "null",
            granted,
            created_ms + ttl_ms,
            -(-ttl_ms // 1000),
            created,
            created,
        )
        if command.partial:
            return f'{text},"shortages":{respond.partial_shortages_json(command.lines, granted)}}}', False
        return text + "}", False
    if status == "replayed":
        return respond.first_answer_json(command.base, record_of(reply.payload[0]))[0], True
    raise refusal(status, reply)


def refusal(status: str, reply: Reply) -> Problem:
    """The problem for a status that says a reserve or an amend cannot be had."""
    code = OF_STATUS[status]
    if code == "insufficient-stock":
        shortages = [Shortage(*short) for short in reply.payload[0]]
        return Problem(
            code,
            f"{len(shortages)} line(s) cannot be held.",
            {"shortages": respond.shortage_documents(shortages)},
        )
    if code in {"unknown-sku", "product-inactive"}:
        return Problem(code, "", {"skus": list(reply.payload[0])})
    if code == "validation-error":
        return invalid("the state machine refuses this command", "$")
    return Problem(code)


class ReserveEndpoint:
    """Runs POST /inventory/reserve."""

    def __init__(self, hot: Hot) -> None:
        self._hot = hot
        self._submit = hot.submit_change
        self._ledger = hot.waits_for_ledger

    def __call__(self, exchange: Exchange) -> None:
        """Decode, submit; the answer goes out when the batch is back."""
        if exchange.content_type != b"application/json":
            decode.check_media_type(exchange.content_type)
        key = exchange.idempotency_key
        text = None if key is None else decode.check_idempotency_key(key)
        body = decode.decode_body(decode.decode_reserve, exchange.body)
        decode.check_no_duplicates(exchange.body, decode.reserve_keys(body))
        command = reserve_command(body, exchange.caller, text)
        self._submit(command, partial(self._answer, exchange, body))

    def _answer(self, exchange: Exchange, body: decode.ReserveBody, command: Reserve, reply: Any) -> None:
        try:
            if type(reply) is not Reply:
                raise reply
            text, replayed = reservation_answer(body, command, reply)
            headers = REPLAYED if replayed else ()
            if self._ledger:
                self._hot.finish(exchange, 201, text.encode(), reply.epoch, reply.seq, headers, ledger=True)
            else:
                exchange.answer(201, text.encode(), headers)
        except Exception as error:  # noqa: BLE001 - one caller's trouble must not reach the others of its batch
            self._hot.fail(exchange, error)
