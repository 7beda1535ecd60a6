"""lua/apply.lua: many commands at once, the clock, the epoch, and a Redis that holds something else than it should."""

from __future__ import annotations

import re

import pytest
import redis

from engine.commands import Availability, Configure, Confirm, Read, Release, Reserve
from engine.events import Configured, Reserved
from engine.keys import partition_keys
from engine.scripts import Script, compose
from tests.scripts.machine import MINUTE_MS, START_MS, Fenced, Machine, address, member
from tests.waiting import wait_until


@pytest.fixture
def shop(machine: Machine) -> Machine:
    machine.stock("A", 10)
    return machine


# -- order and independence


def test_a_command_sees_those_before_it(machine: Machine) -> None:
    base = machine.base()
    hold = Reserve(base, "A=4", MINUTE_MS, owner="shop", details='{"c":"ann"}')

    results = machine.run(
        Availability("A=1"),
        Configure("A", 0, 0, True, 5, "admin"),
        hold,
        machine.reserving("A=2"),
        Release(base, START_MS, "shop", "shop"),
        machine.reserving("A=2"),
        Read(base, START_MS, "shop"),
        Availability("A=1"),
    )

    statuses = ["unknown_sku", "ok", "ok", "insufficient_stock", "ok", "ok", "ok", "ok"]
    assert [result.status for result in results] == statuses
    assert results[6].reservations[0].status == "CANCELLED"
    assert results[7].levels[0].available == 3
    assert machine.counters("A") == (5, 2)


def test_the_first_hold_of_a_batch_ends_in_it_and_the_others_keep_their_deadlines(shop: Machine) -> None:
    first, second, third = (
        shop.reserving("A=1", ttl_ms=minutes * MINUTE_MS, base=shop.base()) for minutes in (1, 2, 3)
    )

    results = shop.run(first, second, third, Release(first.base, START_MS, "shop", "shop"))

    assert [result.status for result in results] == ["ok"] * 4
    assert shop.deadlines() == {
        member(results[1]): START_MS + 2 * MINUTE_MS,
        member(results[2]): START_MS + 3 * MINUTE_MS,
    }


def test_a_hold_that_began_and_ended_in_one_batch_leaves_no_deadline(shop: Machine) -> None:
    base = shop.base()

    results = shop.run(Reserve(base, "A=4", MINUTE_MS, details='{"c":"ann"}'), Confirm(((base, START_MS),), "order-1"))

    assert [result.status for result in results] == ["ok", "ok"]
    assert shop.counters("A") == (6, 0)
    assert shop.deadlines() == {}


def test_one_malformed_command_does_not_touch_its_neighbours(shop: Machine) -> None:
    base = shop.base()
    statuses = shop.wild(
        ["nonsense"],
        ["reserve", base, "A=1", MINUTE_MS, False, "", "", '{"c":"ann"}'],
        7,
        ["availability", "A=0"],
        bases=[base],
    )

    assert statuses == ["malformed", "ok", "malformed", "malformed"]
    assert shop.counters("A") == (10, 1)


def test_a_batch_is_one_journal_entry_with_dense_numbers(shop: Machine) -> None:
    for size in (1, 7, 3):
        shop.run(*(shop.reserving("A=1", ttl_ms=1_000) for _ in range(size)))

    entries = shop.entries()
    assert [len(entry.events) for entry in entries] == [2, 1, 7, 2], "the last batch ran out of stock after two"
    expected = 1
    for entry in entries:
        assert (entry.schema, entry.epoch, entry.first_seq, entry.at_ms) == (1, 1, expected, START_MS)
        expected = entry.last_seq + 1
    assert shop.meta()["seq"] == str(expected - 1)


def test_a_batch_that_changes_nothing_writes_nothing(shop: Machine) -> None:
    before = shop.dump()
    shop.later(1)

    shop.run(Availability("A=1"), shop.reserving("A=11"), Read(shop.base(), 1))

    assert shop.dump() == before


