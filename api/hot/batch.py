"""POST /inventory/reserve/batch: up to 1,000 independent reserves, each with its own answer, in order.

Owns the collecting of answers. Each item goes through the same functions as a reserve of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import UNSET

from api import problems
from api.hot import decode
from api.hot.reserve import reservation_answer, reserve_command
from api.problems import Problem
from engine.commands import Reserve
from engine.errors import HoldfastError
from engine.results import Reply

if TYPE_CHECKING:
    from api.auth import Caller
    from api.hot.endpoints import Hot
    from api.hot.exchange import Exchange

_encode = msgspec.json.encode


def item_problem(problem: Problem) -> bytes:
    """One refused item."""
    return _encode({"status": problem.kind.status, "problem": problem.document()})


def item_command(raw: bytes, caller: Caller) -> tuple[decode.BatchItemBody, Reserve]:
    """One item's body and command. Raises Problem, which concerns this item alone."""
    body = decode.decode_body(decode.decode_batch_item, raw)
    given = body.idempotency_key
    decode.check_no_duplicates(raw, decode.reserve_keys(body) + (given is not UNSET))
    key = None if given is UNSET else decode.check_idempotency_key(given.encode())
    return body, reserve_command(body, caller, key)


class _Collection:
    """The answers of one batch request as they come in."""

    def __init__(self, hot: Hot, exchange: Exchange, size: int) -> None:
        self._hot = hot
        self._exchange = exchange
        self._results: list[bytes] = [b""] * size
        self._missing = size
        self._epoch = self._seq = 0

    def put(self, position: int, result: bytes, epoch: int = 0, seq: int = 0) -> None:
        """Note one answer, and the event that the ledger must have behind it; the last one sends them all."""
        self._results[position] = result
        if seq and (not self._seq or epoch < self._epoch):
            # Answers of two epochs: nobody can tell any more whether the ledger has what the older one has promised,
            # and the wait for it says so.
            self._epoch, self._seq = epoch, seq
        elif epoch == self._epoch:
            self._seq = max(self._seq, seq)
        self._missing -= 1
        if not self._missing:
            self.send()

    def send(self) -> None:
        """Answer with what has been collected."""
        body = b'{"results":[%b]}' % b",".join(self._results)
        ledger = self._hot.waits_for_ledger and self._seq > 0
        self._hot.finish(self._exchange, 200, body, self._epoch, self._seq, ledger=ledger)

    def refuse(self, position: int, problem: Problem) -> None:
        """Note that one item was refused."""
        self._exchange.endpoint.count_refused(problem.kind.code, problem.extra)
        self.put(position, item_problem(problem))

    def on_reply(self, position: int, body: decode.BatchItemBody) -> Callable[[Any, Any], None]:
        """The callback of one item."""

        def answered(command: Reserve, reply: Any) -> None:
            try:
                if type(reply) is not Reply:
                    raise reply
                text, replayed = reservation_answer(body, command, reply)
                mark = ',"replayed":true' if replayed else ""
                result = f'{{"status":201,"reservation":{text}{mark}}}'.encode()
                self.put(position, result, reply.epoch, reply.seq)
            except Problem as problem:
                self.refuse(position, problem)
            except Exception as error:  # noqa: BLE001 - one item's trouble must not reach the rest of the batch
                if not isinstance(error, HoldfastError):
                    self._hot.log_failure(self._exchange, error)
                self.refuse(position, problems.of_exception(error))

        return answered


class BatchEndpoint:
    """Runs POST /inventory/reserve/batch."""

    def __init__(self, hot: Hot) -> None:
        self._hot = hot
        self._submit = hot.submit_change

    def __call__(self, exchange: Exchange) -> None:
        """Submit every good item; the answer goes out when the last one is back."""
        decode.check_media_type(exchange.content_type)
        body = decode.decode_body(decode.decode_batch, exchange.body)
        items = [bytes(raw) for raw in body.reservations]
        decode.check_no_duplicates(exchange.body, 1 + sum(raw.count(b":") for raw in items))
        if self._hot.charge_items is not None:
            self._hot.charge_items(exchange, len(items))
        collection = _Collection(self._hot, exchange, len(items))
        if not items:
            collection.send()
        for position, raw in enumerate(items):
            try:
                item, command = item_command(raw, exchange.caller)
                self._submit(command, collection.on_reply(position, item))
            except Problem as problem:
                collection.refuse(position, problem)
            except HoldfastError as error:
                collection.refuse(position, problems.of_exception(error))
