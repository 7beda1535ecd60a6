"""What the soak calls flat: a process that fills up and stays is; one that keeps what each fault made is not."""

from __future__ import annotations

from collections.abc import Callable
from math import exp

import pytest

from tests.torture.memory_curve import JUDGED_S, LEAST_AGE_S, MOST_KB_A_FAULT, WARM_UP_S, Curves, Growth

FAULT_EVERY_S = 25
BORN_AT_S = 300.0


def judged(resident_kb: Callable[[float], float], lives_s: float = LEAST_AGE_S + 60) -> Growth | None:
    """Of a process of which `resident_kb(age in seconds)` is seen every 10 s."""
    curves = Curves()
    for at in range(0, int(BORN_AT_S + lives_s), FAULT_EVERY_S):
        curves.fault(at)
    for age in range(0, int(lives_s), 10):
        curves.note("api", (7, age), BORN_AT_S + age, round(resident_kb(age)))
    return curves.of_process["api"].growth(curves.faults_s)


def faults_by(age_s: float) -> int:
    return int(age_s // FAULT_EVERY_S)


def test_memory_that_fills_up_and_stays_is_flat() -> None:
    growth = judged(lambda age: 124_000 + 10_000 * (1 - exp(-age / 240)))

    assert growth is not None
    assert growth.flat, growth.text


def test_what_the_collector_takes_back_in_turns_is_flat() -> None:
    growth = judged(lambda age: 130_000 + 150 * (faults_by(age) % 17))

    assert growth is not None
    assert growth.flat, growth.text


@pytest.mark.parametrize("kept_kb", [1.5 * MOST_KB_A_FAULT, 250])
def test_a_process_that_keeps_what_each_fault_made_grows(kept_kb: float) -> None:
    growth = judged(lambda age: 124_000 + kept_kb * faults_by(age))

    assert growth is not None
    assert not growth.flat, growth.text
    assert growth.kb_a_fault == pytest.approx(kept_kb, rel=0.15)


def test_the_warm_up_does_not_count() -> None:
    growth = judged(lambda age: min(age, WARM_UP_S) * 100)

    full = round(WARM_UP_S * 100)
    assert growth == Growth(full, full, growth.faults if growth else 0)


def test_a_process_that_was_young_at_the_end_is_not_judged() -> None:
    assert judged(lambda _: 1.0, lives_s=WARM_UP_S + JUDGED_S / 2) is None


def test_another_process_begins_anew() -> None:
    curves = Curves()
    curves.note("api", (7, 1_000.0), 1_000.0, 1)
    curves.note("api", (8, 1.0), 1_010.0, 1)

    assert curves.of_process["api"].samples == []