def test_an_empty_batch(shop: Machine) -> None:
    assert shop.run() == []


def test_balances_stand_as_they_were_after_each_event(shop: Machine) -> None:
    shop.run(*(shop.reserving("A=1") for _ in range(3)))

    assert [event.lines for event in shop.events() if isinstance(event, Reserved)] == [
        "A=1=10=1",
        "A=1=10=2",
        "A=1=10=3",
    ]


# -- due holds


def test_more_due_holds_than_one_look_takes(machine: Machine) -> None:
    machine.stock("A", 600)
    for _ in range(6):
        machine.run(*(machine.reserving("A=1", ttl_ms=1_000) for _ in range(100)))
    machine.later(1_000)
    rounds = 0
    while machine.reserve("A=600").status == "due_holds":
        rounds += 1
        from engine.commands import Expire

        results = machine.run(*(Expire(name[:24], name) for name in machine.due))
        assert {result.status for result in results} == {"ok"}

    assert rounds == 3
    assert machine.counters("A") == (600, 600)


def test_holds_ended_earlier_in_the_batch_are_not_due_again(shop: Machine) -> None:
    held = shop.reserve("A=10")
    shop.later(MINUTE_MS)

    results = shop.run(shop.expiring(held), shop.reserving("A=10"))

    assert [result.status for result in results] == ["ok", "ok"]
    assert shop.due == []


def test_a_member_that_could_not_be_expired_does_not_block_the_answer(shop: Machine) -> None:
    held = shop.reserve("A=8")
    shop.damage("A", 10, 7)
    shop.later(MINUTE_MS)
    assert shop.reserve("A=4").status == "due_holds"

    shop.damaged = [member(held)]

    assert shop.reserve("A=4").status == "insufficient_stock"


# -- the clock


def test_time_is_the_servers(shop: Machine) -> None:
    shop.clock_ms = None
    seconds, micros = shop.client.time()  # type: ignore[misc]

    held = shop.reserve("A=1")

    # The shop was opened on a test clock far ahead, which time never goes back behind.
    assert seconds * 1000 + micros // 1000 < START_MS
    assert held.now_ms == START_MS


def test_the_servers_clock_is_read(redis_client: redis.Redis) -> None:
    machine = Machine(redis_client)
    machine.clock_ms = None
    seconds, micros = redis_client.time()  # type: ignore[misc]

    result = machine.stock("A", 1)

    before = seconds * 1000 + micros // 1000
    assert before <= result.now_ms < before + 10_000


def test_the_clock_is_the_servers_to_the_millisecond(redis_client: redis.Redis) -> None:
    def server_ms() -> int:
        seconds, micros = redis_client.time()  # type: ignore[misc]
        return int(seconds) * 1000 + int(micros) // 1000

    machine = Machine(redis_client)
    machine.clock_ms = None
    # Late in a second, where a wrong divisor shows.
    wait_until(lambda: server_ms() % 1000 >= 900)

    for number in range(100):
        before = server_ms()
        told_ms = machine.stock(f"S{number}", 1).now_ms
        assert before <= told_ms <= server_ms()


def test_the_clock_never_goes_back(shop: Machine) -> None:
    shop.later(5_000)
    shop.reserve("A=1")
    shop.later(-4_000)

    held = shop.reserve("A=1")

    assert held.now_ms == START_MS + 5_000
    assert held.reservations[0].deadline_ms == START_MS + 5_000 + MINUTE_MS
    assert shop.meta()["last_now_ms"] == str(START_MS + 5_000)
    assert [entry.at_ms for entry in shop.entries()] == sorted(entry.at_ms for entry in shop.entries())


# -- the epoch


@pytest.mark.parametrize("change", ["another epoch", "no meta", "another schema"])
def test_the_fence(shop: Machine, change: str) -> None:
    if change == "another epoch":
        shop.epoch = 2
    elif change == "no meta":
        shop.client.delete(shop.keys.meta)
    else:
        shop.client.hset(shop.keys.meta, "schema", "2")
    before = shop.dump()

    with pytest.raises(Fenced):
        shop.reserve("A=1")

    assert shop.dump() == before


