"""The life of an alert, step by step, without servers."""

from __future__ import annotations

import random

import pytest
from msgspec.structs import replace

from inventory.alerts.states import Sighting, margin, observe
from inventory.rules import AlertRules
from persistence.queries.alerts import Alert

RULES = AlertRules(hysteresis_percent=10, quiet_ms=1000)


def seen(available: int, *, at: int = 0, threshold: int = 10, arrived: bool = False, **more: bool) -> Sighting:
    return Sighting("A", available, threshold, more.get("active", True), more.get("stocked", True), arrived, at)


# A word a sighting: what is available, and marks: + stock has come in, @n ms have passed since the one before,
# x inactive, ? never stocked. After the arrow: (kind, status, episode) of the alert that is current, and what was told.
LOW, OUT = "LOW_STOCK", "OUT_OF_STOCK"
STORIES = {
    "nothing wrong": ("50 10", None, []),
    "at the threshold is not low": ("10", None, []),
    "below it is": ("9", (LOW, "PENDING", "open"), ["stock.low"]),
    "once only": ("9 8 7 9", (LOW, "PENDING", "open"), ["stock.low"]),
    "out at once": ("0", (OUT, "PENDING", "open"), ["stock.out"]),
    "low, then out": ("9 0", (OUT, "PENDING", "open"), ["stock.low", "stock.out"]),
    "out, then some again": ("0 3", (LOW, "PENDING", "open"), ["stock.out", "stock.back"]),
    "no flapping around the threshold": ("9 10 9 10 9", (LOW, "PENDING", "open"), ["stock.low"]),
    "recovered by holds: fading": ("9 11", (LOW, "RESOLVED", "fading"), ["stock.low", "stock.back"]),
    "recovered by a delivery: over": ("9 11+", None, ["stock.low", "stock.back"]),
    "the same alert when it comes back soon": (
        "9 11 @999 9", (LOW, "PENDING", "open"), ["stock.low", "stock.back", "stock.low"]),
    "another when it comes back late": (
        "9 11 @1000 9", (LOW, "PENDING", "open"), ["stock.low", "stock.back", "stock.low"]),
    "a delivery while it fades ends it": ("9 11 60+", None, ["stock.low", "stock.back"]),
    "never stocked": ("0?", None, []),
    "inactive": ("0x", None, []),
    "taken out of the range": ("9 9x", None, ["stock.low"]),
    "taken out of the range while it fades": ("9 11 11x", None, ["stock.low", "stock.back"]),
    "back in the range": ("9 9x 9", (LOW, "PENDING", "open"), ["stock.low", "stock.low"]),
}  # fmt: skip


def tell(story: str, current: Alert | None = None, threshold: int = 10) -> tuple[Alert | None, list[str], list[Alert]]:
    now, told, ended = 0, [], []
    for word in story.split():
        if word.startswith("@"):
            now += int(word[1:])
            continue
        sighting = seen(
            int(word.rstrip("+x?")),
            at=now,
            threshold=threshold,
            arrived="+" in word,
            active="x" not in word,
            stocked="?" not in word,
        )
        outcome = observe(current, sighting, RULES)
        told += outcome.events
        if outcome.ended is not None:
            ended.append(outcome.ended)
        current = outcome.current
        if current is not None and current.id == 0:
            current = replace(current, id=len(ended) + 1)
    return current, told, ended


@pytest.mark.parametrize("name", STORIES)
def test_stories(name: str) -> None:
    story, expected, told = STORIES[name]
    current, really_told, _ = tell(story)
    assert (None if current is None else (current.kind, current.status, current.episode)) == expected
    assert really_told == told


@pytest.mark.parametrize(
    ("story", "kind", "told"),
    [
        ("5 0", OUT, ["stock.out"]),
        ("5 0 1", None, ["stock.out", "stock.back"]),
        ("5 0 1 0", OUT, ["stock.out", "stock.back", "stock.out"]),
        ("5 1 2 1", None, []),
    ],
)
def test_without_a_threshold_only_out_counts(story: str, kind: str | None, told: list[str]) -> None:
    current, really_told, _ = tell(story, threshold=0)
    assert (None if current is None or current.status == "RESOLVED" else current.kind) == kind
    assert really_told == told


@pytest.mark.parametrize(
    ("threshold", "percent", "units"),
    [(0, 10, 1), (1, 10, 1), (10, 10, 1), (11, 10, 2), (100, 10, 10), (1000, 0, 1), (7, 100, 7), (10**9, 1000, 10**10)],
)
def test_the_margin_is_rounded_up_and_at_least_one(threshold: int, percent: int, units: int) -> None:
    assert margin(threshold, AlertRules(hysteresis_percent=percent)) == units


