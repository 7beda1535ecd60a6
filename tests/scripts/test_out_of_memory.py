"""Redis at its memory limit: what takes memory is refused with nothing written, what ends holds still runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import redis

from engine.commands import Adjust, Amend, Announce, Command, Configure, Confirm, Read, Release, Repair
from engine.results import Result
from runtime.embedded_redis import EmbeddedRedis
from tests.scripts.machine import MINUTE_MS, Machine, address


@pytest.fixture
def full(make_redis: Callable[..., EmbeddedRedis]) -> Iterator[Machine]:
    """Stock and four holds, then a server that has used up its memory."""
    with make_redis().client() as client:
        machine = Machine(client)
        machine.stock("A", 100)
        yield machine


def fill(machine: Machine) -> None:
    machine.client.config_set("maxmemory", "1")
    with pytest.raises(redis.exceptions.OutOfMemoryError):
        machine.client.set("more", "x")


def refused(machine: Machine, *commands: object) -> None:
    before = machine.dump()
    with pytest.raises(redis.exceptions.OutOfMemoryError):
        machine.run(*commands)  # type: ignore[arg-type]
    assert machine.dump() == before


def test_what_takes_memory_is_refused_and_nothing_is_written(full: Machine) -> None:
    held = full.reserve("A=1")
    fill(full)

    refused(full, full.reserving("A=1"))
    refused(full, full.reserving("A=1"), full.reserving("A=999"))
    refused(full, Configure("B", 0, 0, True, 5, "admin"))
    with pytest.raises(redis.exceptions.OutOfMemoryError):
        full.amend(held, "A=2")
    with pytest.raises(redis.exceptions.OutOfMemoryError):
        full.adjust(("A", "add", 1))
    assert full.counters("A") == (100, 1)


@pytest.mark.parametrize("verb", ["release", "confirm", "expire", "read a due hold"])
def test_what_ends_holds_still_runs(full: Machine, verb: str) -> None:
    held = full.reserve("A=5")
    if verb in {"expire", "read a due hold"}:
        full.later(MINUTE_MS)
    fill(full)

    end: dict[str, Callable[[Result], Result]] = {
        "release": full.release,
        "confirm": full.confirm,
        "expire": full.expire,
        "read a due hold": full.read,
    }
    assert end[verb](held).status == "ok"
    assert full.counters("A") == (95 if verb == "confirm" else 100, 0)
    assert full.deadlines() == {}
    assert full.meta()["seq"] == str(len(full.events()))


def test_many_ends_in_one_batch(full: Machine) -> None:
    held = [full.reserve("A=1") for _ in range(20)]
    fill(full)

    results = full.run(
        *(Release(*address(one)) for one in held[:10]), Confirm(tuple(address(one) for one in held[10:]), "order-1")
    )

    assert {result.status for result in results} == {"ok"}
    assert full.counters("A") == (90, 0)


def test_a_refused_reserve_beside_an_end_does_not_stop_it(full: Machine) -> None:
    """A reserve that finds no stock takes no memory, so its batch may run."""
    held = full.reserve("A=100")
    fill(full)

    results = full.run(full.reserving("A=999"), Release(*address(held)))

    assert [result.status for result in results] == ["insufficient_stock", "ok"]


def test_a_mixed_batch_is_refused_whole(full: Machine) -> None:
    """The script cannot run half a batch; the batcher sends what ends holds again by itself."""
    held = full.reserve("A=1")
    fill(full)

    refused(full, Release(*address(held)), full.reserving("A=1"))
    refused(full, full.reserving("A=1"), Release(*address(held)))
    refused(full, full.reserving("A=1"), Confirm((address(held),), "order-1", "shop", "shop"))


@pytest.mark.parametrize("verb", ["reserve", "reserve of two", "amend", "adjust", "configure", "announce", "repair"])
def test_what_takes_memory_says_so(full: Machine, verb: str) -> None:
    """Beside an end, which may write first: what follows would then be let through."""
    held, other = full.reserve("A=1"), full.reserve("A=1")
    growing: dict[str, Command] = {
        "reserve": full.reserving("A=1"),
        "reserve of two": full.reserving("A=1,B=1"),
        "amend": Amend(*address(other), "A=2", 0, "shop", "shop"),
        "adjust": Adjust(full.base(), (("A", "add", 1),), "IN", "why", "Delivery", "d", "admin"),
        "configure": Configure("A", 1, 1, True, 0, "admin"),
        "announce": Announce(full.base(), "stock.low", "{}", "worker"),
        "repair": Repair(full.base(), (("A", 1, 0),), "why", "drift-1", "admin"),
    }
    full.stock("B", 5)
    fill(full)

    refused(full, Release(*address(held)), growing[verb])


def test_a_late_sale_takes_memory(full: Machine) -> None:
    held, other = full.reserve("A=1", ttl_ms=MINUTE_MS), full.reserve("A=1", ttl_ms=2 * MINUTE_MS)
    full.later(MINUTE_MS)
    full.expire(held)
    fill(full)

    refused(full, Release(*address(other)), Confirm((address(held),), "order-1", "shop", "shop", True))


def test_looking_still_works(full: Machine) -> None:
    held = full.reserve("A=1")
    fill(full)

    assert full.read(held).status == "ok"
    assert full.availability("A=1").status == "ok"
    assert full.one(Read(full.base(), 1)).status == "unknown_reservation"
