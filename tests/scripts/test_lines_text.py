"""Lines as text, parsed by Lua: exactly what engine.commands.parse_lines reads, and nothing beside it."""

from __future__ import annotations

import re

import pytest
import redis
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from engine.commands import parse_lines
from tests.scripts.machine import Machine

LINE = re.compile(r"[^=,]+=[1-9][0-9]{0,9}\Z")


def is_well_formed(text: str) -> bool:
    """The rule in plain Python: comma-separated `SKU=digits`, each SKU once, 1 to 10**9 units."""
    parts = text.split(",")
    skus = [part.split("=")[0] for part in parts]
    return all(LINE.match(part) and int(part.split("=")[1]) <= 10**9 for part in parts) and len(set(skus)) == len(skus)


# One batch of texts an example: only the parse is of interest, so any status but malformed means "parsed".
@settings(
    max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@example(["A=1B=2,,C=3", "A=1B=2C=3D=4E=5,A=0", "A=1=B=2", "A=1,", ",A=1", "A=1,,B=2", "", ",", "=", "A=1\n"])
@given(st.lists(st.text("AB=,019 -+.exé\n", max_size=14), min_size=100, max_size=100))
def test_lua_reads_lines_as_python_does(machine: Machine, texts: list[str]) -> None:
    statuses = machine.wild(*(["availability", text] for text in texts))

    for text, status in zip(texts, statuses, strict=True):
        assert (status != "malformed") == is_well_formed(text), f"{text!r} -> {status}"


def test_what_lua_accepts_python_reads_back(machine: Machine, redis_client: redis.Redis) -> None:
    machine.stock("A", 5)
    machine.stock("B b", 5)

    held = machine.reserve("B b=2,A=1")

    assert held.reservations[0].lines == parse_lines("B b=2,A=1") == (("B b", 2), ("A", 1))


@pytest.mark.parametrize(("lines", "status"), [(1, "ok"), (2_000, "ok"), (2_001, "malformed")])
def test_a_reservation_has_one_to_two_thousand_lines(machine: Machine, lines: int, status: str) -> None:
    skus = [f"S{n}" for n in range(lines)]
    for start in range(0, lines, 500):
        machine.wild(*(["configure", sku, 0, 0, True, 3, "admin"] for sku in skus[start : start + 500]))

    held = machine.reserve(",".join(f"{sku}=2" for sku in skus))

    assert held.status == status
    assert {machine.counters(sku) for sku in (skus[0], skus[-1])} == {(3, 2 if status == "ok" else 0)}
