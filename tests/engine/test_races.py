"""Many callers, one truth: the last units, and a hold that everybody ends at the moment of its deadline."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable

import pytest
import redis

from engine import Configure, Confirm, Engine, Release, Reserve, Result
from engine.commands import Adjust, Amend, Expire
from engine.events import Adjusted, Amended, Configured, Confirmed, Expired, Released, decode_entry, event_lines
from engine.identity import random_base
from engine.keys import partition_keys
from tests.engine.conftest import OpenEngine
from tests.model.journal_replay import JournalReplay

KEYS = partition_keys(0)
START_MS = 1_800_000_000_000
CALLERS = 64
DETAILS = '{"c":"ann"}'

Together = Callable[[], Awaitable[list[Engine]]]


@pytest.fixture
async def engines(open_engine: OpenEngine) -> list[Engine]:
    """Four engines with links of their own, as four processes would have."""
    opened = [await open_engine(clock_ms=START_MS, links=links) for links in (1, 2, 2, 3)]
    await opened[0].execute(Configure("A", 0, 0, True, 100, "admin"))
    return opened


def replay(client: redis.Redis) -> JournalReplay:
    """The whole journal, checked event by event and held against the counters."""
    played = JournalReplay()
    for _, fields in client.xrange(KEYS.journal):  # type: ignore[union-attr]
        played.feed(decode_entry(fields[b"b"]))
    found = {}
    for sku, value in client.hgetall(KEYS.stock).items():  # type: ignore[union-attr]
        on_hand, reserved, *_ = value.decode().split(" ")
        found[sku.decode()] = (int(on_hand), int(reserved))
    assert found == played.counters
    return played


@pytest.mark.parametrize("units", [1, 7, 63, 64, 65])
async def test_the_last_units(engines: list[Engine], redis_client: redis.Redis, units: int) -> None:
    await engines[0].execute(Configure("LAST", 0, 0, True, units, "admin"))

    async def buy(caller: int) -> str:
        engine = engines[caller % len(engines)]
        return (await engine.execute(Reserve(random_base(), "LAST=1", 60_000, details=DETAILS))).status

    statuses = Counter(await asyncio.gather(*(buy(caller) for caller in range(CALLERS))))

    assert statuses["ok"] == min(units, CALLERS)
    assert statuses["insufficient_stock"] == CALLERS - statuses["ok"]
    assert replay(redis_client).counters["LAST"] == (units, statuses["ok"])


async def test_the_last_units_of_several_skus_at_once(engines: list[Engine], redis_client: redis.Redis) -> None:
    """Every caller wants two of three SKUs: all or nothing, whoever loses."""
    for sku in ("X", "Y", "Z"):
        await engines[0].execute(Configure(sku, 0, 0, True, 20, "admin"))
    pairs = ["X=1,Y=1", "Y=1,Z=1", "Z=1,X=1"]

    async def buy(caller: int) -> Result:
        engine = engines[caller % len(engines)]
        return await engine.execute(Reserve(random_base(), pairs[caller % 3], 60_000, details=DETAILS))

    results = await asyncio.gather(*(buy(caller) for caller in range(CALLERS)))

    won = sum(result.status == "ok" for result in results)
    played = replay(redis_client)
    assert sum(played.counters[sku][1] for sku in ("X", "Y", "Z")) == 2 * won
    assert won >= 29, "of 60 units at most two can be left that no pair fits"


async def test_one_key_from_everybody_is_one_reservation(engines: list[Engine], redis_client: redis.Redis) -> None:
    command = Reserve(random_base(), "A=1", 60_000, fingerprint="a" * 16, details=DETAILS)

    results = await asyncio.gather(*(engines[n % 4].execute(command) for n in range(CALLERS)))

    assert Counter(result.status for result in results) == {"ok": 1, "replayed": CALLERS - 1}
    assert len({result.reservations[0].id for result in results}) == 1
    assert replay(redis_client).counters["A"] == (100, 1)


@pytest.mark.parametrize("off_ms", [-1, 0, 1])
@pytest.mark.parametrize("seed", range(4))
async def test_everybody_ends_the_same_holds_around_their_deadline(
    engines: list[Engine], redis_client: redis.Redis, off_ms: int, seed: int
) -> None:
    """256 calls confirm, release and expire 16 holds; each ends once, and the journal has one ending."""
    dice = random.Random(f"{seed} {off_ms}")
    held = await engines[0].apply(
        [Reserve(random_base(), "A=2", 1_000, owner="shop", details=DETAILS) for _ in range(16)]
    )
    ids = [result.reservations[0].id for result in held]
    for engine in engines:
        engine.batcher.clock_ms = START_MS + 1_000 + off_ms

    def ending(reservation_id: str, caller: int) -> Confirm | Release | Expire:
        base, created = reservation_id[:24], int(reservation_id[24:], 16)
        return dice.choice(
            [
                Confirm(((base, created),), f"order-{caller}", "shop", "shop"),
                Release(base, created, "shop", "shop"),
                Expire(base, f"{reservation_id} A=2"),
            ]
        )

    calls = [
        (dice.randrange(4), ending(one, caller)) for caller in range(CALLERS // 16) for one in ids for _ in range(4)
    ]
    dice.shuffle(calls)
    results = await asyncio.gather(*(engines[which].execute(command) for which, command in calls))

    played = replay(redis_client)
    endings = Counter(
        event.id
        for _, fields in redis_client.xrange(KEYS.journal)  # type: ignore[union-attr]
        for event in decode_entry(fields[b"b"]).events
        if isinstance(event, Confirmed | Released | Expired)
    )
    # At -1 ms an expire is not due, so a hold that nobody else tried to end may still be there.
    tried = {
        command.member[:36] if isinstance(command, Expire) else _id_of(command)
        for _, command in calls
        if off_ms >= 0 or not isinstance(command, Expire)
    }
    assert endings == dict.fromkeys(tried, 1), f"seed {seed}"
    assert played.ended == tried
    sold = _sold(redis_client)
    assert played.counters["A"] == (100 - sold, 2 * (16 - len(tried)))
    oks = Counter(
        type(command).__name__ for (_, command), result in zip(calls, results, strict=True) if result.status == "ok"
    )
    if off_ms >= 0:
        assert sold == 0, "from its deadline on a hold cannot be sold"
        assert set(oks) <= {"Expire"}
    else:
        assert set(oks) <= {"Confirm", "Release"}
        assert sum(oks.values()) == len(tried), "each hold was ended by exactly one caller"


def _id_of(command: Confirm | Release) -> str:
    base, created = command.reservations[0] if isinstance(command, Confirm) else (command.base, command.created_ms)
    return f"{base}{created:012x}"


def _sold(client: redis.Redis) -> int:
    return sum(
        line.quantity
        for _, fields in client.xrange(KEYS.journal)  # type: ignore[union-attr]
        for event in decode_entry(fields[b"b"]).events
        if isinstance(event, Confirmed)
        for line in event_lines(event.lines)
    )


async def test_confirm_and_release_of_one_hold(engines: list[Engine], redis_client: redis.Redis) -> None:
    for turn in range(20):
        held = await engines[0].reserve([("A", 1)], customer_id="ann", ttl_ms=60_000)
        base, created = held.id[:24], held.created_ms
        commands = [Confirm(((base, created),), "order-1"), Release(base, created)] * (CALLERS // 2)

        results = await asyncio.gather(*(engines[(n + turn) % 4].execute(one) for n, one in enumerate(commands)))

        assert sum(result.status == "ok" for result in results) == 1
        by_verb = {(type(one).__name__, result.status) for one, result in zip(commands, results, strict=True)}
        confirmed = {("Confirm", "ok"), ("Confirm", "replayed"), ("Release", "not_active")}
        released = {("Release", "ok"), ("Release", "replayed"), ("Confirm", "not_active")}
        assert by_verb in (confirmed, released)
    replay(redis_client)


async def test_amends_that_race_a_release_lose_no_unit(engines: list[Engine], redis_client: redis.Redis) -> None:
    held = await engines[0].reserve([("A", 5)], customer_id="ann", ttl_ms=60_000)
    base, created = held.id[:24], held.created_ms
    commands: list[Amend | Release] = [Amend(base, created, f"A={n % 9 + 1}", 0) for n in range(CALLERS - 1)]
    commands.insert(40, Release(base, created))

    await asyncio.gather(*(engines[n % 4].execute(one) for n, one in enumerate(commands)))

    played = replay(redis_client)
    assert played.counters["A"] == (100, 0)
    assert played.active == {}


async def test_the_shop_takes_stock_while_customers_do(engines: list[Engine], redis_client: redis.Redis) -> None:
    """32 reserves of one and 32 removals of one on 40 units: together never more than there are."""
    await engines[0].execute(Configure("T", 0, 0, True, 40, "admin"))

    async def call(n: int) -> str:
        engine = engines[n % 4]
        if n % 2:
            return (await engine.execute(Reserve(random_base(), "T=1", 60_000, details=DETAILS))).status
        lines = (("T", "remove", 1),)
        return (await engine.execute(Adjust(random_base(), lines, "DAMAGE", "broken", "", "", "admin"))).status  # type: ignore[arg-type]

    statuses = Counter(await asyncio.gather(*(call(n) for n in range(CALLERS))))

    assert statuses == {"ok": 40, "insufficient_stock": 24}
    on_hand, reserved = replay(redis_client).counters["T"]
    assert on_hand == reserved


def test_the_replay_knows_every_event() -> None:
    """A kind of event that the replay passes over would make every test here weaker."""
    from typing import get_args

    from engine.events import Announced, Event, Reserved

    moving = {Reserved, Amended, Confirmed, Released, Expired, Adjusted, Configured}
    assert set(get_args(Event)) == moving | {Announced}
