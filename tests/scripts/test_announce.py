"""lua/commands/announce.lua: every status in precedence order, and what it writes."""

from __future__ import annotations

from typing import Any

import pytest

from engine.commands import Announce
from engine.events import Announced
from tests.scripts.machine import START_MS, Machine


def test_it_gets_its_place_in_the_sequence_and_moves_nothing(machine: Machine) -> None:
    machine.stock("A", 10)
    base = machine.base()

    result = machine.announce("stock.low", '{"sku":"A"}', base=base)

    assert (result.status, result.first_seq, result.seq) == ("ok", 3, 3)
    assert result.adjustment_id == f"{base}{START_MS:012x}"
    assert machine.last_event() == Announced(result.adjustment_id, "stock.low", '{"sku":"A"}', "worker")
    assert machine.counters("A") == (10, 0)


def test_repeated_it_is_one_event(machine: Machine) -> None:
    base = machine.base()
    first = machine.announce("stock.low", base=base)
    machine.later(50)
    before = machine.dump()

    again = machine.announce("stock.low", base=base)

    assert again.status == "replayed"
    assert (again.adjustment_id, again.first_seq) == (first.adjustment_id, first.first_seq)
    assert machine.dump() == before


def test_repeated_in_a_later_epoch_it_names_the_one_of_its_event(machine: Machine) -> None:
    base = machine.base()
    first = machine.announce("stock.low", base=base)
    machine.begin_epoch(2)

    again = machine.announce("stock.low", base=base)

    assert (first.first_epoch, again.epoch) == (1, 2)
    assert (again.status, again.first_epoch, again.first_seq) == ("replayed", 1, first.first_seq)


def test_in_one_batch_too(machine: Machine) -> None:
    base = machine.base()
    one = Announce(base, "stock.low", "{}", "worker")

    assert [result.status for result in machine.run(one, one)] == ["ok", "replayed"]
    assert len(machine.events()) == 1


def test_each_of_a_batch_names_its_own_event(machine: Machine) -> None:
    bases = [machine.base() for _ in range(3)]

    told = machine.run(*(Announce(base, "stock.low", "{}", "worker") for base in bases))

    assert [result.first_seq for result in told] == [1, 2, 3]
    assert [machine.announce("stock.low", base=base).first_seq for base in bases] == [1, 2, 3]


def test_the_base_of_something_else_is_key_reused(machine: Machine) -> None:
    machine.stock("A", 10)
    held, adjusted = machine.base(), machine.base()
    machine.reserve("A=1", base=held)
    machine.adjust(("A", "add", 1), base=adjusted, fingerprint="a" * 16)
    before = machine.dump()

    assert machine.announce("stock.low", base=held).status == "key_reused"
    assert machine.announce("stock.low", base=adjusted).status == "key_reused"
    assert machine.dump() == before


def test_its_record_is_no_reservation(machine: Machine) -> None:
    base = machine.base()
    machine.announce("stock.low", base=base)

    assert machine.wild(["read", base, START_MS, ""], bases=[base]) == ["unknown_reservation"]
    assert machine.wild(["release", base, START_MS, "", ""], bases=[base]) == ["unknown_reservation"]


@pytest.mark.parametrize(
    "fields",
    [["", "{}", "w"], [1, "{}", "w"], ["t", 1, "w"], ["t", "{}", None], ["t", ["x"], "w"], [None, None, None], []],
)
def test_malformed(machine: Machine, fields: list[Any]) -> None:
    base = machine.base()
    before = machine.dump()

    assert machine.wild(["announce", base, *fields], bases=[base]) == ["malformed"]
    assert machine.wild(["announce", "undeclared", "t", "{}", "w"], bases=[base]) == ["malformed"]
    assert machine.dump() == before
