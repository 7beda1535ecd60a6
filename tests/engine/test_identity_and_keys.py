"""engine/identity.py and engine/keys.py: ids that never collide, and keys that carry one hash tag."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from engine import Rejected
from engine.identity import (
    derived_base,
    fingerprint,
    is_reservation_id,
    make_id,
    random_base,
    split_id,
)
from engine.keys import partition_keys, partition_of
from engine.limits import is_sku
from tests.engine.conftest import OpenEngine

text = st.text(max_size=20)


@given(base=st.binary(min_size=12, max_size=12).map(bytes.hex), created_ms=st.integers(0, 2**48 - 1))
def test_an_id_comes_apart_as_it_was_put_together(base: str, created_ms: int) -> None:
    made = make_id(base, created_ms)

    assert is_reservation_id(made)
    assert split_id(made) == (base, created_ms)


@pytest.mark.parametrize(
    "wrong", ["", "0" * 35, "0" * 37, "g" * 36, "A" * 36, "0" * 36 + "\n", " " + "0" * 35, "0" * 18 + "-" + "0" * 17]
)
def test_what_is_no_id(wrong: str) -> None:
    assert not is_reservation_id(wrong)


def test_random_bases_differ() -> None:
    assert len({random_base() for _ in range(10_000)}) == 10_000


@given(one=st.tuples(text, text, text), other=st.tuples(text, text, text))
def test_a_derived_base_is_its_triples_alone(one: tuple[str, str, str], other: tuple[str, str, str]) -> None:
    assert (derived_base(*one) == derived_base(*other)) == (one == other)


def test_parts_cannot_be_shifted_into_each_other() -> None:
    triples = [
        ("ab", "c", "d"),
        ("a", "bc", "d"),
        ("a", "b", "cd"),
        ("", "abc", "d"),
        ("1:2", "3", "4"),
        ("1", ":23", "4"),
    ]

    assert len({derived_base(*triple) for triple in triples}) == len(triples)
    assert all(re.fullmatch(r"[0-9a-f]{24}", derived_base(*triple)) for triple in triples)


@given(one=st.binary(max_size=40), other=st.binary(max_size=40))
def test_a_fingerprint_tells_requests_apart_and_is_never_empty(one: bytes, other: bytes) -> None:
    assert (fingerprint(one) == fingerprint(other)) == (one == other)
    assert re.fullmatch(r"[0-9a-f]{16}", fingerprint(one))


# -- a key after its window


async def test_a_key_used_again_after_its_window_gets_a_new_id(
    open_engine: OpenEngine, redis_client: redis.Redis, eventually: Callable[..., Any]
) -> None:
    engine = await open_engine(retention_ms=50, idempotency_window_ms=150)
    from engine import Configure

    await engine.execute(Configure("A", 0, 0, True, 10, "admin"))

    async def once(quantity: int) -> str:
        held = await engine.reserve([("A", quantity)], customer_id="ann", caller="shop", idempotency_key="k-1")
        return held.id

    first = await once(1)
    assert await once(1) == first
    with pytest.raises(Rejected) as refused:
        await once(2)
    assert refused.value.result.status == "key_reused"

    await engine.release(first)
    await eventually(lambda: not redis_client.exists(partition_keys(0).record(first[:24])), what="the window is over")
    second = await once(2)

    assert second != first
    assert second[:24] == first[:24], "the key still finds its own record"
    assert await once(2) == second


# -- keys


def test_every_key_of_a_partition_carries_its_tag() -> None:
    keys = partition_keys(0)
    names = [keys.stock, keys.deadlines, keys.journal, keys.meta, keys.record("0" * 24)]

    assert len(set(names)) == 5
    for name in names:
        assert re.fullmatch(r"\{h00\}:[a-z]+(:[0-9a-f]{24})?", name)
        assert name.count("{") == name.count("}") == 1, "the tag is the first thing in braces"


def test_no_two_partitions_share_a_key() -> None:
    names = [
        name for number in range(300) for name in (partition_keys(number).stock, partition_keys(number).record("x"))
    ]

    assert len(set(names)) == 600


@pytest.mark.parametrize("partitions", [1, 2, 3, 7, 16, 65_536])
def test_homes_are_shared_out_evenly_and_completely(partitions: int) -> None:
    owners = [partition_of(home, partitions) for home in range(65_536)]

    assert owners == sorted(owners)
    assert set(owners) == set(range(partitions))
    counts = [owners.count(number) for number in {0, partitions // 2, partitions - 1}]
    assert max(counts) - min(counts) <= 1


@pytest.mark.parametrize(
    ("sku", "good"),
    [
        ("A", True), ("a.b_c:d-e 1", True), ("S" * 64, True), ("S" * 65, False), ("", False), (" A", False),
        ("A ", False),
        ("A  B", False), ("A\n", False), ("A\0", False), ("é", False), ("{h01}", False), ("*", False), ("A=1", False),
        ("A,B", False), ("A\r\nDEL", False), ("\u0661", False),
    ],
)  # fmt: skip
def test_skus(sku: str, good: bool) -> None:
    assert is_sku(sku) == good