def known(kind: str = LOW, **fields: object) -> Alert:
    base = {"id": 7, "sku": "A", "kind": kind, "status": "PENDING", "episode": "open", "available": 5, "threshold": 10,
            "raised_ms": 0, "changed_ms": 0}  # fmt: skip
    return Alert(**{**base, **fields})  # type: ignore[arg-type]


def test_who_was_told_of_low_is_told_of_out() -> None:
    worse, _, _ = tell("0", known(status="NOTIFIED", notified_ms=1))
    assert worse is not None
    assert (worse.id, worse.kind, worse.status, worse.notified_ms, worse.told_again) == (7, OUT, "PENDING", None, True)


def test_held_units_going_to_and_fro_at_zero_tell_once() -> None:
    alert, told, ended = tell("0 2 @500 0 2 @400 0", known(OUT, status="NOTIFIED", notified_ms=1))
    assert alert is not None
    assert (alert.id, alert.kind, alert.status) == (7, OUT, "NOTIFIED")
    assert not ended
    # Machines that follow the events hear each turn, in pairs.
    assert told == ["stock.back", "stock.out"] * 2


def test_a_delivery_that_is_sold_out_is_told_again() -> None:
    alert, _, _ = tell("0 5+ 0", known(OUT, status="NOTIFIED", notified_ms=1))
    assert alert is not None
    assert (alert.id, alert.status) == (7, "PENDING")
    assert alert.told_again


def test_what_a_person_resolved_stays_quiet_until_it_is_worse_or_well() -> None:
    muted = known(status="RESOLVED", episode="muted", resolved_ms=1, resolved_by="key-1")
    same, told, _ = tell("9 3 10 8", muted)
    assert same == muted
    assert told == []
    worse, told, ended = tell("3 0", muted)
    assert worse is not None
    assert (worse.kind, worse.status, told) == (OUT, "PENDING", ["stock.out"])
    assert [(one.id, one.episode, one.resolved_by) for one in ended] == [(7, "over", "key-1")]
    well, told, ended = tell("11 9", muted)
    assert well is not None
    assert (well.kind, well.status, told) == (LOW, "PENDING", ["stock.back", "stock.low"])
    assert [one.episode for one in ended] == ["over"]


def test_fading_low_that_runs_out_is_told() -> None:
    fading = known(
        status="RESOLVED", episode="fading", notified_ms=1, resolved_ms=1, resolved_by="system", fades_ms=900
    )
    alert, told, _ = tell("0", fading)
    assert alert is not None
    assert (alert.id, alert.kind, alert.status, alert.told_again, told) == (7, OUT, "PENDING", True, ["stock.out"])


@pytest.mark.parametrize(("ms", "same"), [(999, True), (1000, False)])
def test_how_long_it_is_the_same_alert(ms: int, same: bool) -> None:
    alert, _, ended = tell(f"11 @{ms} 9", known(status="NOTIFIED", notified_ms=1))
    assert alert is not None
    assert (alert.id == 7, alert.status) == ((True, "NOTIFIED") if same else (False, "PENDING"))
    assert [one.id for one in ended] == ([] if same else [7])


def test_whatever_happens_the_rules_hold() -> None:
    """10,000 random sightings: the table's own conditions, one alert at a time, news only with a reason."""
    seed = random.randrange(2**32)
    print("seed", seed)
    chance = random.Random(seed)
    current, now, number = None, 0, 0
    for _ in range(10_000):
        now += chance.choice([0, 1, 500, 2000])
        sighting = seen(
            chance.choice([0, 0, 1, 5, 9, 10, 11, 12, 50]),
            at=now,
            threshold=chance.choice([10, 10, 10, 0]),
            arrived=chance.random() < 0.2,
            active=chance.random() < 0.95,
        )
        before = current
        outcome = observe(current, sighting, RULES)
        current = outcome.current
        if current is not None and current.id == 0:
            number += 1
            current = replace(current, id=number)
        for alert in (outcome.ended, current):
            if alert is not None:
                assert (alert.status == "RESOLVED") == (alert.episode != "open") == (alert.resolved_ms is not None)
        assert outcome.ended is None or outcome.ended.episode == "over"
        assert current is None or current.episode != "over"
        is_open = current is not None and current.episode == "open"
        if sighting.active and sighting.available == 0:
            assert is_open
            assert current is not None
            assert current.kind == OUT
        if sighting.active and 0 < sighting.available < sighting.threshold:
            assert is_open
        if not sighting.active or sighting.available > 11:
            assert not is_open
        if before == current:
            assert not outcome.events
        if current is not None and current.episode == "open" and chance.random() < 0.3:
            current = replace(current, status="NOTIFIED", notified_ms=now, told_again=False)
