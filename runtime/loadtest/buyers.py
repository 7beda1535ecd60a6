"""The buyers at work: each arrives at its instant, whatever became of the others, and does what its behaviour says.

Owns the sending and the notes taken of it. Never judges an answer, and repeats a request only when its outcome is
unknown (503 or no answer), always under the same key.
"""

from __future__ import annotations

import asyncio
import gc
import hashlib
import time
from collections.abc import Sequence
from typing import Any, Final

import msgspec
import uvloop
from msgspec import Struct

from runtime.loadtest.observations import Looked, Seen, Verb
from runtime.loadtest.schedule import Behaviour, Buyer, Sale, key_of, order_of
from runtime.wire import RequestMaker, Wire, WireAnswer, parse_origin

FIRST_WAIT_S: Final = 0.02
LONGEST_WAIT_S: Final = 0.5
LATE_BY_S: Final = 0.25
"""How long after its deadline a late buyer comes."""


class Share(Struct, frozen=True):
    """What one generator process does."""

    url: str
    api_key: str
    sale: Sale
    buyers: tuple[Buyer, ...]
    connections: int
    patience_s: float
    """How long a request whose outcome is unknown is repeated."""
    start_s: float
    """Monotonic instant at which the sale begins; on Linux and macOS the clock is the same in every process."""

    def __repr__(self) -> str:
        """Without the key: this may end up in a traceback."""
        return f"Share({self.url}, {len(self.buyers)} buyers)"


class _Body(Struct, frozen=True):
    id: str = ""
    status: Any = ""
    code: str = ""


_decode_body = msgspec.json.Decoder(_Body).decode