# -- keys of the wrong type


@pytest.mark.parametrize("name", ["stock", "deadlines", "journal", "meta"])
def test_a_key_of_the_wrong_type_refuses_the_batch_before_its_first_write(shop: Machine, name: str) -> None:
    key = getattr(shop.keys, name)
    held = shop.reserve("A=1")
    shop.client.delete(key)
    if name == "journal":
        shop.client.rpush(key, "x")
    else:
        shop.client.set(key, "x", px=60_000)
    before = shop.dump()

    for command in (shop.reserving("A=1"), Release(*address(held))):
        with pytest.raises(redis.ResponseError, match=r"WRONGTYPE"):
            shop.one(command)

    assert shop.dump() == before
    shop.client.delete(key)


def test_a_record_that_is_no_record_refuses_the_batch(shop: Machine) -> None:
    held = shop.reserve("A=1")
    shop.client.set(shop.record_key(held), b"\xff\xff\xff", px=60_000)
    before = shop.dump()

    with pytest.raises(redis.ResponseError):
        shop.read(held)

    assert shop.dump() == before


def test_counters_that_are_no_counters_refuse_the_batch(shop: Machine) -> None:
    shop.client.hset(shop.keys.stock, "A", "-3 0 0 0 1")
    before = shop.dump()

    with pytest.raises(redis.ResponseError):
        shop.reserve("A=1")

    assert shop.dump() == before


# -- check everything, then write; the journal last


def traced(script: Script) -> Script:
    """The same script, keeping the names of its Redis calls in order in a list of its own."""
    head = """
local real_call = redis.call
local traced_redis = { call = function(name, ...)
  local copy = {}
  for i, value in ipairs({ name, ... }) do copy[i] = value end
  real_call("RPUSH", "trace", name)
  return real_call(name, ...)
end }
local redis = traced_redis
"""
    return Script(source=head.replace("\n", " ") + script.source, sha="", lines=())


def test_every_read_is_before_the_first_write_and_the_journal_is_last(
    redis_client: redis.Redis, known_keys: list[str]
) -> None:
    known_keys.append("trace")
    machine = Machine(redis_client, traced(compose()))
    machine.stock("A", 10)
    machine.stock("B", 10)
    kept, sold, changed, gone = (machine.reserve("A=1,B=1") for _ in range(4))
    redis_client.delete("trace")

    results = machine.run(
        machine.reserving("A=1", fingerprint="a" * 16),
        machine.reserving("A=99"),
        Availability("B=99"),
        Confirm((address(sold),), "order-1"),
        Release(*address(gone)),
        Read(*address(kept)),
        Configure("C", 0, 0, True, 1, "admin"),
    )

    assert {result.status for result in results} == {"ok", "insufficient_stock"}
    assert changed.status == "ok"
    calls = [name.decode() for name in redis_client.lrange("trace", 0, -1)]  # type: ignore[union-attr]
    writes = {"HSET", "ZADD", "ZREM", "SET", "XADD"}
    kinds = ["write" if name in writes else "read" for name in calls]
    assert kinds == sorted(kinds), f"reads and writes are mixed: {calls}"
    assert calls[-1] == "XADD"
    assert calls.count("XADD") == 1


def test_only_declared_keys_are_touched(redis_client: redis.Redis, known_keys: list[str]) -> None:
    """The record keys that a batch writes are those it was given; nothing else appears."""
    machine = Machine(redis_client)
    machine.stock("A", 10)
    held = machine.reserve("A=1")
    keys = partition_keys(0)

    names = {name.decode() for name in redis_client.scan_iter()}  # type: ignore[union-attr]

    assert names == {keys.stock, keys.deadlines, keys.journal, keys.meta, machine.record_key(held)}
    assert all(re.match(r"\{h00\}:", name) for name in names)
    assert isinstance(machine.events()[0], Configured)
