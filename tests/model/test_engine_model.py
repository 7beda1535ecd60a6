"""The engine against the model, and proof that the comparison finds a broken script.

Hypothesis first, which makes a failure small; then plain dice, which play three times as fast (longer: `make model`).
`HOLDFAST_MODEL_COMMANDS=1000000` lets Hypothesis play longer, from a random seed; `HOLDFAST_MODEL_SEED=n` repeats it.
The seed of a failing run stands in its message.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import pytest
import redis
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

import lua
from engine import Engine, EngineSettings
from engine.scripts import Script, compose
from tests.model.__main__ import play as play_dice
from tests.model.engine_machine import EngineMachine, bound

COMMANDS = int(os.environ.get("HOLDFAST_MODEL_COMMANDS", "8000"))
FIRST_SEED = int(os.environ.get("HOLDFAST_MODEL_SEED", "1" if COMMANDS <= 20_000 else str(random.randrange(10**9))))
DICE_COMMANDS = 20_000
QUICK = settings(
    max_examples=20, stateful_step_count=30, deadline=None, database=None, suppress_health_check=list(HealthCheck)
)


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture
def machine_of(
    runner: asyncio.Runner, redis_url: str, redis_client: redis.Redis
) -> Iterator[Callable[[Script], type[EngineMachine]]]:
    engines: list[Engine] = []

    def make(script: Script) -> type[EngineMachine]:
        engines.append(runner.run(Engine.connect(redis_url, EngineSettings(script=script))))
        return bound(runner, engines[-1], redis_client)

    yield make
    for engine in engines:
        runner.run(engine.close())


def play(machine: type[EngineMachine], commands: int, chosen: settings) -> None:
    """Runs of some examples each, from one seed after the other, until enough commands were compared."""
    seed = FIRST_SEED
    while machine.commands < commands:
        try:
            run_state_machine_as_test(hypothesis.seed(seed)(machine), settings=chosen)
        except BaseException as error:
            error.add_note(f"HOLDFAST_MODEL_SEED={seed}")
            raise
        seed += 1


@pytest.mark.timeout(max(300, COMMANDS // 100))
def test_engine_and_model_agree(machine_of: Callable[[Script], type[EngineMachine]]) -> None:
    machine = machine_of(compose())

    play(machine, COMMANDS, QUICK)

    assert machine.commands >= COMMANDS


def test_engine_and_model_agree_on_what_dice_ask() -> None:
    seed = random.randrange(10**9)
    print(f"seed {seed}")

    assert play_dice(DICE_COMMANDS, seed) >= DICE_COMMANDS


# -- a script that is wrong in one place must not pass

FAULTS = {
    "a hold lives one millisecond too long": (
        "lib/holds.lua",
        r"now >= record\[DEADLINE\]",
        "now > record[DEADLINE]",
    ),
    "released units are lost": (
        "lib/holds.lua",
        r"level\[2\] = level\[2\] - quantities\[i\]",
        "level[2] = level[2] - quantities[i] + (i > 1 and 1 or 0)",
    ),
    "one unit too many is for sale": (
        "lib/shortages.lua",
        r"local free = level\[1\] - level\[2\] - level\[3\]",
        "local free = level[1] - level[2] - level[3] + (level[2] > 0 and 1 or 0)",
    ),
    "safety stock is for sale": (
        "lib/shortages.lua",
        r"local free = level\[1\] - level\[2\] - level\[3\]",
        "local free = level[1] - level[2]",
    ),
    "due holds are not ended for a reserve": (
        "lib/due.lua",
        r"return #due\(\) > 0",
        "return false",
    ),
}


def broken(folder: Path, fault: str) -> Script:
    """The script composed from a copy of the sources with one thing wrong."""
    name, pattern, wrong = FAULTS[fault]
    shutil.copytree(lua.FOLDER, folder, ignore=shutil.ignore_patterns("*.py*", "__pycache__"))
    path = folder / name
    text, count = re.subn(pattern, lambda _: wrong, path.read_text())
    assert count == 1, f"{pattern} stands {count} times in {name}: the fault must be planted anew"
    path.write_text(text)
    return compose(folder)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_broken_script_is_caught(
    machine_of: Callable[[Script], type[EngineMachine]], tmp_path: Path, fault: str
) -> None:
    machine = machine_of(broken(tmp_path / "lua", fault))

    with pytest.raises((AssertionError, ExceptionGroup, KeyError)):
        play(machine, 20_000, settings(QUICK, phases=[Phase.generate], report_multiple_bugs=False))


@pytest.mark.parametrize("fault", FAULTS)
def test_the_dice_meet_it_too_and_name_the_shop(tmp_path: Path, fault: str) -> None:
    script = broken(tmp_path / "lua", fault)

    with pytest.raises((AssertionError, ExceptionGroup, KeyError)) as found:
        play_dice(20_000, 1, script=script)

    (note,) = [note for note in found.value.__notes__ if note.startswith("again: ")]
    shop = note.rpartition(" ")[2]
    with pytest.raises(type(found.value)) as again:
        play_dice(1, 0, shop, script)
    assert str(again.value) == str(found.value)