def run_share(share: Share) -> bytes:
    """Play one share in a process of its own; the observations as msgpack."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return msgspec.msgpack.encode(runner.run(play_share(share)))


def decode_share(raw: bytes) -> list[Seen]:
    """What `run_share` gave."""
    return msgspec.msgpack.decode(raw, type=list[Seen])


async def play_share(share: Share) -> list[Seen]:
    """Play one share of the sale. Raises OSError or TimeoutError if the service cannot be reached at the start."""
    wire = Wire(parse_origin(share.url), share.connections)
    await wire.start()
    # A collection walks every note taken so far and would delay the buyers of that moment; the notes hold no cycles.
    gc.collect()
    gc.disable()
    try:
        crowd = _Crowd(share, wire)
        await crowd.play()
    finally:
        gc.enable()
        await wire.close()
    return crowd.seen


async def look_at(
    url: str, api_key: str, reservations: Sequence[str], connections: int, patience_s: float
) -> list[Looked]:
    """Read reservations, `connections` at a time; for `patience_s` seconds unknown answers are asked for again."""
    origin = parse_origin(url)
    make = RequestMaker(origin, api_key)
    wire = Wire(origin, connections)
    await wire.start()
    give_up = time.monotonic() + patience_s

    async def look(reservation: str) -> Looked:
        while True:
            answer = await wire.ask(make.make("GET", f"/inventory/reserve/{reservation}"))
            if answer.status not in {0, 503} or time.monotonic() > give_up:
                return Looked(reservation, answer.status, str(_body_of(answer).status))
            await asyncio.sleep(LONGEST_WAIT_S)

    try:
        return await asyncio.gather(*(look(reservation) for reservation in reservations))
    finally:
        await wire.close()


def _body_of(answer: WireAnswer) -> _Body:
    try:
        return _decode_body(answer.body)
    except msgspec.MsgspecError:
        return _Body(code="not JSON")


class _Crowd:
    """The buyers of one share."""

    def __init__(self, share: Share, wire: Wire) -> None:
        self._share = share
        self._sale = share.sale
        self._wire = wire
        self._make = RequestMaker(parse_origin(share.url), share.api_key)
        self._loop = asyncio.get_running_loop()
        self.seen: list[Seen] = []

    async def play(self) -> None:
        tasks = set()
        for buyer in self._share.buyers:
            due = self._share.start_s + buyer.at_s
            while (wait := due - time.monotonic()) > 0:  # noqa: ASYNC110 - a timer may fire a little early
                await asyncio.sleep(wait)
            task = self._loop.create_task(self._live(buyer, due))
            tasks.add(task)
        await asyncio.gather(*tasks)

    async def _live(self, buyer: Buyer, due: float) -> None:
        behaviour = buyer.behaviour
        reserve = self._reserve(buyer)
        if behaviour == Behaviour.DOUBLE_CLICK:
            first, second = await asyncio.gather(
                self._do(buyer, Verb.RESERVE, reserve, due), self._do(buyer, Verb.RESERVE, reserve, due)
            )
            granted = first if first.status == 201 else second
        else:
            granted = await self._do(buyer, Verb.RESERVE, reserve, due)
        if behaviour == Behaviour.RETRY:
            again = await self._do(buyer, Verb.RESERVE, reserve, time.monotonic())
            granted = granted if granted.status == 201 else again
        if granted.status != 201 or not granted.reservation:
            return
        await self._finish(buyer, granted.reservation, granted.answered_s)

    async def _finish(self, buyer: Buyer, reservation: str, answered: float) -> None:
        behaviour = buyer.behaviour
        if behaviour == Behaviour.WALK_AWAY:
            return
        think_s = buyer.think_s
        if behaviour == Behaviour.LATE:
            think_s = self._sale.ttl_s + LATE_BY_S
        due = answered + think_s
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        confirm, release = self._confirm(buyer, reservation), self._release(reservation)
        if behaviour == Behaviour.RELEASE:
            await self._do(buyer, Verb.RELEASE, release, due, reservation)
            await self._do(buyer, Verb.RELEASE, release, time.monotonic(), reservation)
            await self._do(buyer, Verb.CONFIRM, confirm, time.monotonic(), reservation)
        elif behaviour == Behaviour.RETRY:
            await self._do(buyer, Verb.CONFIRM, confirm, due, reservation)
            await self._do(buyer, Verb.CONFIRM, confirm, time.monotonic(), reservation)
            await self._do(buyer, Verb.RELEASE, release, time.monotonic(), reservation)
        elif behaviour == Behaviour.DOUBLE_CLICK:
            await asyncio.gather(
                self._do(buyer, Verb.CONFIRM, confirm, due, reservation),
                self._do(buyer, Verb.CONFIRM, confirm, due, reservation),
            )
        else:
            await self._do(buyer, Verb.CONFIRM, confirm, due, reservation)

    def _reserve(self, buyer: Buyer) -> bytes:
        body = (
            f'{{"customer_id":"buyer-{buyer.number}","sku":"{self._sale.sku}","quantity":{buyer.quantity},'
            f'"ttl_seconds":{self._sale.ttl_s}}}'
        )
        key = {"Idempotency-Key": key_of(self._sale, buyer.number)}
        return self._make.make("POST", "/inventory/reserve", body.encode(), key)

    def _confirm(self, buyer: Buyer, reservation: str) -> bytes:
        body = f'{{"order_id":"{order_of(self._sale, buyer.number)}"}}'
        return self._make.make("POST", f"/inventory/reserve/{reservation}/confirm", body.encode())

    def _release(self, reservation: str) -> bytes:
        return self._make.make("DELETE", f"/inventory/reserve/{reservation}")

    async def _do(self, buyer: Buyer, verb: Verb, request: bytes, due: float, target: str = "") -> Seen:
        wait_s, repeat = FIRST_WAIT_S, 0
        give_up = time.monotonic() + self._share.patience_s
        while True:
            asked = time.monotonic()
            answer = await self._wire.ask(request)
            again = answer.status in {0, 503} and answer.answered_s + wait_s < give_up
            seen = self._note(buyer, verb, (due, asked), answer, target, repeat, final=not again)
            if not again:
                return seen
            await asyncio.sleep(wait_s)
            wait_s, repeat = min(2 * wait_s, LONGEST_WAIT_S), repeat + 1

    def _note(  # noqa: PLR0917
        self,
        buyer: Buyer,
        verb: Verb,
        due_and_asked: tuple[float, float],
        answer: WireAnswer,
        target: str,
        repeat: int,
        *,
        final: bool,
    ) -> Seen:
        due, asked = due_and_asked
        body = _body_of(answer) if answer.status else _Body()
        good = answer.status in {200, 201}
        hashed = verb == Verb.RESERVE and answer.status == 201
        seen = Seen(
            buyer=buyer.number,
            verb=verb,
            scheduled_s=due,
            asked_s=asked,
            sent_s=answer.sent_s,
            answered_s=answer.answered_s,
            status=answer.status,
            code="" if good else body.code,
            target=target,
            reservation=body.id if good else "",
            state=str(body.status) if good else "",
            replayed=answer.replayed,
            body_hash=hashlib.blake2b(answer.body, digest_size=8).hexdigest() if hashed else "",
            repeat=repeat,
            final=final,
        )
        self.seen.append(seen)
        return seen
